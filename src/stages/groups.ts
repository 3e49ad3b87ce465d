/** @file Groups: the K answers to one question, K numbers in a row. The group is the yardstick of each of its answers. */

import { deviation, mean } from './practice.ts';

/** A list cut into groups of K. */
export function groupsOf<T>(items: readonly T[], K: number): T[][] {
  return Array.from({ length: items.length / K }, (_, group) => items.slice(group * K, (group + 1) * K));
}

/** How much better each answer is than its group: `r - mean(group)`. */
export function groupAdvantages(rewards: readonly number[], groupSize: number): number[] {
  return groupsOf(rewards, groupSize).flatMap((group) => group.map((reward) => reward - mean(group)));
}

/** So that no group divides by zero. */
const MIN_DEVIATION = 1e-6;

/** The same in deviations of the group (Shao et al. 2024): `(r - mean(group)) / std(group)`. A group that agrees has none. */
export function normalizedAdvantages(rewards: readonly number[], groupSize: number): number[] {
  return groupsOf(rewards, groupSize).flatMap((group) => {
    const [center, scale] = [mean(group), deviation(group) + MIN_DEVIATION];
    return group.map((reward) => (reward - center) / scale);
  });
}

/** The groups as lists of answer indices: those whose answers differ in reward, and those that agree. */
export function sortGroups(
  rewards: readonly number[],
  groupSize: number,
): { mixed: number[][]; agreed: number[][] } {
  const groups = groupsOf(
    rewards.map((_, i) => i),
    groupSize,
  );
  const isMixed = (group: readonly number[]): boolean => group.some((i) => rewards[i] !== rewards[group[0]]);
  return { mixed: groups.filter(isMixed), agreed: groups.filter((group) => !isMixed(group)) };
}
