/** @file Prompts to sampled responses, many at a time: what evaluation and the reinforcement stages start from. */

import type { Decoder } from './decoder.ts';
import { createHistory, type SamplingOptions, sampleToken } from './sampling.ts';
import type { Random } from './tensor/random.ts';

export interface RolloutOptions {
  /** Longest response, in tokens. */
  readonly maxNewTokens: number;
  /** The penalties count every token of the response. */
  readonly sampling: SamplingOptions;
  readonly random: Random;
  /** Tokens that end a response; the response includes the one that ended it. */
  readonly stopTokens: readonly number[];
}

export interface Response {
  readonly tokens: readonly number[];
  /** Whether the model ended the response itself, rather than being cut off. */
  readonly ended: boolean;
}

/** Sample one response per prompt; more prompts than the decoder's batch are taken in turn. */
export async function rollout(
  decoder: Decoder,
  prompts: readonly ArrayLike<number>[],
  options: RolloutOptions,
): Promise<Response[]> {
  const responses: Response[] = [];
  for (let start = 0; start < prompts.length; start += decoder.batchSize) {
    responses.push(
      ...(await rolloutBatch(decoder, prompts.slice(start, start + decoder.batchSize), options)),
    );
  }
  return responses;
}

async function rolloutBatch(
  decoder: Decoder,
  prompts: readonly ArrayLike<number>[],
  { maxNewTokens, sampling, random, stopTokens }: RolloutOptions,
): Promise<Response[]> {
  const responses = prompts.map(() => ({ tokens: [] as number[], ended: false }));
  const histories = prompts.map(() => createHistory());
  const room = prompts.map(({ length }) => Math.min(maxNewTokens, decoder.maxLength - length));
  let logits = await decoder.prefill(prompts);
  for (;;) {
    const next = new Int32Array(decoder.batchSize).fill(-1);
    let active = 0;
    responses.forEach((response, i) => {
      if (response.ended || response.tokens.length >= room[i]) return;
      const token = sampleToken(logits[i], sampling, histories[i], random.uniform);
      response.tokens.push(token);
      histories[i].add(token);
      response.ended = stopTokens.includes(token);
      if (response.ended || response.tokens.length === room[i]) return;
      next[i] = token;
      active++;
    });
    if (active === 0) return responses;
    logits = await decoder.step(next);
  }
}
