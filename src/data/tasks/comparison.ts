/**
 * @file Comparison of two numbers with as many digits: which is larger, or whether the first is 大于, 小于 or 等于 the
 * second. The working goes digit by digit until two digits differ: `3=3，5<8，38大。`
 */

import type { Random } from '../../tensor/random.ts';
import type { Relation } from '../../verifiers.ts';
import type { GeneratedTask, Split } from '../tasks.ts';
import { drawInSplit } from './draw.ts';

const WHICH: readonly ((a: number, b: number, side: '大' | '小') => string)[] = [
  (a, b, side) => `${a}和${b}哪个${side}？`,
  (a, b, side) => `${a}和${b}，哪个数更${side}？`,
  (a, b, side) => `${a} 与 ${b} 相比，较${side}的是哪个？`,
  (a, b, side) => `在${a}和${b}里选出比较${side}的数。`,
];
const RELATE: readonly ((a: number, b: number) => string)[] = [
  (a, b) => `${a}（ ）${b}，括号里填大于、小于还是等于？`,
  (a, b) => `${a}是大于、小于还是等于${b}？`,
  (a, b) => `比较大小：${a}○${b}，○里填大于、小于或等于。`,
];

function relation(a: number, b: number): Relation {
  return a > b ? '大于' : a < b ? '小于' : '等于';
}

/** Digits against digits, up to the first two that differ. */
function workingOf(a: number, b: number): string {
  const [left, right] = [[...String(a)], [...String(b)]];
  const differs = left.findIndex((digit, i) => digit !== right[i]);
  const seen = differs < 0 ? left : left.slice(0, differs + 1);
  const sign = { 大于: '>', 小于: '<', 等于: '=' };
  return seen
    .map((digit, i) => digit + sign[relation(Number(digit), Number(right[i]))] + right[i])
    .join('，');
}

/** Two numbers of two or three digits; often they share the first digit. */
function pair(random: Random): readonly [number, number] {
  const [low, high] = random.pick([
    [10, 100],
    [10, 100],
    [100, 1000],
  ]);
  const a = low + random.integer(high - low);
  if (random.uniform() < 0.6) return [a, low + random.integer(high - low)];
  return [a, a - (a % low) + random.integer(low)];
}

/** A random comparison of a split. */
export function comparisonTask(random: Random, split: Split): GeneratedTask {
  const asksRelation = random.uniform() < 0.5;
  const { a, b, key } = drawInSplit(split, () => {
    let [a, b] = pair(random);
    // 等于 is the answer to a sixth of the questions about the relation.
    if (asksRelation && random.uniform() < 1 / 6) b = a;
    else while (a === b) [a, b] = pair(random);
    return { a, b, key: `compare ${Math.min(a, b)} ${Math.max(a, b)}` };
  });
  const side = random.pick(['大', '小'] as const);
  const chosen = side === '大' ? Math.max(a, b) : Math.min(a, b);
  const common = { type: 'comparison', key };
  if (asksRelation) {
    const expected = relation(a, b);
    const prompt = random.pick(RELATE)(a, b);
    return { ...common, prompt, answer: `${workingOf(a, b)}，所以${expected}。`, expected };
  }
  const prompt = random.pick(WHICH)(a, b, side);
  return { ...common, prompt, answer: `${workingOf(a, b)}，${chosen}${side}。`, expected: String(chosen) };
}
