/** @file Puzzles of the form "A is more than B", up to chains of three. */

import type { Random } from '../../tensor/random.ts';
import { inSomeOrder, likeness, NAMES, type Puzzle } from './puzzle.ts';

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

/** What is below the last. */
const NOTHING = '没有';

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

/** The things on the way down from one to another, both included; as far as it leads where it does not lead there. */
function wayDown(pairs: readonly (readonly [number, number])[], from: number, to: number): number[] {
  if (from === to) return [from];
  const ways = pairs.filter(([above]) => above === from).map(([, below]) => wayDown(pairs, below, to));
  return [from, ...(ways.find((way) => way.at(-1) === to) ?? ways[0] ?? [])];
}

/** A premise, and the step that reads its order from it. */
interface Told {
  readonly premise: string;
  readonly step: string;
}

/**
 * That `above` is more than `below`. Told from the other end, the order is first written as it was told and then turned:
 * each half is then a step that can be copied.
 */
function tell({ more, less }: Comparison, above: string, below: string, fromBelow: boolean): Told {
  const order = `${above}>${below}`;
  if (!fromBelow) return { premise: more(above, below), step: order };
  return { premise: less(below, above), step: `${below}<${above}，${order}` };
}

/** A premise about two things of any kind; every other one is told from the other end. */
export function randomOrder(random: Random): Told {
  const kind = random.pick(COMPARISONS);
  const [above, below] = random.shuffle(kind.things);
  return tell(kind, above, below, random.uniform() < 0.5);
}

/** Facts as the steps write them, about things of a kind, each of which is above one other at most. */
export function randomFacts(random: Random): {
  things: string[];
  facts: string[];
  below: (thing: string) => string;
} {
  const { things } = random.pick(COMPARISONS);
  const named = random.shuffle(things).slice(0, 4 + random.integer(3));
  const pairs = named.slice(0, -2).map((above, i) => [above, random.pick(named.slice(i + 1))] as const);
  const belowOf = new Map(pairs);
  const below = (thing: string): string => `${thing}>${belowOf.get(thing) ?? NOTHING}`;
  return { things: named, facts: random.shuffle(pairs).map(([above]) => below(above)), below };
}

/** Such facts where some things are above two others: which one to tell depends on what is looked for. */
export function randomBranches(random: Random): {
  things: string[];
  /** (above, below), in the order in which they are told. */
  pairs: (readonly [string, string])[];
  /** What they say of a thing on the way to another. */
  towards: (from: string, to: string) => string;
} {
  const { things } = random.pick(COMPARISONS);
  const named = random.shuffle(things).slice(0, 4 + random.integer(3));
  const pairs = random.shuffle(
    named.slice(0, -2).flatMap((above, i) =>
      random
        .shuffle(named.slice(i + 1))
        .slice(0, 1 + random.integer(2))
        .map((below) => [above, below] as const),
    ),
  );
  const towards = (from: string, to: string): string => {
    const below = pairs.filter(([above]) => above === from).map(([, each]) => each);
    return `${from}>${below.includes(to) ? to : (below[0] ?? NOTHING)}`;
  };
  return { things: named, pairs, towards };
}

export function comparison(random: Random): Puzzle {
  const kind = random.pick(COMPARISONS);
  const { things, more, less, open } = kind;
  const shape = random.pick(SHAPES);
  const size = 1 + Math.max(...shape.flat());
  const named = random.shuffle(things).slice(0, size);
  const [first, second] = random.shuffle(named.map((_, i) => i));
  const asksMore = random.uniform() < 0.5;
  const [greater, smaller] = asksMore ? [first, second] : [second, first];
  const facts = inSomeOrder(random, shape);
  const aboveBelow = ([a, b]: readonly [number, number]): string => `${named[a]}>${named[b]}`;
  const search = (from: number, to: number): { found: boolean; steps: readonly string[] } => {
    const way = wayDown(facts, from, to).map((i) => named[i]);
    const target = named[to];
    const hops = way.slice(1).flatMap((name, i) => [`${way[i]}>${name}`, likeness(name, target)]);
    const found = way.at(-1) === target;
    return {
      found,
      steps: [`从${named[from]}找${target}`, ...hops, ...(found ? [] : [`${way.at(-1)}>${NOTHING}`])],
    };
  };
  const [x, y] = [named[first], named[second]];
  const [claim, opposite] = asksMore ? [more(x, y), less(x, y)] : [less(x, y), more(x, y)];
  const [down, up] = [search(greater, smaller), search(smaller, greater)];
  const told = facts.map(([a, b]) => tell(kind, named[a], named[b], random.uniform() < 0.25));
  return {
    premises: told.map(({ premise }) => premise),
    claim,
    verdict: down.found ? '是' : up.found ? '不是' : '不一定',
    // First which end the claim is told from, as far from the search as the facts are many.
    steps: [
      `${x}${asksMore ? '多' : '少'}`,
      ...told.map(({ step }) => step),
      ...down.steps,
      ...(down.found ? [] : up.steps),
    ],
    prose: [down.found ? claim : up.found ? opposite : `不知道${x}和${y}${open}`],
    key: `compare ${open} ${shape.map(aboveBelow).sort().join(' ')}`,
  };
}
