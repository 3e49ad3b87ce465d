/** @file Puzzles of the form "A is more than B", up to chains of three. */

import type { Random } from '../../tensor/random.ts';
import { inSomeOrder, NAMES, type Puzzle } from './puzzle.ts';

interface Comparison {
  readonly things: readonly string[];
  readonly more: (a: string, b: string) => string;
  /** The same relation seen from the other end: `less(b, a)` means `more(a, b)`. */
  readonly less: (a: string, b: string) => string;
  /** `谁高`: what is not known about two of them. */
  readonly open: string;
}

function comparisonOf(things: readonly string[], more: string, less: string): Comparison {
  return {
    things,
    more: (a, b) => `${a}比${b}${more}`,
    less: (a, b) => `${a}比${b}${less}`,
    open: `${things === NAMES ? '谁' : '哪个'}${more}`,
  };
}

const COLORED = (thing: string): string[] =>
  ['红', '黄', '蓝', '绿', '白', '黑'].map((color) => color + thing);
export const COMPARISONS: readonly Comparison[] = [
  comparisonOf(NAMES, '高', '矮'),
  comparisonOf(NAMES, '重', '轻'),
  comparisonOf(NAMES, '大', '小'),
  comparisonOf(NAMES, '跑得快', '跑得慢'),
  comparisonOf(COLORED('球'), '重', '轻'),
  comparisonOf(COLORED('车'), '快', '慢'),
  comparisonOf(COLORED('盒子'), '大', '小'),
  comparisonOf(['苹果', '梨', '桃', '香蕉', '葡萄', '西瓜'], '贵', '便宜'),
  {
    things: NAMES,
    more: (a, b) => `${a}在${b}前面`,
    less: (a, b) => `${a}在${b}后面`,
    open: '谁在前面',
  },
  comparisonOf(NAMES, '到得早', '到得晚'),
];

/** Whether the given pairs (greater, smaller) lead down from one thing to another. */
function isAbove(pairs: readonly (readonly [number, number])[], from: number, to: number): boolean {
  return pairs.some(
    ([greater, smaller]) => greater === from && (smaller === to || isAbove(pairs, smaller, to)),
  );
}

/** Pairs (greater, smaller) over things 0, 1, 2, ...: a pair, chains, two below one, two above one. */
const SHAPES: readonly (readonly (readonly [number, number])[])[] = [
  [[0, 1]],
  [
    [0, 1],
    [1, 2],
  ],
  [
    [0, 1],
    [0, 2],
  ],
  [
    [0, 2],
    [1, 2],
  ],
  [
    [0, 1],
    [1, 2],
    [2, 3],
  ],
];

export function comparison(random: Random): Puzzle {
  const { things, more, less, open } = random.pick(COMPARISONS);
  const shape = random.pick(SHAPES);
  const size = 1 + Math.max(...shape.flat());
  const named = random.shuffle(things).slice(0, size);
  const [first, second] = random.shuffle(named.map((_, i) => i));
  const [x, y] = [named[first], named[second]];
  const asksMore = random.uniform() < 0.5;
  const [greater, smaller] = asksMore ? [first, second] : [second, first];
  const claim = asksMore ? more(x, y) : less(x, y);
  const opposite = asksMore ? less(x, y) : more(x, y);
  const forced = isAbove(shape, greater, smaller);
  const excluded = isAbove(shape, smaller, greater);
  const facts = inSomeOrder(random, shape).map(([a, b]) => {
    const told = more(named[a], named[b]);
    return random.uniform() < 0.25 ? [less(named[b], named[a]), told] : [told];
  });
  const known = forced ? claim : excluded ? opposite : `不知道${x}和${y}${open}`;
  // Premises told the other way round are turned first, so that all facts point the same way.
  const steps = facts.flatMap(([premise, turned]) => (turned ? [premise, `就是${turned}`] : [premise]));
  return {
    premises: facts.map(([premise]) => premise),
    claim,
    verdict: forced ? '是' : excluded ? '不是' : '不一定',
    steps: steps.at(-1) === known ? steps : [...steps, known],
    key: `compare ${open} ${shape
      .map(([a, b]) => `${named[a]}>${named[b]}`)
      .sort()
      .join(' ')}`,
  };
}
