/**
 * @file Data without end: fresh questions with checked answers, and texts of the same facts for pretraining.
 *
 * Generated where a program writes better data than a person: arithmetic and logic, where the truth follows from the
 * form. All of it comes from a seed; the first n of a longer run are the run of n.
 */

import { UserError } from '../errors.ts';
import { createRandom, foldSeed, type Random } from '../tensor/random.ts';
import { arithmeticDocument, arithmeticDrill, arithmeticTask } from './arithmetic.ts';
import {
  branchDrill,
  dayDrill,
  likenessDrill,
  logicDocument,
  logicTask,
  lookupDrill,
  orderDrill,
} from './logic.ts';
import { comparisonTask } from './tasks/comparison.ts';
import { countingTask } from './tasks/counting.ts';
import { datesTask } from './tasks/dates.ts';
import { equationTask } from './tasks/equation.ts';
import { multiplicationTask } from './tasks/multiplication.ts';
import { reversingTask } from './tasks/reversing.ts';
import { sortingTask } from './tasks/sorting.ts';
import { unitsTask } from './tasks/units.ts';
import type { GeneratedTask, Split } from './tasks.ts';

export { arithmeticLine, fact, factKey, workedLine } from './arithmetic.ts';
export { type GeneratedTask, HELD_OUT_SHARE, isHeldOut, type Split } from './tasks.ts';

/** What makes the questions of each type; all of them have a verifier. */
const MAKERS = {
  math: arithmeticTask,
  logic: logicTask,
  multiplication: multiplicationTask,
  comparison: comparisonTask,
  counting: countingTask,
  reversing: reversingTask,
  sorting: sortingTask,
  equation: equationTask,
  units: unitsTask,
  dates: datesTask,
} as const satisfies Readonly<Record<string, (random: Random, split: Split) => GeneratedTask>>;

export type TaskType = keyof typeof MAKERS;
/** The types that can be generated, in their order. */
export const TASK_TYPES = Object.keys(MAKERS) as TaskType[];
/** The types that are generated unless others are asked for. */
export const DEFAULT_TASK_TYPES: readonly TaskType[] = ['math', 'logic'];

/** The drills in turn. What much depends on comes twice. */
const DRILLS: readonly ((random: Random) => { prompt: string; answer: string })[] = [
  arithmeticDrill,
  lookupDrill,
  orderDrill,
  likenessDrill,
  arithmeticDrill,
  lookupDrill,
  branchDrill,
  orderDrill,
  dayDrill,
];

/** Stands above exercises, so that they are not expected where prose begins. */
const HEADING = '练习题';
/** So many repetitions in a row are thrown away before one is let through. */
const ATTEMPTS = 100;

/**
 * `count` questions, the types in turn, no prompt twice while there are others.
 *
 * @throws UserError if `count` is no whole number or no type is asked for
 */
export function generateTasks(options: {
  count: number;
  seed: number;
  split: Split;
  types?: readonly TaskType[];
}): GeneratedTask[] {
  const { count, seed, split, types = DEFAULT_TASK_TYPES } = options;
  requireCount(count);
  if (types.length === 0) {
    throw new UserError({
      zh: `没有指定题目类型：请给出一种或几种：${TASK_TYPES.join(', ')}。`,
      en: `No type of task was given: ask for one or more of ${TASK_TYPES.join(', ')}.`,
    });
  }
  const random = createRandom(foldSeed(seed, `tasks ${split}`));
  const makers = types.map((type) => () => MAKERS[type](random, split));
  return generate(count, makers, (task) => task.prompt);
}

/**
 * `count` drills as questions with answers, of one-digit arithmetic and of the small steps of logic, in turn.
 *
 * @throws UserError if `count` is no whole number
 */
export function generateDrills(options: {
  count: number;
  seed: number;
}): { prompt: string; answer: string }[] {
  requireCount(options.count);
  const random = createRandom(foldSeed(options.seed, 'drills'));
  const makers = DRILLS.map((drill) => () => drill(random));
  return generate(options.count, makers, ({ prompt }) => prompt);
}

/**
 * `count` short documents, arithmetic and logic in turn, from facts that are not held out.
 *
 * @throws UserError if `count` is no whole number
 */
export function generatePretrainDocuments(options: { count: number; seed: number }): string[] {
  requireCount(options.count);
  const random = createRandom(foldSeed(options.seed, 'pretraining documents'));
  const makers = [() => arithmeticDocument(random), () => logicDocument(random)];
  const documents = generate(options.count, makers, (document) => document);
  return documents.map((document) => `${HEADING}\n${document}`);
}

/** `count` things from the makers in turn, no text twice while there are others. */
function generate<T>(count: number, makers: readonly (() => T)[], textOf: (made: T) => string): T[] {
  const seen = new Set<string>();
  return Array.from({ length: count }, (_, index) => {
    const make = makers[index % makers.length];
    let made = make();
    for (let attempt = 0; seen.has(textOf(made)) && attempt < ATTEMPTS; attempt++) made = make();
    seen.add(textOf(made));
    return made;
  });
}

function requireCount(count: number): void {
  if (Number.isInteger(count) && count >= 0) return;
  throw new UserError({
    zh: `题目数量 ${count} 不可用：请给出不小于 0 的整数。`,
    en: `A count of ${count} does not work: give a whole number of at least 0.`,
  });
}
