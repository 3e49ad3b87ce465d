/** @file Conversion of units: the final number counts, and its unit if it has one. */

import { UserError } from '../errors.ts';
import { finalQuantity, findNumbers, normalizeNumbers, offersBoth, type Quantity } from './final-number.ts';
import { createVerifier, type Verifier } from './verifier.ts';

/** Units that have several names. The first is the one used here. */
const NAMES: readonly (readonly string[])[] = [
  ['千米', '公里', 'km'],
  ['米', 'm'],
  ['分米', 'dm'],
  ['厘米', '公分', 'cm'],
  ['毫米', 'mm'],
  ['千克', '公斤', 'kg'],
  ['克', 'g'],
  ['吨', 't'],
  ['升', 'l'],
  ['毫升', 'ml'],
  ['小时', '个小时', '时', 'h'],
  ['分钟', '分', 'min'],
  ['秒', '秒钟', 's'],
  ['元', '块', '块钱', '元钱'],
  ['角', '毛', '角钱', '毛钱'],
  ['分', '分钱'],
  ['天', '日'],
  ['星期', '个星期', '周', '礼拜'],
  ['年'],
  ['月', '个月'],
];

/** Whether two names are of one unit; 分 is both a minute and a hundredth of a yuan. */
function sameUnit(one: string, other: string): boolean {
  const [a, b] = [one.toLowerCase(), other.toLowerCase()];
  return a === b || NAMES.some((names) => names.includes(a) && names.includes(b));
}

function expectedQuantity(expected: string): Quantity {
  const text = normalizeNumbers(expected);
  const [number, ...others] = findNumbers(text);
  const [, unit = undefined] =
    number === undefined ? [] : (/^\s*(\p{L}*)$/u.exec(text.slice(number.end)) ?? []);
  if (unit === undefined || others.length > 0) {
    throw new UserError({
      zh: `units 题的 expected 是“${expected}”：请写成一个数和单位，例如 "300厘米"。`,
      en: `The expected value of a units task is "${expected}": write one number and its unit, such as "300厘米".`,
    });
  }
  return { value: number.value, unit };
}

/** Whether one number is offered in two units, as in "300米或300厘米". */
function offersTwoUnits(text: string, unit: string): boolean {
  const [previous, last] = findNumbers(text).slice(-2);
  if (last === undefined) return false;
  const gap = text.slice(previous.end, last.start);
  const other = /^\s*(\p{L}*)/u.exec(gap)![1];
  return offersBoth(gap) && other !== '' && !sameUnit(other, unit);
}

/**
 * Right if the answer ends with the expected quantity: "300厘米", "3米=300厘米。", "300" alone. Wrong with another unit
 * ("300米", "3米") or with more than the unit after the number ("300厘米多").
 */
export const unitsVerifier: Verifier = createVerifier('units', (answer, expected) => {
  const wanted = expectedQuantity(expected);
  const given = finalQuantity(answer);
  if (given === undefined || given.value !== wanted.value) return false;
  if (offersTwoUnits(normalizeNumbers(answer), given.unit)) return false;
  return given.unit === '' || wanted.unit === '' || sameUnit(given.unit, wanted.unit);
});
