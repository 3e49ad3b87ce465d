/** @file How varied responses are: what a policy loses that has found out which phrases pay. */

type Tokens = readonly number[];

/** The runs of n tokens. */
export function ngramsOf(tokens: Tokens, n: number): string[] {
  return Array.from({ length: Math.max(0, tokens.length - n + 1) }, (_, i) =>
    tokens.slice(i, i + n).join(' '),
  );
}

/** distinct-n: different n-grams as a share of all n-grams in the responses together (Li et al. 2016). */
export function distinct(responses: readonly Tokens[], n: number): number {
  return distinctShare(responses.flatMap((tokens) => ngramsOf(tokens, n)));
}

/** Different ones as a share of all. */
export function distinctShare(all: readonly string[]): number {
  return new Set(all).size / Math.max(1, all.length);
}

/** Tokens that make a phrase: shorter repetitions are normal. */
const PHRASE = 4;

/** Share of a response's phrases of four tokens that it has said before. */
export function repetition(tokens: Tokens): number {
  const phrases = ngramsOf(tokens, PHRASE);
  return phrases.length === 0 ? 0 : 1 - new Set(phrases).size / phrases.length;
}
