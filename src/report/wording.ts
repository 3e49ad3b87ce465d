/** @file The few words that every form of a report uses. */

import { text } from '../i18n.ts';

export function describeExpected(expected: string): string {
  return text({ zh: `（应为 ${expected}）`, en: `(expected: ${expected})` });
}

/** A reward with its sign, and a check mark or a cross for those who see no colours. */
export function formatReward(reward: number): string {
  return `${reward > 0 ? '✓ +' : '✗ '}${reward.toFixed(1)}`;
}

/** A share as a percentage of one decimal. */
export function formatShare(share: number): string {
  return `${(100 * share).toFixed(1)}%`;
}
