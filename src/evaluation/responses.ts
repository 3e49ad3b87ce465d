/** @file Answers of a checkpoint to many prompts, greedy or sampled: what most of the evaluation looks at. */

import { type Message, renderPrompt } from '../chat-format.ts';
import type { Checkpoint } from '../checkpoint.ts';
import { createDecoder } from '../decoder.ts';
import { rollout } from '../rollout.ts';
import type { SamplingOptions } from '../sampling.ts';
import type { Episode } from '../stages/episode-rows.ts';
import { createRandom, type Runtime } from '../tensor/index.ts';
import { SPECIAL } from '../tokenizer.ts';

/** Answers at a time: twice as many cost much less than twice the time. */
const BATCH = 32;

export interface RespondOptions {
  readonly runtime: Runtime;
  readonly checkpoint: Checkpoint;
  readonly prompts: readonly (readonly Message[])[];
  /** What each answer begins with, where that is given: the model goes on from there. */
  readonly beginnings?: readonly string[];
  readonly sampling: SamplingOptions;
  /** Longest answer in tokens. */
  readonly maxNewTokens: number;
  readonly seed: number;
}

/** How long answers may become: as wanted, but half of the context at most. */
export function answerLength({ config }: Checkpoint, wanted: number): number {
  return Math.min(wanted, Math.floor(config.contextLength / 2));
}

/** Prompts that leave room for an answer. */
export function fittingPrompts(
  { tokenizer, config }: Checkpoint,
  prompts: readonly (readonly Message[])[],
  maxNewTokens: number,
): (readonly Message[])[] {
  const room = config.contextLength - maxNewTokens;
  return prompts.filter((messages) => renderPrompt(tokenizer, messages).length <= room);
}

/** One answer to each prompt; a given beginning counts as a part of the prompt. */
export async function respond(options: RespondOptions): Promise<Episode[]> {
  const { runtime, checkpoint, beginnings, sampling, maxNewTokens, seed } = options;
  const { config, params: weights, tokenizer } = checkpoint;
  const prompts = options.prompts.map((messages, i) =>
    Int32Array.from([...renderPrompt(tokenizer, messages), ...tokenizer.encode(beginnings?.[i] ?? '')]),
  );
  if (prompts.length === 0) return [];
  const maxLength = Math.max(...prompts.map(({ length }) => length)) + maxNewTokens;
  const batchSize = Math.min(BATCH, prompts.length);
  const decoder = await createDecoder({ runtime, config, weights, batchSize, maxLength });
  const responses = await rollout(decoder, prompts, {
    maxNewTokens,
    sampling,
    random: createRandom(seed),
    stopTokens: [SPECIAL.imEnd, SPECIAL.eos],
  });
  await decoder.release();
  return prompts.map((prompt, i) => ({ prompt, response: responses[i] }));
}

/** What a person sees of a response. */
export function textOf({ tokenizer }: Checkpoint, { response }: Episode): string {
  return tokenizer.decode(response.tokens, { skipSpecial: true });
}
