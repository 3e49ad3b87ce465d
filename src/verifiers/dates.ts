/** @file Dates and days of the week: the last one in the answer counts. */

import { UserError } from '../errors.ts';
import { normalizeNumbers } from './final-number.ts';
import { createVerifier, type Verifier } from './verifier.ts';
import { ALTERNATIVE, ASKS, ENDS_WITH_NEGATION } from './wording.ts';

const DATE = /(?<!\d)(\d{1,2})\s*月\s*(\d{1,2})\s*[日号]|(?:星期|周|礼拜)([一二三四五六日天])/g;
/** Between two dates, the one asked about and the answer: 3月28日之后5天是4月2日. */
const LEADS_ON = /[天推过].*[是为得：:=→]/s;

interface Day {
  /** `4-2` or `星期一`. */
  readonly value: string;
  readonly start: number;
  readonly end: number;
}

function findDays(text: string): Day[] {
  return [...text.matchAll(DATE)].map(({ 0: all, 1: month, 2: day, 3: weekday, index }) => ({
    value: weekday ? `星期${weekday.replace('天', '日')}` : `${Number(month)}-${Number(day)}`,
    start: index,
    end: index + all.length,
  }));
}

/** The day that an answer commits to, or undefined if it commits to none or to several. */
export function finalDay(answer: string): string | undefined {
  const text = normalizeNumbers(answer).replace(/\p{Cf}/gu, '');
  const days = findDays(text);
  if (days.length === 0 || ALTERNATIVE.test(text)) return undefined;
  const last = days[days.length - 1];
  const rest = text.slice(last.end);
  // After the answer nothing counts but its end: 4月2日之前 is another day.
  if (ASKS.test(rest) || !/^\s*(?:[了。！!”"）)\s]|$)/.test(rest) || /\d/.test(rest)) return undefined;
  if (ENDS_WITH_NEGATION.test(text.slice(Math.max(0, last.start - 8), last.start))) return undefined;
  const others = days.slice(0, -1).filter(({ value }) => value !== last.value);
  if (others.length === 0) return last.value;
  // One other day may stand before it: the one that the question starts from.
  const [other] = others;
  const next = days.find(({ start }) => start > other.start)!;
  const gap = text.slice(other.end, next.start);
  const before = text.slice(0, other.start);
  const isAnswer = /(?:答案|结果|所以)[就应该]*[是为]?[:：]?\s*$/.test(before);
  return others.length === 1 && other === days[0] && LEADS_ON.test(gap) && !isAnswer ? last.value : undefined;
}

/**
 * Right if the answer ends with the expected date or day of the week: "4月2日", "4 月 2 号。", "所以是星期一。", "周一".
 * Wrong are several ("4月1日、4月2日", "星期一或星期二"), a denial ("不是星期一"), and a day that is not the end of a
 * sentence ("4月2日之前").
 */
export const datesVerifier: Verifier = createVerifier('dates', (answer, expected) => {
  const wanted = finalDay(expected);
  if (wanted === undefined) {
    throw new UserError({
      zh: `dates 题的 expected 是“${expected}”：请写成一个日期或星期，例如 "4月2日"、"星期一"。`,
      en: `The expected value of a dates task is "${expected}": write one date or day of the week, such as "4月2日" or "星期一".`,
    });
  }
  return finalDay(answer) === wanted;
});
