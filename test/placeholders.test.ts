import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { checkFillsUsed, fillPlaceholders, parseFills } from '../src/cli/placeholders.ts';
import { loadData } from '../src/cli/training-data.ts';
import { UserError } from '../src/errors.ts';
import { setLanguage } from '../src/i18n.ts';

const folder = mkdtempSync(join(tmpdir(), 'placeholders-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeEach(() => setLanguage('en'));

describe('placeholders', () => {
  test('are filled in, in JSON as the inside of a string', () => {
    const fills = parseFills(['name=A"b', 'author=甲=乙\n丙']);
    expect(fillPlaceholders('{{name}}：{{author}}', 'a.txt', fills)).toBe('A"b：甲=乙\n丙');
    const json = fillPlaceholders('[{"output": "我是{{name}}，{{author}}的。"}]', 'a.json', fills);
    expect(JSON.parse(json)).toEqual([{ output: '我是A"b，甲=乙\n丙的。' }]);
  });

  test('of other names stay, those of a name and an author must be filled in or kept on purpose', () => {
    expect(fillPlaceholders('{{ name }} {{item}} {name}', 'a.txt', new Map())).toBe(
      '{{ name }} {{item}} {name}',
    );
    expect(() => fillPlaceholders('["{{author}}"]', 'who.json', new Map())).toThrow(
      /who\.json has the placeholder \{\{author\}\}; fill it in with --fill author=/,
    );
    expect(fillPlaceholders('{{name}}', 'a.txt', parseFills(['name={{name}}']))).toBe('{{name}}');
  });

  test('a value that is no use is a slip', () => {
    expect(() => checkFillsUsed(parseFills(['nmae=A']), ['{{name}}'])).toThrow(
      /--fill nmae=\.\.\. has no effect/,
    );
    expect(() => checkFillsUsed(parseFills(['name=A']), ['', '{{name}}'])).not.toThrow();
    for (const slip of ['name', 'name=', '=A', 'my name=A'])
      expect(() => parseFills([slip])).toThrow(UserError);
  });

  test('are filled in where a file is read', () => {
    const file = join(folder, 'who.json');
    const record = { instruction: '你是谁？', input: '', output: '我是{{name}}，由{{author}}训练。' };
    writeFileSync(file, JSON.stringify([record]));
    const { sft } = loadData([file], ['name=小明', 'author=我们']);
    expect(JSON.parse(sft.text)[0].output).toBe('我是小明，由我们训练。');
    expect(() => loadData([file], ['name=小明'])).toThrow(/--fill author/);
    expect(() => loadData([], ['name=小明'])).toThrow(/no file of --data holds \{\{name\}\}/);
  });
});
