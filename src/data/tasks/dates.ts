/**
 * @file Dates: some days after or before a date or a day of the week. The working is a sum, and the length of the month
 * taken away or put on: `28+5=33，3月有31天，33-31=2，所以是4月2日。` The end of February is left out: it depends on the year.
 */

import type { Random } from '../../tensor/random.ts';
import { arithmeticLine, type Fact, fact } from '../arithmetic.ts';
import { WEEKDAYS } from '../puzzles.ts';
import type { GeneratedTask, Split } from '../tasks.ts';
import { type Asked, drawInSplit } from './draw.ts';

const MONTHS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const FEBRUARY = 1;

/** A question about days: from which, how far, to which, and the working. */
interface Shift extends Asked {
  readonly from: string;
  readonly days: number;
  readonly forward: boolean;
  readonly to: string;
  readonly working: string;
  readonly steps: readonly Fact[];
}

function dateShift(random: Random): Shift {
  for (;;) {
    const month = random.integer(12);
    const day = 1 + random.integer(MONTHS[month]);
    const days = 1 + random.integer(20);
    const sum = fact(day, '+', days);
    const crosses = sum.result > MONTHS[month];
    if (crosses && month === FEBRUARY) continue;
    const other = crosses ? (month + 1) % 12 : month;
    const later = crosses ? sum.result - MONTHS[month] : sum.result;
    const forward = random.uniform() < 0.6;
    const [from, to] = [`${month + 1}月${day}日`, `${other + 1}月${later}日`];
    const length = `${month + 1}月有${MONTHS[month]}天`;
    const steps = forward ? datesForward(day, days, MONTHS[month]) : datesBack(later, days, MONTHS[month]);
    const told = steps.map(arithmeticLine);
    if (crosses) told.splice(forward ? 1 : 0, 0, length);
    return {
      ...(forward ? { from, to } : { from: to, to: from }),
      days,
      forward,
      working: told.join('，'),
      steps,
      key: `date ${from} ${days}`,
    };
  }
}

function datesForward(day: number, days: number, length: number): Fact[] {
  const sum = fact(day, '+', days);
  return sum.result > length ? [sum, fact(sum.result, '-', length)] : [sum];
}

/** Back from the day `later`, over the end of a month of `length` days if need be. */
function datesBack(later: number, days: number, length: number): Fact[] {
  if (later > days) return [fact(later, '-', days)];
  const sum = fact(later, '+', length);
  return [sum, fact(sum.result, '-', days)];
}

/** Days of the week are numbers from 1 (Monday) to 7; whole weeks are taken away or put on. */
function weekdayShift(random: Random): Shift {
  const [start, days] = [1 + random.integer(7), 1 + random.integer(13)];
  const forward = random.uniform() < 0.6;
  const end = ((start + days - 1) % 7) + 1;
  const [from, to] = forward ? [start, end] : [end, start];
  const weeks = forward ? start + days - end : Math.max(0, 7 * Math.ceil((days - end + 1) / 7));
  const steps = forward
    ? [fact(start, '+', days), ...(weeks > 0 ? [fact(start + days, '-', weeks)] : [])]
    : [...(weeks > 0 ? [fact(end, '+', weeks)] : []), fact(end + weeks, '-', days)];
  return {
    from: WEEKDAYS[from - 1],
    days,
    forward,
    to: WEEKDAYS[to - 1],
    working: steps.map(arithmeticLine).join('，'),
    steps,
    key: `weekday ${start} ${days}`,
  };
}

type Phrasing = (from: string, days: number, side: '后' | '前') => string;

const DATE_PHRASINGS: readonly Phrasing[] = [
  (from, days, side) => `${from}之${side}${days}天是几月几日？`,
  (from, days, side) => `${from}的${days}天${side}是几月几日？`,
  (from, days, side) => `今天是${from}，${days}天${side}是几月几日？`,
  (from, days, side) =>
    `${from}${side}推${days}天是哪一天？`.replace('前推', '往前推').replace('后推', '往后推'),
];
const WEEKDAY_PHRASINGS: readonly Phrasing[] = [
  (from, days, side) => `今天是${from}，${days}天${side}是星期几？`,
  (from, days, side) => `今天${from}，${side === '后' ? '再过' : '倒退'}${days}天是星期几？`,
  (from, days, side) => `${from}之${side}${days}天是星期几？`,
];

/** A random question of a split, about a date or a day of the week. */
export function datesTask(random: Random, split: Split): GeneratedTask {
  const asksDate = random.uniform() < 0.6;
  const shift = drawInSplit(split, () => (asksDate ? dateShift(random) : weekdayShift(random)));
  const { from, days, forward, to, working, key } = shift;
  const phrasings = asksDate ? DATE_PHRASINGS : WEEKDAY_PHRASINGS;
  return {
    prompt: random.pick(phrasings)(from, days, forward ? '后' : '前'),
    answer: `${working}，所以是${to}。`,
    expected: to,
    type: 'dates',
    key,
  };
}
