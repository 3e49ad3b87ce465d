/** @file Sorting: three to five different numbers, up or down. Each number of the answer is one step. */

import type { Random } from '../../tensor/random.ts';
import type { GeneratedTask, Split } from '../tasks.ts';
import { drawInSplit } from './draw.ts';

type Direction = '从小到大' | '从大到小';

const PHRASINGS: readonly ((list: string, direction: Direction) => string)[] = [
  (list, direction) => `把${list}${direction}排列。`,
  (list, direction) => `把${list}按${direction}的顺序写出来。`,
  (list, direction) => `${list}${direction}怎么排？`,
  (list, direction) => `请${direction}排序：${list}`,
  (list, direction) => `${direction}排一排：${list}`,
];

/** A random list of a split. The same numbers are one fact, in whatever order they are given or asked for. */
export function sortingTask(random: Random, split: Split): GeneratedTask {
  const { numbers, key } = drawInSplit(split, () => {
    const limit = random.pick([10, 100]);
    const numbers = new Set<number>();
    const count = 3 + random.integer(3);
    while (numbers.size < count) numbers.add(random.integer(limit));
    const ascending = [...numbers].sort((a, b) => a - b);
    return { numbers: ascending, key: `sort ${ascending.join(' ')}` };
  });
  const direction = random.pick(['从小到大', '从大到小'] as const);
  const sorted = direction === '从小到大' ? numbers : [...numbers].reverse();
  let given = random.shuffle(numbers);
  while (given.join() === sorted.join()) given = random.shuffle(numbers);
  return {
    prompt: random.pick(PHRASINGS)(given.join(random.pick(['、', '，'])), direction),
    answer: random.uniform() < 0.5 ? `${sorted.join('、')}。` : `${direction}是${sorted.join('、')}。`,
    expected: sorted.join('、'),
    type: 'sorting',
    key,
  };
}
