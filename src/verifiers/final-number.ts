/**
 * @file The final number of an answer: the one value that it commits to, if it commits to one.
 *
 * Digits may be full-width, with sign, thousands separators and decimals ("１，０００", "-3.50"); numerals in words
 * (四十二) do not count. No commitment are several candidates ("12 或 13", "12、13"), a number that is still an operand
 * ("100-50"), a number that is denied ("不是 42") or asked about ("是 42 吗？"), and one expression with two results.
 */

import { UserError } from '../errors.ts';
import { createVerifier, type Verifier } from './verifier.ts';
import { ALTERNATIVE, ASKS, ENDS_WITH_NEGATION } from './wording.ts';

/** A number in a text: its exact value as a canonical decimal, and where it stands. */
export interface NumberMatch {
  readonly value: string;
  readonly start: number;
  readonly end: number;
}

const NUMBER = /(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?%?/g;
const OPERATOR = '[-+*/×÷xX·~]|加上?|减去?|乘以?|除以|至|到';
/** A text that ends with an operator: the number after it is an operand, not a result. */
const ENDS_WITH_OPERATOR = new RegExp(`(?:${OPERATOR})\\s*$`);
const STARTS_WITH_OPERATOR = /^\s*(?:[-+*/×÷~=]|加|减|乘|除以|等于)/;
/** Between two numbers: nothing but a measure word, separators and 和. So "12、13", "12个，13个", "4 2". */
const BARE_LIST = /^[\p{L}]{0,2}?(?:[^\p{L}\p{N}=:：→]|和|与|及|跟)+$/u;
const RESULT = /(?:答案|结果)[^\d。！？!?\n]{0,6}$/;

/** Full-width digits and signs become ASCII; the Chinese comma stays, for it separates, except inside 1，234 in full width. */
export function normalizeNumbers(text: string): string {
  return text
    .replace(/([０-９])，(?=[０-９]{3}(?![０-９]))/g, '$1,')
    .replace(/[０-９＋－．／＊％＝]/g, (c) => String.fromCharCode(c.charCodeAt(0) - 0xfee0))
    .replace(/[−﹣]/g, '-');
}

/** "007.50" and "7.5" are the same number; as text, so that no digit is lost to rounding. */
function canonicalDecimal(digits: string, negative: boolean): string {
  const percent = digits.endsWith('%') ? '%' : '';
  const [whole, fraction = ''] = digits.replace(/[,%]/g, '').split('.');
  const shortWhole = whole.replace(/^0+(?=\d)/, '');
  const shortFraction = trimZeros(fraction);
  const value = shortFraction === '' ? shortWhole : `${shortWhole}.${shortFraction}`;
  return (negative && value !== '0' ? '-' : '') + value + percent;
}

function trimZeros(fraction: string): string {
  let end = fraction.length;
  while (end > 0 && fraction[end - 1] === '0') end--;
  return fraction.slice(0, end);
}

export function findNumbers(text: string): NumberMatch[] {
  const numbers: NumberMatch[] = [];
  for (const { 0: digits, index } of text.matchAll(NUMBER)) {
    const before = text.slice(Math.max(0, index - 8), index);
    // A minus is a sign unless something to subtract from stands before it.
    const sign = /(?:^|[^\d)）%\s])\s*-$|^\s*-$|(?:^|[^\d\s])\s+-$|负$/.test(before);
    const start = sign ? index - 1 : index;
    numbers.push({ value: canonicalDecimal(digits, sign), start, end: index + digits.length });
  }
  return numbers;
}

/** Whether what stands between two numbers offers one beside the other. */
export function offersBoth(gap: string): boolean {
  return ALTERNATIVE.test(gap) || BARE_LIST.test(gap);
}

/** Whether the numbers up to the last one are offered together with it, as in "12 或 13" or "11、12、13". */
function listsCandidates(text: string, numbers: readonly NumberMatch[]): boolean {
  const last = numbers[numbers.length - 1];
  for (let i = numbers.length - 2; i >= 0; i--) {
    const gap = text.slice(numbers[i].end, numbers[i + 1].start);
    const equation =
      gap.trim() === '=' &&
      !ENDS_WITH_OPERATOR.test(text.slice(Math.max(0, numbers[i].start - 4), numbers[i].start));
    if (!equation && !offersBoth(gap)) return false;
    if (numbers[i].value !== last.value) return true;
  }
  return false;
}

/** Whether one expression gets two values ("1+1=2，1+1=3") or two different numbers are called the answer. */
function contradictsItself(text: string, numbers: readonly NumberMatch[]): boolean {
  const values = new Map<string, string>();
  let previousEnd = 0;
  for (const { value, start, end } of numbers) {
    const before = text.slice(Math.max(previousEnd, start - 16), start);
    const expression = RESULT.test(before) ? '答案' : leftSide(text.slice(Math.max(0, start - 64), start));
    if (expression !== undefined) {
      if ((values.get(expression) ?? value) !== value) return true;
      values.set(expression, value);
    }
    previousEnd = end;
  }
  return false;
}

/** The expression before an equals sign at the end of a text: `15+27` of "先算 15 + 27 =". */
function leftSide(text: string): string | undefined {
  return /([\d.]+(?:\s*[-+*/×÷]\s*[\d.]+)+)\s*=\s*$/.exec(text)?.[1].replace(/\s/g, '');
}

/** A number that an answer commits to, and the letters right after it: `厘米` of "300 厘米". */
export interface Quantity {
  readonly value: string;
  readonly unit: string;
}

/** What an answer commits to, or undefined if it commits to no number. */
export function finalQuantity(answer: string): Quantity | undefined {
  const text = normalizeNumbers(answer);
  const numbers = findNumbers(text);
  if (numbers.length === 0) return undefined;
  const last = numbers[numbers.length - 1];
  const before = text.slice(Math.max(0, last.start - 8), last.start);
  if (ENDS_WITH_OPERATOR.test(before) && /[\d)）]/.test(text.slice(0, last.start))) return undefined;
  if (ENDS_WITH_NEGATION.test(before)) return undefined;
  const after = /^[^。！!\n]*/.exec(text.slice(last.end))![0]; // the rest of the sentence
  if (STARTS_WITH_OPERATOR.test(after) || ALTERNATIVE.test(after) || ASKS.test(after)) return undefined;
  if (listsCandidates(text, numbers) || contradictsItself(text, numbers)) return undefined;
  return { value: last.value, unit: /^\s*(\p{L}*)/u.exec(after)![1] };
}

/** The value of the expected answer of a task. @throws UserError if it is not one number */
export function expectedNumber(type: string, expected: string): string {
  const numbers = findNumbers(normalizeNumbers(expected));
  if (numbers.length === 1) return numbers[0].value;
  throw new UserError({
    zh: `${type} 题的 expected 是“${expected}”：请写成一个数字，例如 "42"。`,
    en: `The expected value of a ${type} task is "${expected}": write one number, such as "42".`,
  });
}

/** A verifier for which an answer is right if its final number is the expected one. */
export function numberVerifier(type: string): Verifier {
  return createVerifier(type, (answer, expected) => {
    const value = expectedNumber(type, expected);
    return finalQuantity(answer)?.value === value;
  });
}
