import { afterEach, expect, test } from 'vitest';
import { createProgress } from '../src/cli/progress.ts';
import {
  displayWidth,
  formatCount,
  formatDuration,
  padToWidth,
  table,
  truncateToWidth,
} from '../src/format-text.ts';
import { setLanguage } from '../src/i18n.ts';
import { fc } from './support/property.ts';

afterEach(() => setLanguage('en'));

/** Records what is written, with a clock that the test moves. */
function recorder(isTTY: boolean, columns?: number) {
  const written: string[] = [];
  const clock = { time: 0 };
  return {
    written,
    clock,
    now: () => clock.time,
    output: { isTTY, columns, write: (chunk: string) => written.push(chunk) },
  };
}

test('display width: Chinese and emoji two columns, marks and colours none', () => {
  const widths: [string, number][] = [
    ['', 0],
    ['abc', 3],
    ['中文，。', 8],
    ['１２', 4],
    ['한국어', 6],
    ['かな', 4],
    ['e\u0301', 1],
    ['👍', 2],
    ['👨‍👩‍👧', 2],
    ['❤️', 2],
    ['𠀀', 2],
    ['█░─…·', 5],
    ['\u001b[31mred\u001b[0m', 3],
    ['a\u200bb', 2],
  ];
  for (const [value, width] of widths) expect([value, displayWidth(value)]).toEqual([value, width]);
});

test('truncation and padding never miss their width', () => {
  expect(truncateToWidth('中文字', 5)).toBe('中文…');
  expect(truncateToWidth('中文字', 4)).toBe('中…');
  expect(truncateToWidth('abc', 3)).toBe('abc');
  expect(truncateToWidth('abc', 0)).toBe('');
  expect(padToWidth('中', 4)).toBe('中  ');
  expect(padToWidth('中', 4, 'right')).toBe('  中');
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), fc.integer({ min: 0, max: 20 }), (value, width) => {
      expect(displayWidth(truncateToWidth(value, width))).toBeLessThanOrEqual(width);
    }),
  );
});

test('durations and counts', () => {
  const durations = [0, 0.44, 9.94, 9.96, 59.4, 59.6, 185, 3599.4, 3599.6, 7620, Number.NaN, -1];
  expect(durations.map(formatDuration)).toEqual([
    '0.0s',
    '0.4s',
    '9.9s',
    '10s',
    '59s',
    '1m00s',
    '3m05s',
    '59m59s',
    '1h00m',
    '2h07m',
    '--',
    '--',
  ]);
  expect([7, 950, 12345, 999_499, 999_500, 4_560_000].map(formatCount)).toEqual([
    '7',
    '950',
    '12.3k',
    '999k',
    '1.00M',
    '4.56M',
  ]);
});

test('a table is aligned with Chinese in it, figures to the right', () => {
  const lines = table([
    ['阶段', 'loss', 'note'],
    ['预训练', '3.21', 'a'],
    ['SFT', '12.5', '好'],
  ]).split('\n');
  expect(lines).toEqual(['阶段    loss  note', '──────  ────  ────', '预训练  3.21  a', 'SFT     12.5  好']);
  expect(table([])).toBe('');
  expect(table([['a', 'b'], ['x']])).toBe('a  b\n─  ─\nx');
});

test('in a terminal one line is rewritten and never wider than the window', () => {
  for (const columns of [10, 20, 40, 80, 200]) {
    const { written, clock, now, output } = recorder(true, columns);
    const progress = createProgress({ stage: '预训练 Pretrain', total: 100, output, now });
    for (let step = 1; step <= 100; step++) {
      clock.time += 500;
      progress.update({ step, loss: 2.71, tokensPerSecond: 1234, figures: { 奖励: '0.31' } });
    }
    progress.end();
    progress.end();
    expect(written).toHaveLength(101);
    expect(written.at(-1)).toBe('\n');
    for (const chunk of written.slice(0, -1)) {
      expect(chunk.startsWith('\r\u001b[2K')).toBe(true);
      expect(chunk).not.toContain('\n');
      expect(displayWidth(chunk)).toBeLessThan(columns);
    }
  }
});

test('the line holds stage, bar, step, loss, speed and the remaining time', () => {
  const { written, clock, now, output } = recorder(true, 100);
  const progress = createProgress({ stage: 'SFT', total: 40, start: 20, output, now });
  clock.time = 10_000;
  progress.update({ step: 30, loss: 2.5, tokensPerSecond: 3400 });
  expect(written[0]).toBe(
    `\r\u001b[2KSFT ${'█'.repeat(18)}${'░'.repeat(6)} 30/40 · loss 2.5000 · 3.40k tokens/s · ETA 10s`,
  );
  progress.log('a sample');
  expect(written.slice(1)).toEqual(['\r\u001b[2K', 'a sample\n', written[0]]);
  setLanguage('zh');
  clock.time = 20_000;
  progress.update({ step: 40, loss: 2 });
  expect(written.at(-1)).toContain('损失 2.0000 · 用时 20s');
});

test('a terminal is not redrawn faster than the eye, yet the end is shown', () => {
  const { written, clock, now, output } = recorder(true, 80);
  const progress = createProgress({ stage: 'x', total: 1000, output, now });
  for (let step = 1; step <= 1000; step++) {
    clock.time += 1;
    progress.update({ step });
  }
  progress.end();
  expect(written.length).toBeLessThan(15);
  expect(written.at(-2)).toContain('1000/1000');
});

test('elsewhere plain lines: each tenth, or each five seconds, without escapes', () => {
  const quick = recorder(false);
  const progress = createProgress({ stage: '预训练', total: 1000, output: quick.output, now: quick.now });
  for (let step = 1; step <= 1000; step++) {
    quick.clock.time += 10;
    progress.update({ step, loss: 1 });
  }
  progress.end();
  expect(quick.written.length).toBeGreaterThanOrEqual(10);
  expect(quick.written.length).toBeLessThanOrEqual(13);
  expect(quick.written.at(-1)).toBe('预训练 100% 1000/1000 · loss 1.0000 · took 10s\n');
  for (const line of quick.written) expect(line.replace(/\n$/, '')).not.toMatch(/\p{Cc}/u);

  const slow = recorder(false);
  const long = createProgress({ stage: 'x', total: 1_000_000, output: slow.output, now: slow.now });
  for (let step = 1; step <= 100; step++) {
    slow.clock.time += 1000;
    long.update({ step });
  }
  expect(slow.written).toHaveLength(20);
});
