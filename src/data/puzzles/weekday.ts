/** @file Puzzles of the days of the week, counted day by day. */

import type { Random } from '../../tensor/random.ts';
import { likeness, type Puzzle } from './puzzle.ts';

export const WEEKDAYS = ['一', '二', '三', '四', '五', '六', '日'].map((day) => `星期${day}`);
export const DAYS = ['前天', '昨天', '今天', '明天', '后天'];

/** What one day is or is not, and the way from it to another, day by day. */
interface Counting {
  readonly known: string;
  /** The day that is counted to, and the day of the week that it comes to: an index of `WEEKDAYS`. */
  readonly asked: string;
  readonly weekday: number;
  readonly denied: boolean;
  readonly direction: string;
  readonly days: readonly string[];
  readonly key: string;
}

export function randomCounting(random: Random): Counting {
  const known = random.integer(DAYS.length);
  const asked = (known + 1 + random.integer(DAYS.length - 1)) % DAYS.length;
  const weekdayOfKnown = random.integer(7);
  const denied = random.uniform() < 0.5;
  const weekdayOf = (day: number): number => (weekdayOfKnown + day - known + 7) % 7;
  const told = (day: number): string => `${DAYS[day]}${denied ? '不' : ''}是${WEEKDAYS[weekdayOf(day)]}`;
  const direction = Math.sign(asked - known);
  return {
    known: told(known),
    asked: DAYS[asked],
    weekday: weekdayOf(asked),
    denied,
    direction: direction > 0 ? '往后数' : '往前数',
    days: Array.from({ length: Math.abs(asked - known) }, (_, i) => told(known + (i + 1) * direction)),
    key: `weekday ${told(known)} ${DAYS[asked]}`,
  };
}

export function weekday(random: Random): Puzzle {
  const { known, asked, weekday, denied, direction, days, key } = randomCounting(random);
  const claimed = random.uniform() < 0.45 ? weekday : random.integer(7);
  const matches = claimed === weekday;
  const open = denied && !matches;
  return {
    premises: [known],
    claim: `${asked}是${WEEKDAYS[claimed]}`,
    verdict: open ? '不一定' : matches && !denied ? '是' : '不是',
    steps: [known, direction, ...days, likeness(WEEKDAYS[weekday], WEEKDAYS[claimed])],
    prose: days,
    key,
  };
}
