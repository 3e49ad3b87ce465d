/** @file Groups: the K answers to one question, K numbers in a row. The group is the yardstick of each of its answers. */

import { mean } from './practice.ts';

/** A list cut into groups of K. */
export function groupsOf<T>(items: readonly T[], K: number): T[][] {
  return Array.from({ length: items.length / K }, (_, group) => items.slice(group * K, (group + 1) * K));
}

/** How much better each answer is than its group: `r - mean(group)`. */
export function groupAdvantages(rewards: readonly number[], groupSize: number): number[] {
  return groupsOf(rewards, groupSize).flatMap((group) => group.map((reward) => reward - mean(group)));
}

/** The groups as lists of answer indices: those whose answers differ in reward, and those that agree. */
export function sortGroups(
  advantages: readonly number[],
  groupSize: number,
): { mixed: number[][]; agreed: number[][] } {
  const groups = groupsOf(
    advantages.map((_, i) => i),
    groupSize,
  );
  const isMixed = (group: readonly number[]): boolean => group.some((i) => advantages[i] !== 0);
  return { mixed: groups.filter(isMixed), agreed: groups.filter((group) => !isMixed(group)) };
}
