/** @file What a tokenizer has learned that one would not expect: its longest tokens, and its oddest. */

import type { Merge } from '../tokenizer/vocabulary.ts';
import type { Tokenizer } from '../tokenizer.ts';

/** A learned token, as people read it. */
export interface ShownMerge {
  readonly token: string;
  readonly parts: readonly [left: string, right: string];
  readonly bytes: number;
  /** Its place in the order of learning, from 1: how frequent it was. */
  readonly rank: number;
}

/** The tokens that stand for most bytes, the earlier learned first among equals. */
export function longestMerges(tokenizer: Tokenizer, count: number): ShownMerge[] {
  return longestFirst(shownMerges(tokenizer)).slice(0, count);
}

/**
 * The longest tokens that are no text: they end in the middle of a character, or begin there. Merging knows bytes only,
 * and characters that follow a word often share their first byte with each other.
 */
export function oddestMerges(tokenizer: Tokenizer, count: number): ShownMerge[] {
  const broken = shownMerges(tokenizer).filter(({ token }) => /<[0-9A-F]{2}>/.test(token));
  return longestFirst(broken).slice(0, count);
}

function shownMerges(tokenizer: Tokenizer): ShownMerge[] {
  return tokenizer.merges.map(({ left, right, result }: Merge, i) => ({
    token: tokenizer.display(result),
    parts: [tokenizer.display(left), tokenizer.display(right)],
    bytes: tokenizer.tokenLength(result),
    rank: i + 1,
  }));
}

function longestFirst(merges: readonly ShownMerge[]): ShownMerge[] {
  return [...merges].sort((a, b) => b.bytes - a.bytes || a.rank - b.rank);
}
