/** @file How likely the tokens of an answer were to the model itself, before penalties and samplers, in OpenAI's forms. */

import { likeliest } from '../sampling.ts';
import type { Tokenizer } from '../tokenizer.ts';

/** The log-probability of a token that was written, and of the likeliest tokens in its place. */
export interface TokenScore extends ScoredToken {
  readonly top: readonly ScoredToken[];
}

interface ScoredToken {
  readonly token: number;
  readonly logprob: number;
}

/** @param count how many of the likeliest tokens are told */
export function scoreToken(logits: Float32Array, token: number, count: number): TokenScore {
  let max = Number.NEGATIVE_INFINITY;
  for (const logit of logits) if (logit > max) max = logit;
  let total = 0;
  for (const logit of logits) total += Math.exp(logit - max);
  const scored = (each: number): ScoredToken => ({
    token: each,
    logprob: logits[each] - max - Math.log(total),
  });
  return { ...scored(token), top: Array.from(likeliest(logits, count), scored) };
}

/** `choices[].logprobs` of a chat completion. */
export function chatLogprobs(tokenizer: Tokenizer, scores: readonly TokenScore[]): object {
  const describe = ({ token, logprob }: ScoredToken) => ({
    token: tokenText(tokenizer, token),
    logprob,
    bytes: [...tokenizer.decodeBytes([token])],
  });
  return {
    content: scores.map((score) => ({ ...describe(score), top_logprobs: score.top.map(describe) })),
    refusal: null,
  };
}

/**
 * `choices[].logprobs` of one completion, asked for all at once or as the tokens come.
 * @returns a function of the next tokens
 */
export function createCompletionLogprobs(tokenizer: Tokenizer): (scores: readonly TokenScore[]) => object {
  const textOf = ({ token }: ScoredToken): string => tokenText(tokenizer, token);
  const stream = tokenizer.stream({ skipSpecial: true });
  let at = 0;
  /** Where the text of a token begins; for a part of a character, where the character does. */
  const offsetOf = ({ token }: ScoredToken): number => {
    const added = stream.push(token);
    const own = tokenizer.decode([token], { skipSpecial: true });
    const start = at + (added.endsWith(own) ? added.length - own.length : 0);
    at += added.length;
    return start;
  };
  return (scores) => ({
    tokens: scores.map(textOf),
    token_logprobs: scores.map(({ logprob }) => logprob),
    top_logprobs: scores.map(({ top }) =>
      Object.fromEntries(top.map((each) => [textOf(each), each.logprob])),
    ),
    text_offset: scores.map(offsetOf),
  });
}

/** The text of a token; one that is only a part of a character is written as its bytes, `\xe4\xbd`. */
function tokenText(tokenizer: Tokenizer, token: number): string {
  const bytes = tokenizer.decodeBytes([token]);
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('');
  }
}
