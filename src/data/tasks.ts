/** @file Questions with a known answer, and the fixed split that keeps some facts for the examination. */

import { foldSeed } from '../tensor/random.ts';

/** A generated question: for SFT the prompt and the answer, for RLVF the prompt and what a verifier expects. */
export interface GeneratedTask {
  /** The question as a user would type it. */
  readonly prompt: string;
  /** A model answer. */
  readonly answer: string;
  /** What the verifier of `type` looks for in an answer. */
  readonly expected: string;
  readonly type: string;
  /** The fact asked about, whatever the wording: `15+27`, or the premises of a puzzle. */
  readonly key: string;
}

/** `train`: what a model may learn from; `heldOut`: what shows whether it learned the rule or the examples. */
export type Split = 'train' | 'heldOut';

/** The share of facts that is held out. */
export const HELD_OUT_SHARE = 0.08;
const SPLIT_SEED = 20240229;

/**
 * Whether a fact is kept out of all training data. A hash decides, so the split is the same for every run, seed and
 * stage. What one has to know by heart is never held out: the tables (3+4, 12-5, 6×7), and one more for what is carried
 * (11+1).
 */
export function isHeldOut(key: string): boolean {
  if (/^\d[+\-×]\d$|^1\d-\d$|^1\+1\d$/.test(key)) return false;
  return foldSeed(SPLIT_SEED, key) / 2 ** 32 < HELD_OUT_SHARE;
}

/** Whether a fact belongs to a split. */
export function isInSplit(key: string, split: Split): boolean {
  return isHeldOut(key) === (split === 'heldOut');
}
