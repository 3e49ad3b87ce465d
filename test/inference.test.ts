import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { saveCheckpoint } from '../src/checkpoint.ts';
import { type AnswerRecord, appendAnswers, readAnswered } from '../src/cli/answers-file.ts';
import { parseConversations } from '../src/data/formats.ts';
import { parsePrompts } from '../src/data/prompts.ts';
import { UserError } from '../src/errors.ts';
import { runHere } from './support/command.ts';
import { tinyCheckpoint } from './support/writer.ts';

const folder = mkdtempSync(join(tmpdir(), 'my-llm-inference-'));
const checkpoint = join(folder, 'sft_final');
const input = join(folder, 'prompts.jsonl');
const output = join(folder, 'answers.jsonl');
const QUESTIONS = ['你好', '今天天气很好。今天天气', '世界', '朋友', '好'];

beforeAll(() => {
  saveCheckpoint(checkpoint, tinyCheckpoint());
  saveCheckpoint(join(folder, 'pretrain_final'), { ...tinyCheckpoint(), stage: 'pretrain' });
  const lines = QUESTIONS.map((prompt) => JSON.stringify({ prompt }));
  writeFileSync(input, `${lines.join('\n')}\n`);
});
beforeEach(() => {
  vi.spyOn(process.stderr, 'write').mockReturnValue(true);
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(output, { force: true });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function answer(...more: string[]): Promise<AnswerRecord[]> {
  const options = ['--input', input, '--output', output, '--checkpoint', checkpoint, '--threads', '1'];
  await runHere('inference', [...options, '--max-length', '6', ...more]);
  return readFileSync(output, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

describe('npm run inference', () => {
  test('answers each prompt, in the form of data for SFT', async () => {
    const records = await answer();
    expect(records.map(({ index, prompt }) => [index, prompt])).toEqual([...QUESTIONS.entries()]);
    for (const { response, finish, tokens } of records) {
      expect(response).not.toBe('');
      expect([finish, tokens]).toEqual(['length', 6]);
    }
    const [first] = parseConversations(readFileSync(output, 'utf8'), output);
    expect(first.messages).toEqual([
      { role: 'user', content: '你好' },
      { role: 'assistant', content: records[0].response },
    ]);
  });

  test('the size of the batch and interruptions change no answer', async () => {
    const records = await answer('--batch-size', '2');
    rmSync(output);
    expect(await answer('--batch_size', '1')).toEqual(records);
    // As kill -9 may leave it: two answers and the beginning of a third.
    const [first, second, third] = readFileSync(output, 'utf8').split('\n');
    writeFileSync(output, `${first}\n${second}\n${third.slice(0, 20)}`);
    expect(await answer('--batch-size', '4')).toEqual(records);
    // Nothing is left to do, and nothing is done twice.
    const before = readFileSync(output, 'utf8');
    expect(await answer()).toEqual(records);
    expect(readFileSync(output, 'utf8')).toBe(before);
    rmSync(output);
    expect(await answer('--seed', '2')).not.toEqual(records);
  });

  test('only what is missing is answered, wherever it stands', async () => {
    const records = await answer();
    writeFileSync(output, '');
    appendAnswers(output, [records[3], { ...records[1], response: '旧的' }]);
    const again = await answer();
    expect(again.map(({ index }) => index)).toEqual([3, 1, 0, 2, 4]);
    expect(again[1].response).toBe('旧的');
    expect(again.slice(2)).toEqual([records[0], records[2], records[4]]);
  });

  test('answers conversations and lines of text; a pretrained model continues texts', async () => {
    const other = join(folder, 'mixed.jsonl');
    const messages = [
      { role: 'system', content: '简短' },
      { role: 'user', content: '你好' },
    ];
    writeFileSync(other, `"你好"\n${JSON.stringify({ messages })}\n`);
    const records = await answer('--input', other);
    expect(records.map(({ prompt }) => prompt)).toEqual(['你好', messages]);
    rmSync(output);
    const lines = join(folder, 'lines.txt');
    writeFileSync(lines, '你好\r\n\r\n  世界  \n');
    const texts = await answer('--input', lines, '--checkpoint', join(folder, 'pretrain_final'), '--greedy');
    expect(texts.map(({ prompt }) => prompt)).toEqual(['你好', '世界']);
    rmSync(output);
    expect(await answer('--input', lines, '--raw', '--greedy')).toEqual(texts);
  });
});

describe('the file of answers', () => {
  const record: AnswerRecord = { index: 1, prompt: '世界', response: '好', finish: 'stop', tokens: 2 };
  const prompts = ['你好', '世界'];

  test('is read back, a torn end left out and removed', () => {
    expect(readAnswered(output, prompts)).toEqual(new Set());
    expect(existsSync(output)).toBe(false);
    appendAnswers(output, [record]);
    const whole = readFileSync(output, 'utf8');
    expect(readAnswered(output, prompts)).toEqual(new Set([1]));
    // Torn within a character of three bytes.
    const next = Buffer.from(`${JSON.stringify({ ...record, index: 0, prompt: '你好' })}\n`);
    for (const length of [1, next.indexOf('你') + 1, next.length - 1]) {
      appendFileSync(output, next.subarray(0, length));
      expect(readAnswered(output, prompts)).toEqual(new Set([1]));
      expect(readFileSync(output, 'utf8')).toBe(whole);
    }
    appendFileSync(output, next);
    expect(readAnswered(output, prompts)).toEqual(new Set([0, 1]));
  });

  test('of other prompts, or other things, is refused with file and line', () => {
    const cases: [unknown, RegExp][] = [
      [{ ...record, prompt: '你好' }, /answers\.jsonl, line 2 does not answer prompt 1/],
      [{ ...record, index: 7 }, /does not answer prompt 7/],
      [{ index: 5, response: 'x' }, /does not answer prompt 5/],
      [{ ...record, index: -1 }, /does not answer prompt -1/],
      [{ ...record, index: 0.5 }, /line 2 is no answer/],
      [{ prompt: '世界' }, /line 2 is no answer as npm run inference writes them/],
      [null, /line 2 is no answer/],
      ['text', /line 2 is no answer/],
    ];
    for (const [line, expected] of cases) {
      writeFileSync(output, `\n${JSON.stringify(line)}\n`);
      expect(() => readAnswered(output, prompts), JSON.stringify(line)).toThrow(UserError);
      expect(() => readAnswered(output, prompts), JSON.stringify(line)).toThrow(expected);
    }
  });
});

test('prompts that cannot be answered are refused with their place', () => {
  const cases: [string, string, RegExp][] = [
    ['a.jsonl', '{"text": "x"}', /a\.jsonl.*no known field.*"messages"/],
    ['a.jsonl', '"x"\n{"prompt": ""}', /line 2.*prompt is empty/],
    [
      'a.jsonl',
      '{"messages": [{"role": "assistant", "content": "x"}]}',
      /does not end with a message by the user/,
    ],
    ['a.jsonl', '"x"\n{', /line 2.*not valid JSON/],
    ['a.json', '[1]', /record 1.*not a JSON object/],
    ['a.txt', '\n \n', /holds no records/],
  ];
  for (const [name, content, expected] of cases)
    expect(() => parsePrompts(content, name), content).toThrow(expected);
});
