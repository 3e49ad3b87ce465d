/** @file Puzzles of the days of the week, counted day by day. */

import type { Random } from '../../tensor/random.ts';
import { likeness, type Puzzle } from './puzzle.ts';

export const WEEKDAYS = ['一', '二', '三', '四', '五', '六', '日'].map((day) => `星期${day}`);
export const DAYS = ['前天', '昨天', '今天', '明天', '后天'];

export function weekday(random: Random): Puzzle {
  const known = random.integer(DAYS.length);
  const asked = (known + 1 + random.integer(DAYS.length - 1)) % DAYS.length;
  const weekdayOfKnown = random.integer(7);
  const denied = random.uniform() < 0.5;
  const weekdayOf = (day: number): number => (weekdayOfKnown + day - known + 7) % 7;
  const told = (day: number): string => `${DAYS[day]}${denied ? '不' : ''}是${WEEKDAYS[weekdayOf(day)]}`;
  const direction = Math.sign(asked - known);
  const days = Array.from({ length: Math.abs(asked - known) }, (_, i) => known + (i + 1) * direction);
  const claimed = random.uniform() < 0.45 ? weekdayOf(asked) : random.integer(7);
  const matches = claimed === weekdayOf(asked);
  const open = denied && !matches;
  return {
    premises: [told(known)],
    claim: `${DAYS[asked]}是${WEEKDAYS[claimed]}`,
    verdict: open ? '不一定' : matches && !denied ? '是' : '不是',
    steps: [
      told(known),
      direction > 0 ? '往后数' : '往前数',
      ...days.map(told),
      likeness(WEEKDAYS[weekdayOf(asked)], WEEKDAYS[claimed]),
    ],
    prose: days.map(told),
    key: `weekday ${told(known)} ${DAYS[asked]}`,
  };
}
