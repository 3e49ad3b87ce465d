/**
 * @file Puzzles: small questions of logic, by family.
 *
 * Each family builds premises, works out the verdict from their structure and says why. 是 means that the premises force
 * it, 不是 that they exclude it, 不一定 that they leave it open; what is true of the real world plays no part.
 */

import type { Random } from '../tensor/random.ts';
import { COMPARISONS, comparison } from './puzzles/comparison.ts';
import { CONDITIONS, conditional } from './puzzles/conditional.ts';
import { COLLECTIONS, membership } from './puzzles/membership.ts';
import { NAMES, type Puzzle } from './puzzles/puzzle.ts';
import { GROUPS, HABITS, syllogism } from './puzzles/syllogism.ts';
import { DAYS, WEEKDAYS, weekday } from './puzzles/weekday.ts';

export { randomBranches, randomFacts, randomOrder } from './puzzles/comparison.ts';
export { likeness, type Puzzle } from './puzzles/puzzle.ts';
export { randomCounting, WEEKDAYS } from './puzzles/weekday.ts';

/** The families; comparisons come in so many forms that they count twice. */
export const PUZZLE_FAMILIES: readonly ((random: Random) => Puzzle)[] = [
  syllogism,
  comparison,
  comparison,
  membership,
  weekday,
  conditional,
];

/** Words of a kind, which the puzzles compare with one another. */
export const WORDS_OF_A_KIND: readonly (readonly string[])[] = [
  WEEKDAYS,
  ...new Set([...COMPARISONS, ...COLLECTIONS].map(({ things }) => things)),
];

/** What the puzzles are about: whole words to the tokenizer, so that to name a thing again is to copy one token. */
export const PUZZLE_WORDS: readonly string[] = [
  ...new Set([
    ...NAMES,
    ...GROUPS,
    ...HABITS.map((habit) => habit.replace(/^(会|喜欢|爱|怕)/, '')),
    ...COMPARISONS.flatMap(({ things }) => things),
    ...COLLECTIONS.flatMap(({ place, things }) => [place, ...things]),
    ...CONDITIONS.flatMap(([condition, , , , actions]) => [condition, ...actions]),
    ...WEEKDAYS,
    ...DAYS,
  ]),
];
