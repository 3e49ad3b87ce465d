/** @file What a puzzle is, and the people who occur in puzzles. */

import type { Random } from '../../tensor/random.ts';
import type { Verdict } from '../../verifiers.ts';

/** A question of logic whose answer follows from the premises alone. Sentences come without their full stop. */
export interface Puzzle {
  readonly premises: readonly string[];
  /** What is asked about, without `吗？`. */
  readonly claim: string;
  readonly verdict: Verdict;
  /**
   * The way to the verdict, in steps that a small model can follow: each is a fact copied, the next thing looked up, or two
   * words that stand side by side found to be the same or not.
   */
  readonly steps: readonly string[];
  /** The same in sentences as people write them, where the steps are none. */
  readonly prose?: readonly string[];
  /** The premises whatever their wording, to keep some for the examination. */
  readonly key: string;
}

export const NAMES = ['小明', '小红', '小刚', '小丽', '小华', '小美', '小军', '小文', '小林', '小云'];

/** Sentences as they are, or now and then in another order. */
export function inSomeOrder<T>(random: Random, sentences: readonly T[]): readonly T[] {
  return random.uniform() < 0.2 ? random.shuffle(sentences) : sentences;
}

/** Two words compared: `桃和梨不同`. */
export function likeness(a: string, b: string): string {
  return `${a}和${b}${a === b ? '相' : '不'}同`;
}
