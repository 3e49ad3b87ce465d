/** @file Preference pairs as tokens: what the reward model and DPO learn from. */

import { type Message, renderConversation, renderPrompt } from '../chat-format.ts';
import type { PreferencePair } from '../data/formats.ts';
import type { Tokenizer } from '../tokenizer.ts';
import { requireFitting, type StageContext } from './stage.ts';

export interface PairData {
  readonly pairs: readonly PreferencePair[];
  readonly heldOut: readonly PreferencePair[];
}

/** A conversation with the better and with the worse answer. */
export interface RenderedPair {
  readonly chosen: Int32Array;
  readonly rejected: Int32Array;
  /** Tokens before the answers, the same in both. */
  readonly promptLength: number;
}

/** A conversation as the reward model reads it: up to and including the answer's `<|im_end|>`. */
export function renderForScoring(
  tokenizer: Tokenizer,
  prompt: readonly Message[],
  answer: string,
): Int32Array {
  const { ids, mask } = renderConversation(tokenizer, [...prompt, { role: 'assistant', content: answer }]);
  return ids.subarray(0, mask.lastIndexOf(1) + 1);
}

/** Both conversations of each pair as tokens; pairs that are too long are left out. */
export function renderPairs(
  tokenizer: Tokenizer,
  pairs: readonly PreferencePair[],
  contextLength: number,
): { rendered: RenderedPair[]; skipped: number } {
  const all = pairs.map(({ prompt, chosen, rejected }) => ({
    chosen: renderForScoring(tokenizer, prompt, chosen),
    rejected: renderForScoring(tokenizer, prompt, rejected),
    promptLength: renderPrompt(tokenizer, prompt).length,
  }));
  const rendered = all.filter((pair) => longestOf([pair]) <= contextLength);
  return { rendered, skipped: all.length - rendered.length };
}

/**
 * The pairs that fit into the context, with a note of those that do not.
 * @throws UserError where none does
 */
export function fittingPairs(
  { config, tokenizer, io }: StageContext,
  data: PairData,
): { pairs: RenderedPair[]; heldOut: RenderedPair[] } {
  const { rendered, skipped } = renderPairs(tokenizer, data.pairs, config.contextLength);
  if (skipped > 0) {
    io.note({
      zh: `${skipped} 对偏好数据长于上下文 ${config.contextLength} 个词元，已跳过。`,
      en: `${skipped} preference pairs are longer than the context of ${config.contextLength} tokens and were skipped.`,
    });
  }
  requireFitting(
    rendered.length,
    { zh: '偏好数据（--data reward=…）', en: 'the preference data (--data reward=…)' },
    config.contextLength,
  );
  return { pairs: rendered, heldOut: renderPairs(tokenizer, data.heldOut, config.contextLength).rendered };
}

/** Length of the longest conversation, at least 1. */
export function longestOf(pairs: readonly RenderedPair[]): number {
  return pairs.reduce(
    (longest, { chosen, rejected }) => Math.max(longest, chosen.length, rejected.length),
    1,
  );
}
