/**
 * @file The questions on which answers are checked by a program: facts that training never mentions, in whatever words.
 * Generated questions are split by fact (see `src/data/tasks.ts`): if 15+27 is held out, so are 27+15 and the story with
 * these numbers.
 */

import { fact, factKey, type Operator } from '../data/arithmetic.ts';
import type { Task } from '../data/formats.ts';
import { DEFAULT_TASK_TYPES, generateTasks } from '../data/generators.ts';
import { isHeldOut } from '../data/tasks.ts';

/** A task, with the fact that it asks about where that is known. */
export interface ExaminationTask extends Task {
  readonly key?: string;
}

/** `count` questions on as many held-out facts, each of the usual types an equal part: half arithmetic, half logic. */
export function generatedExamination(count: number, seed: number): ExaminationTask[] {
  return DEFAULT_TASK_TYPES.flatMap((type) => {
    const generated = generateTasks({ count: 4 * count, seed, split: 'heldOut', types: [type] });
    const byFact = new Map(generated.map((task) => [task.key, task]));
    const tasks = [...byFact.values()].slice(0, count / DEFAULT_TASK_TYPES.length);
    const seen = tasks.find(({ key }) => !isHeldOut(key));
    if (seen) throw new Error(`${seen.key} is not held out, and cannot be examined`);
    return tasks.map(({ prompt, expected, key }) => ({ prompt, expected, type, key }));
  });
}

const OPERATORS: Readonly<Record<string, Operator>> = {
  '+': '+',
  '＋': '+',
  加: '+',
  '-': '-',
  '−': '-',
  减: '-',
  '×': '×',
  '*': '×',
  乘: '×',
};
const EXPRESSION = /(\d+)\s*([+＋加\-−减×*乘])(?:上|去|以)?\s*(?=(\d+))/g;

/** The facts that a text tells or asks, such as 15+27. */
export function mentionedFacts(text: string): string[] {
  return [...text.matchAll(EXPRESSION)].map(([, left, operator, right]) =>
    factKey(fact(Number(left), OPERATORS[operator], Number(right))),
  );
}

/** The facts that a story could be about: all sums and differences of two of its numbers. */
export function taskFacts(text: string): string[] {
  const numbers = [...text.matchAll(/\d+/g)].map(([digits]) => Number(digits));
  return numbers.flatMap((left, i) =>
    numbers
      .slice(i + 1)
      .flatMap((right) => [
        factKey(fact(left, '+', right)),
        factKey(fact(left, '-', right)),
        factKey(fact(right, '-', left)),
      ]),
  );
}

/** How large the numbers of a sum are, by the largest of them. */
export const SIZES = [
  { id: 'up-to-20', largest: 20, zh: '最大数不超过 20', en: 'numbers up to 20' },
  { id: 'up-to-50', largest: 50, zh: '最大数 21–50', en: 'largest number 21–50' },
  { id: 'up-to-99', largest: 99, zh: '最大数 51–99', en: 'largest number 51–99' },
] as const;

/** The size of an arithmetic fact; undefined for anything else. */
export function sizeOf({ type, key }: ExaminationTask): (typeof SIZES)[number]['id'] | undefined {
  if (type !== 'math' || key === undefined) return undefined;
  const largest = Math.max(...key.split(/[+\-×]/).map(Number));
  return SIZES.find((size) => largest <= size.largest)?.id;
}
