/**
 * @file One text as it grows: the scores of a next token become a token, tokens become text, until something ends it.
 *
 * It knows nothing of where the scores come from, so that one sequence (`generate`), a batch and a server can share it.
 */

import { checkSampling, createHistory, type SamplingOptions, sampleToken } from './sampling.ts';
import { checkStops, createStopFilter } from './stop-strings.ts';
import type { Random } from './tensor/random.ts';
import { SPECIAL, type Tokenizer } from './tokenizer.ts';

/**
 * Why a text ended: the model ended it or wrote a stop string, `maxNewTokens` were reached, or the context is full.
 */
export type Finish = 'stop' | 'length' | 'context';

export interface ContinuationOptions {
  readonly tokenizer: Tokenizer;
  /** Longest continuation in tokens, at least 1. */
  readonly maxNewTokens: number;
  readonly sampling: SamplingOptions;
  readonly random: Random;
  /** Tokens that end the text; `<|im_end|>` and `<eos>` when not given. */
  readonly stopTokens?: readonly number[];
  /** Strings that end the text; they and what follows are left out. */
  readonly stop?: readonly string[];
}

/** One step of writing. */
export interface GeneratedToken {
  readonly token: number;
  /** The text that became complete with this token; empty while a character still lacks bytes. */
  readonly text: string;
  /** Set on the last token. */
  readonly finish?: Finish;
}

export interface Continuation {
  /** Choose the next token from the scores `[V]` that follow the text so far; not to be called after the last. */
  next(logits: Float32Array): GeneratedToken;
}

/**
 * Begin a text with room for `room` more tokens in the context.
 *
 * The frequency and presence penalties count every token of the answer, as in OpenAI's API. The repetition penalty
 * counts the words of the answer alone. Keskar et al. (2019) count every earlier token, the prompt's too; but an answer
 * takes up the words of its question, and in `15 + 5 = 20` the second 5 is no repetition: a penalty of 1.2 on digits,
 * on punctuation or on the bytes that rare characters share makes right answers wrong.
 * What it is to break are loops of words, and those show within the answer.
 *
 * @throws UserError for sampling options out of range
 */
export function beginContinuation(options: ContinuationOptions, room: number): Continuation {
  const { tokenizer, maxNewTokens, sampling, random, stop = [] } = options;
  const { stopTokens = [SPECIAL.imEnd, SPECIAL.eos] } = options;
  checkSampling(sampling);
  checkStops(stop);
  const limit = Math.min(maxNewTokens, room);
  const stream = tokenizer.stream({ skipSpecial: true });
  const filter = createStopFilter(stop);
  const history = createHistory((token) => isWord(tokenizer, token));
  let count = 0;

  const last = (token: number, text: string, finish: Finish): GeneratedToken => ({
    token,
    text: text + filter.push(stream.end()) + filter.end(),
    finish: filter.stopped ? 'stop' : finish,
  });
  return {
    next(logits) {
      const token = sampleToken(logits, sampling, history, random.uniform);
      if (stopTokens.includes(token)) return last(token, '', 'stop');
      const text = filter.push(stream.push(token));
      if (filter.stopped) return { token, text, finish: 'stop' };
      if (++count >= limit) return last(token, text, limit === room ? 'context' : 'length');
      history.add(token);
      return { token, text };
    },
  };
}

/** A token that holds a letter or an ideograph: neither digits and punctuation nor parts of a character. */
function isWord(tokenizer: Tokenizer, token: number): boolean {
  return /\p{L}/u.test(tokenizer.decode([token], { skipSpecial: true }));
}
