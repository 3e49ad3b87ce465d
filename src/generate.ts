/**
 * @file Writing: a language model only ever scores the next token; text appears because we choose one,
 * append it, and ask again.
 *
 *     npm run generate -- --prompt "你好"
 *     npm run generate -- --prompt "从前" --checkpoint checkpoints/pretrain_final
 *
 * The prompt is read in one pass (prefill), every further token costs one step against the cache (`decoder.ts`). How
 * a token is chosen from its scores is a matter of taste: see `sampling.ts`. What ends a text: see `continuation.ts`.
 */

import {
  beginContinuation,
  type ContinuationOptions,
  type Finish,
  type GeneratedToken,
} from './continuation.ts';
import type { Decoder } from './decoder.ts';
import { UserError } from './errors.ts';
import { PLAIN_SAMPLING, type SamplingOptions } from './sampling.ts';
import type { Random } from './tensor/random.ts';
import { SPECIAL, type Tokenizer } from './tokenizer.ts';

export type { Finish, GeneratedToken } from './continuation.ts';

/**
 * How answers are chosen unless options say otherwise: lively, but without the long tail of unlikely tokens, in which
 * a small model gets lost. For the meaning of the penalty here see `beginContinuation`.
 */
export const DEFAULT_SAMPLING: SamplingOptions = {
  ...PLAIN_SAMPLING,
  temperature: 0.8,
  topK: 10,
  topP: 0.9,
  repetitionPenalty: 1.2,
};

/** Longest answer in tokens, unless options say otherwise. */
export const DEFAULT_MAX_NEW_TOKENS = 100;

export interface GenerateOptions extends ContinuationOptions {
  readonly decoder: Decoder;
  /** Tokens to go on from; at least one. */
  readonly prompt: ArrayLike<number>;
}

/** A token and the scores `[V]` that it was chosen from, before penalties and samplers; read them before the next. */
export type ScoredToken = GeneratedToken & { readonly logits: Float32Array };

/**
 * Continue a prompt, one token at a time, as the tokens come. Whoever stops asking stops the writing; the texts joined
 * are the decoding of all tokens, up to a stop string. The token that ended the text is yielded too.
 *
 * @throws UserError if the prompt leaves no room in the context, or for sampling options out of range
 */
export async function* generate(options: GenerateOptions): AsyncGenerator<ScoredToken, void, undefined> {
  const { decoder, prompt } = options;
  checkPrompt(prompt.length, decoder.maxLength);
  const continuation = beginContinuation(options, decoder.maxLength - prompt.length);
  let [logits] = await decoder.prefill([prompt]);
  for (;;) {
    const piece = continuation.next(logits);
    yield { ...piece, logits };
    if (piece.finish) return;
    [logits] = await decoder.step([piece.token]);
  }
}

/** The whole continuation at once: the same as `generate`, for when nobody is watching. */
export async function generateText(options: GenerateOptions): Promise<string> {
  let written = '';
  for await (const { text } of generate(options)) written += text;
  return written;
}

/** A finished continuation. */
export interface Generated {
  readonly text: string;
  /** All tokens, the one that ended the text included. */
  readonly tokens: readonly number[];
  readonly finish: Finish;
}

export interface GenerateBatchOptions extends Omit<ContinuationOptions, 'random'> {
  readonly decoder: Decoder;
  /** Tokens to go on from, of any lengths; more than the decoder's batch are taken in turn. */
  readonly prompts: readonly ArrayLike<number>[];
  /** The random numbers of each prompt, which make its continuation the same in whatever company. */
  readonly randomOf: (index: number) => Random;
  /** Breaks the writing off; what was written is lost. */
  readonly signal?: AbortSignal;
}

/**
 * Continue many prompts at a time: a step for all costs little more than a step for one.
 * @throws UserError as `generate` does, and the reason of the signal
 */
export async function generateBatch(options: GenerateBatchOptions): Promise<Generated[]> {
  const { decoder, prompts, signal } = options;
  const { batchSize: B, maxLength } = decoder;
  for (const { length } of prompts) checkPrompt(length, maxLength);
  const results: Generated[] = [];
  for (let start = 0; start < prompts.length; start += B) {
    const part = prompts.slice(start, start + B);
    const texts = part.map(({ length }, i) => ({
      continuation: beginContinuation(
        { ...options, random: options.randomOf(start + i) },
        maxLength - length,
      ),
      text: '',
      tokens: [] as number[],
      finish: undefined as Finish | undefined,
    }));
    let logits = await decoder.prefill(part);
    while (texts.some(({ finish }) => finish === undefined)) {
      signal?.throwIfAborted();
      const next = new Int32Array(B).fill(-1);
      texts.forEach((each, i) => {
        if (each.finish) return;
        const { token, text, finish } = each.continuation.next(logits[i]);
        each.text += text;
        each.tokens.push(token);
        each.finish = finish;
        if (!finish) next[i] = token;
      });
      if (next.some((token) => token >= 0)) logits = await decoder.step(next);
    }
    results.push(...texts.map(({ text, tokens, finish }) => ({ text, tokens, finish: finish! })));
  }
  return results;
}

/**
 * Where a model writes on from a raw text, without the chat template. In pretraining a document follows the `<eos>` of
 * the one before, so that is how a text begins; an empty one lets the model begin by itself.
 */
export function rawPrompt(tokenizer: Tokenizer, text: string): Int32Array {
  return Int32Array.from([SPECIAL.eos, ...tokenizer.encode(text)]);
}

/** @throws UserError if a prompt leaves no room for an answer */
export function checkPrompt(length: number, maxLength: number): void {
  if (length === 0) throw new RangeError('a prompt needs at least one token');
  if (length < maxLength) return;
  throw new UserError({
    zh: `提示有 ${length} 个词元，而模型的上下文只有 ${maxLength} 个，还要给回答留出位置；请把提示缩短到 ${maxLength - 1} 个词元以内，或使用上下文更长的模型。`,
    en: `The prompt has ${length} tokens, but the context of the model holds ${maxLength}, the answer included; shorten the prompt to at most ${maxLength - 1} tokens, or use a model with a longer context.`,
  });
}
