import { describe, expect, test } from 'vitest';
import { wrappedTable, wrapToWidth } from '../src/cli/wrap.ts';
import { displayWidth } from '../src/format-text.ts';
import { fc } from './support/property.ts';

describe('wrapping', () => {
  test('by hand', () => {
    expect(wrapToWidth('你好世界', 4)).toEqual(['你好', '世界']);
    expect(wrapToWidth('你好世界', 5)).toEqual(['你好', '世界']);
    expect(wrapToWidth('the cat sat', 7)).toEqual(['the cat', 'sat']);
    expect(wrapToWidth('我是 MyLLM 呀', 8)).toEqual(['我是', 'MyLLM 呀']);
    // Punctuation takes its character along, and a word too long for a line is broken.
    expect(wrapToWidth('你好吗？好', 6)).toEqual(['你好', '吗？好']);
    expect(wrapToWidth('abcdefgh', 3)).toEqual(['abc', 'def', 'gh']);
    expect(wrapToWidth('一\n\n二', 10)).toEqual(['一', '', '二']);
    expect(wrapToWidth('', 10)).toEqual(['']);
    expect(wrapToWidth('你', 1)).toEqual(['你']);
  });

  test('no line is too wide, and nothing is lost but spaces', () => {
    const unit = fc.constantFrom('a', 'b', ' ', '你', '好', '。', '😀', 'é', '\n', '1');
    fc.assert(
      fc.property(fc.string({ unit, maxLength: 40 }), fc.integer({ min: 2, max: 12 }), (value, width) => {
        const lines = wrapToWidth(value, width);
        for (const line of lines) expect(displayWidth(line)).toBeLessThanOrEqual(width);
        expect(lines.join('').replace(/\s/g, '')).toBe(value.replace(/\s/g, ''));
      }),
    );
  });
});

describe('a table of texts', () => {
  test('keeps short rows together', () => {
    expect(
      wrappedTable(
        [
          ['提示', 'SFT'],
          ['你好', 'hello'],
          ['a', '好'],
        ],
        80,
      ),
    ).toBe('提示  SFT\n────  ─────\n你好  hello\na     好');
  });

  test('wraps the widest columns', () => {
    const shown = wrappedTable(
      [
        ['问', '答'],
        ['你好', '我是一个小型语言模型。'],
        ['好', '不'],
      ],
      16,
    );
    expect(shown).toBe(
      '问    答\n────  ──────────\n你好  我是一个小\n      型语言模\n      型。\n\n好    不',
    );
    for (const line of shown.split('\n')) expect(displayWidth(line)).toBeLessThanOrEqual(16);
  });
});
