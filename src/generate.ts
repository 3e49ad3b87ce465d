/**
 * @file Writing: a language model only ever scores the next token; text appears because we choose one,
 * append it, and ask again.
 *
 *     npm run generate -- --prompt "你好"
 *     npm run generate -- --prompt "从前" --checkpoint checkpoints/pretrain_final
 *
 * The prompt is read in one pass (prefill), every further token costs one step against the cache (`decoder.ts`). How
 * a token is chosen from its scores is a matter of taste: see `sampling.ts`.
 */

import type { Decoder } from './decoder.ts';
import { UserError } from './errors.ts';
import {
  checkSampling,
  createHistory,
  PLAIN_SAMPLING,
  type SamplingOptions,
  sampleToken,
} from './sampling.ts';
import type { Random } from './tensor/random.ts';
import { SPECIAL, type Tokenizer } from './tokenizer.ts';

/**
 * How answers are chosen unless options say otherwise: lively, but without the long tail of unlikely tokens, in which
 * a small model gets lost. For the meaning of the penalty here see `generate`.
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

/** Why the model stopped: it ended the text itself, `maxNewTokens` were reached, or the context is full. */
export type Finish = 'stop' | 'length' | 'context';

export interface GenerateOptions {
  readonly decoder: Decoder;
  readonly tokenizer: Tokenizer;
  /** Tokens to go on from; at least one. */
  readonly prompt: ArrayLike<number>;
  /** Longest continuation, in tokens. */
  readonly maxNewTokens: number;
  readonly sampling: SamplingOptions;
  readonly random: Random;
  /** Tokens that end the text; `<|im_end|>` and `<eos>` when not given. */
  readonly stopTokens?: readonly number[];
}

/** One step of writing. */
export interface GeneratedToken {
  readonly token: number;
  /** The text that became complete with this token; empty while a character still lacks bytes. */
  readonly text: string;
  /** Set on the last token. */
  readonly finish?: Finish;
}

/**
 * Continue a prompt, one token at a time, as the tokens come. Whoever stops asking stops the writing; the texts joined
 * are the decoding of all tokens. The token that ended the text is yielded too, without text.
 *
 * The frequency and presence penalties count every token of the answer, as in OpenAI's API. The repetition penalty
 * counts the words of the answer alone. Keskar et al. (2019) count every earlier token, the prompt's too; but an answer
 * takes up the words of its question, and in `15 + 5 = 20` the second 5 is no repetition: a penalty of 1.2 on digits,
 * on punctuation or on the bytes that rare characters share makes right answers wrong.
 * What it is to break are loops of words, and those show within the answer.
 *
 * @throws UserError if the prompt leaves no room in the context, or for sampling options out of range
 */
export async function* generate(options: GenerateOptions): AsyncGenerator<GeneratedToken, void, undefined> {
  const { decoder, tokenizer, prompt, maxNewTokens, sampling, random } = options;
  const { stopTokens = [SPECIAL.imEnd, SPECIAL.eos] } = options;
  checkSampling(sampling);
  checkPrompt(prompt.length, decoder.maxLength);
  const room = decoder.maxLength - prompt.length;
  const limit = Math.min(maxNewTokens, room);

  const stream = tokenizer.stream({ skipSpecial: true });
  const history = createHistory((token) => isWord(tokenizer, token));
  let [logits] = await decoder.prefill([prompt]);
  for (let count = 1; count <= limit; count++) {
    const token = sampleToken(logits, sampling, history, random.uniform);
    if (stopTokens.includes(token)) {
      yield { token, text: stream.end(), finish: 'stop' };
      return;
    }
    const text = stream.push(token);
    if (count === limit) {
      yield { token, text: text + stream.end(), finish: limit === room ? 'context' : 'length' };
      return;
    }
    yield { token, text };
    history.add(token);
    [logits] = await decoder.step([token]);
  }
}

/** The whole continuation at once: the same as `generate`, for when nobody is watching. */
export async function generateText(options: GenerateOptions): Promise<string> {
  let written = '';
  for await (const { text } of generate(options)) written += text;
  return written;
}

/**
 * Where a model writes on from a raw text, without the chat template. In pretraining a document follows the `<eos>` of
 * the one before, so that is how a text begins; an empty one lets the model begin by itself.
 */
export function rawPrompt(tokenizer: Tokenizer, text: string): Int32Array {
  return Int32Array.from([SPECIAL.eos, ...tokenizer.encode(text)]);
}

/** A token that holds a letter or an ideograph: neither digits and punctuation nor parts of a character. */
export function isWord(tokenizer: Tokenizer, token: number): boolean {
  return /\p{L}/u.test(tokenizer.decode([token], { skipSpecial: true }));
}

function checkPrompt(length: number, maxLength: number): void {
  if (length === 0) throw new RangeError('a prompt needs at least one token');
  if (length < maxLength) return;
  throw new UserError({
    zh: `提示有 ${length} 个词元，而模型的上下文只有 ${maxLength} 个，还要给回答留出位置；请把提示缩短到 ${maxLength - 1} 个词元以内，或使用上下文更长的模型。`,
    en: `The prompt has ${length} tokens, but the context of the model holds ${maxLength}, the answer included; shorten the prompt to at most ${maxLength - 1} tokens, or use a model with a longer context.`,
  });
}
