/**
 * @file Conversion of units, both ways: `1米=100厘米，3×100=300，3米=300厘米。` and `100厘米=1米，300÷100=3，300厘米=3米。`
 * How many of the smaller one are in the larger one is said first; the rest is a product or a quotient.
 */

import type { Random } from '../../tensor/random.ts';
import { type Fact, fact } from '../arithmetic.ts';
import type { GeneratedTask, Split } from '../tasks.ts';
import { drawInSplit } from './draw.ts';
import { productLine, productSteps } from './multiplication.ts';

/** So many of the small unit are one of the large unit. */
const UNITS: readonly (readonly [large: string, factor: number, small: string])[] = [
  ['米', 10, '分米'],
  ['米', 100, '厘米'],
  ['米', 1000, '毫米'],
  ['分米', 10, '厘米'],
  ['厘米', 10, '毫米'],
  ['千米', 1000, '米'],
  ['千克', 1000, '克'],
  ['吨', 1000, '千克'],
  ['升', 1000, '毫升'],
  ['元', 10, '角'],
  ['元', 100, '分'],
  ['角', 10, '分'],
  ['小时', 60, '分钟'],
  ['分钟', 60, '秒'],
  ['天', 24, '小时'],
  ['星期', 7, '天'],
  ['年', 12, '个月'],
];

const PHRASINGS: readonly ((given: string, unit: string) => string)[] = [
  (given, unit) => `${given}是多少${unit}？`,
  (given, unit) => `${given}等于多少${unit}？`,
  (given, unit) => `把${given}换算成${unit}。`,
  (given, unit) => `${given}=（ ）${unit}`,
  (given, unit) => `${given}合多少${unit}？`,
];

const isPowerOfTen = (factor: number): boolean => /^10+$/.test(String(factor));

/** The product of which a conversion consists; powers of ten need no working. */
function product(count: number, factor: number): { line: string; steps: readonly Fact[] } {
  if (isPowerOfTen(factor)) return { line: `${count}×${factor}=${count * factor}`, steps: [] };
  return {
    line: productLine(factor, count),
    steps: [fact(factor, '×', count), ...productSteps(factor, count)],
  };
}

/** A random conversion of a split; the way there and the way back are one fact. */
export function unitsTask(random: Random, split: Split): GeneratedTask {
  const asked = drawInSplit(split, () => {
    const [large, factor, small] = random.pick(UNITS);
    const count = 1 + random.integer(isPowerOfTen(factor) && random.uniform() < 0.5 ? 99 : 9);
    const { line, steps } = product(count, factor);
    return { large, factor, small, count, line, steps, key: `units ${count} ${large} ${small}` };
  });
  const { large, factor, small, count, line, key } = asked;
  const [more, less] = [`${count * factor}${small}`, `${count}${large}`];
  const down = random.uniform() < 0.6;
  const divided = `${count * factor}÷${factor}=${count}`;
  return {
    prompt: down ? random.pick(PHRASINGS)(less, small) : random.pick(PHRASINGS)(more, large),
    answer: down
      ? `1${large}=${factor}${small}，${line}，${less}=${more}。`
      : `${factor}${small}=1${large}，${divided}，${more}=${less}。`,
    expected: down ? more : less,
    type: 'units',
    key,
  };
}
