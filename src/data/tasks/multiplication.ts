/**
 * @file Multiplication of a two-digit number by a one-digit number, with its working, as in arithmetic:
 * `34×7：4×7=28，3×7=21，21+2=23，得238`. The products are of the table; what is carried is added.
 */

import type { Random } from '../../tensor/random.ts';
import { arithmeticLine, type Fact, fact, factKey } from '../arithmetic.ts';
import type { GeneratedTask, Split } from '../tasks.ts';
import { drawInSplit } from './draw.ts';

/** The steps of `left × right`, a number of at most two digits times one of one digit: ones, tens, what is carried. */
export function productSteps(left: number, right: number): Fact[] {
  if (left < 10) return [];
  const ones = fact(left % 10, '×', right);
  const tens = fact(Math.floor(left / 10), '×', right);
  const carried = Math.floor(ones.result / 10);
  return carried === 0 ? [ones, tens] : [ones, tens, fact(tens.result, '+', carried)];
}

/** The product with its working. */
export function productLine(left: number, right: number): string {
  const steps = productSteps(left, right);
  const asked = fact(left, '×', right);
  if (steps.length === 0) return arithmeticLine(asked);
  return `${left}×${right}：${steps.map(arithmeticLine).join('，')}，得${asked.result}`;
}

const PHRASINGS: readonly ((left: number, right: number) => string)[] = [
  (a, b) => `${a}×${b}等于多少？`,
  (a, b) => `${a}×${b}=?`,
  (a, b) => `${a}×${b}=`,
  (a, b) => `计算 ${a} × ${b}`,
  (a, b) => `${a}乘${b}等于几？`,
  (a, b) => `${a}乘以${b}是多少？`,
  (a, b) => `${b}个${a}是多少？`,
  (a, b) => `${a}的${b}倍是多少？`,
  (a, b) => `一盒有${a}颗糖，${b}盒一共有多少颗？`,
  (a, b) => `每排坐${a}个人，${b}排一共坐多少人？`,
  (a, b) => `一本书${a}元，买${b}本要多少元？`,
];

/** A random product of a split. */
export function multiplicationTask(random: Random, split: Split): GeneratedTask {
  const { left, right, key } = drawInSplit(split, () => {
    const [left, right] = [10 + random.integer(90), 2 + random.integer(8)];
    return { left, right, key: factKey(fact(left, '×', right)), steps: productSteps(left, right) };
  });
  return {
    prompt: random.pick(PHRASINGS)(left, right),
    answer: `${productLine(left, right)}。`,
    expected: String(left * right),
    type: 'multiplication',
    key,
  };
}
