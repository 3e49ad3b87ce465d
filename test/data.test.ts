import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseConversations, parsePreferences, parsePretrain, parseTasks } from '../src/data/formats.ts';
import { fact, factKey, generateTasks, isHeldOut } from '../src/data/generators.ts';
import { logicVerifier, mathVerifier, VERDICTS, verifierFor } from '../src/verifiers.ts';

const read = (name: string): string => readFileSync(new URL(`../data/${name}`, import.meta.url), 'utf8');

const IDENTITY = '我是 MyLLM，一个小型语言模型';
const conversations = parseConversations(read('sft_data.json'), 'sft_data.json');
const pairs = parsePreferences(read('reward_data.json'), 'reward_data.json');
const tasks = parseTasks(read('rlvf_data.json'), 'rlvf_data.json');
const documents = parsePretrain(read('pretrain_data.txt'), 'pretrain_data.txt');

/** Facts of two numbers that are told in a text, such as 15+27=42 or 15加27等于42. */
function toldFacts(content: string): string[] {
  const operators: Record<string, '+' | '-' | '×'> = {
    '+': '+',
    加: '+',
    '-': '-',
    减: '-',
    '×': '×',
    乘: '×',
  };
  const equations = content.matchAll(
    /(?<![\d+\-×])(\d+)\s*([-+×加减乘])\s*(\d+)(?:\s*=\s*|等于|得|是)(\d+)/g,
  );
  return [...equations].map(([, a, sign, b]) => factKey(fact(Number(a), operators[sign], Number(b))));
}

const plain = (content: string): string => content.replace(/[\s，。！？：；、“”]/g, '');

describe('pretrain_data.txt', () => {
  it('holds at least 300 KB in documents that differ', () => {
    expect(Buffer.byteLength(read('pretrain_data.txt'))).toBeGreaterThanOrEqual(300_000);
    expect(documents.length).toBeGreaterThan(100);
    expect(new Set(documents.map(plain)).size).toBe(documents.length);
  });
});

describe('sft_data.json', () => {
  it('holds at least 94 different conversations in every category', () => {
    expect(conversations.length).toBeGreaterThanOrEqual(94);
    const texts = conversations.map(({ messages }) => messages.map(({ content }) => content).join('\n'));
    expect(new Set(texts).size).toBe(conversations.length);
    const counts = new Map<string, number>();
    for (const { category } of conversations) counts.set(category!, (counts.get(category!) ?? 0) + 1);
    expect([...counts.keys()].sort()).toEqual(
      ['advice', 'greeting', 'honesty', 'identity', 'knowledge', 'language', 'multi_turn'].sort(),
    );
    expect(Math.min(...counts.values())).toBeGreaterThanOrEqual(20);
  });

  it('takes turns, from the user to the assistant', () => {
    for (const { messages } of conversations) {
      const turns = messages.filter(({ role }) => role !== 'system');
      turns.forEach(({ role }, i) => {
        expect(role).toBe(i % 2 === 0 ? 'user' : 'assistant');
      });
      expect(turns.length % 2).toBe(0);
      expect(messages.slice(1).some(({ role }) => role === 'system')).toBe(false);
    }
    expect(conversations.filter(({ messages }) => messages.length >= 4).length).toBeGreaterThanOrEqual(30);
  });

  it('has one identity', () => {
    let count = 0;
    for (const { messages } of conversations) {
      for (const [i, { role, content }] of messages.entries()) {
        if (role !== 'assistant') continue;
        if (content.includes('我是 MyLLM')) expect(content).toContain(IDENTITY);
        if (content.includes(IDENTITY)) count++;
        if (/^(请问)?你是谁？?$/.test(messages[i - 1].content)) expect(content).toContain(IDENTITY);
      }
    }
    expect(count).toBeGreaterThanOrEqual(20);
  });

  it('gives answers that are short, finished and cleanly set', () => {
    for (const { messages } of conversations) {
      for (const { role, content } of messages) {
        expect(content).toBe(content.trim());
        if (role !== 'assistant') continue;
        expect(content).toMatch(/[。！？”]$/);
        expect(content.length).toBeLessThan(90);
        expect(content).not.toMatch(/\p{Script=Han}[,.!?;:]|，，|。。/u);
      }
    }
  });
});

describe('reward_data.json', () => {
  it('holds at least 40 different pairs, of several kinds', () => {
    expect(pairs.length).toBeGreaterThanOrEqual(40);
    expect(new Set(pairs.map(({ prompt, chosen }) => JSON.stringify([prompt, chosen]))).size).toBe(
      pairs.length,
    );
    expect(new Set(pairs.map(({ category }) => category)).size).toBeGreaterThanOrEqual(6);
  });

  it('prefers an answer to another one, not to itself', () => {
    for (const { prompt, chosen, rejected } of pairs) {
      expect(plain(chosen)).not.toBe(plain(rejected));
      expect(chosen).toMatch(/[。！？”]$/);
      expect(prompt[prompt.length - 1].role).toBe('user');
      if (chosen.includes('我是 MyLLM')) expect(chosen).toContain(IDENTITY);
    }
  });

  it('cannot be won by length alone', () => {
    const longer =
      pairs.filter(({ chosen, rejected }) => chosen.length > rejected.length).length / pairs.length;
    expect(longer).toBeGreaterThan(0.25);
    expect(longer).toBeLessThan(0.75);
  });
});

describe('rlvf_data.json', () => {
  it('holds at least 40 different tasks, math and logic, balanced over the verdicts', () => {
    expect(tasks.length).toBeGreaterThanOrEqual(40);
    expect(new Set(tasks.map(({ prompt }) => plain(prompt))).size).toBe(tasks.length);
    expect(tasks.filter(({ type }) => type === 'math').length).toBeGreaterThanOrEqual(20);
    for (const verdict of VERDICTS) {
      expect(tasks.filter(({ expected }) => expected === verdict).length).toBeGreaterThanOrEqual(15);
    }
  });

  it('expects what the verifiers accept', () => {
    for (const { expected, type } of tasks) {
      expect(verifierFor(type).isCorrect(expected, expected)).toBe(true);
      expect(verifierFor(type).isCorrect(`答案是${expected}。`, expected)).toBe(true);
    }
  });

  it('does not give the answer away to a model that repeats the question', () => {
    for (const { prompt, expected, type } of tasks) {
      expect([prompt, verifierFor(type).isCorrect(prompt, expected)]).toEqual([prompt, false]);
    }
  });

  it('asks as the generators ask: the question comes last', () => {
    for (const { prompt, type } of tasks) if (type === 'logic') expect(prompt).toMatch(/。[^。]+吗？$/);
  });

  it('has right sums where they can be read off', () => {
    for (const { prompt, expected } of tasks) {
      const words = /^(\d+)(加|减|乘)(\d+)等于多少？$/.exec(prompt);
      if (words === null) continue;
      const operator = ({ 加: '+', 减: '-', 乘: '×' } as const)[words[2] as '加' | '减' | '乘'];
      expect([prompt, String(fact(Number(words[1]), operator, Number(words[3])).result)]).toEqual([
        prompt,
        expected,
      ]);
    }
  });
});

describe('what is held out', () => {
  it('is told nowhere in the bundled data', () => {
    for (const name of ['pretrain_data.txt', 'sft_data.json', 'reward_data.json']) {
      for (const key of toldFacts(read(name)))
        expect([name, key, isHeldOut(key)]).toEqual([name, key, false]);
    }
  });

  it('is asked by no bundled task', () => {
    for (const { prompt, expected, type } of tasks) {
      const numbers = (prompt.match(/\d+/g) ?? []).map(Number);
      if (type !== 'math' || numbers.length !== 2 || numbers.some((n) => n > 99)) continue;
      const facts = (['+', '-'] as const).map((operator) => fact(numbers[0], operator, numbers[1]));
      for (const asked of facts.filter(({ result }) => String(result) === expected)) {
        expect([prompt, isHeldOut(factKey(asked))]).toEqual([prompt, false]);
      }
    }
  });

  it('is yielded by no generator of training data', () => {
    for (const { key } of generateTasks({ count: 2000, seed: 99, split: 'train' })) {
      expect([key, isHeldOut(key)]).toEqual([key, false]);
    }
  });
});

describe('the bundled answers', () => {
  it('are never accepted by the wrong verifier for a task', () => {
    for (const { expected, type } of tasks) {
      if (type === 'math')
        expect(VERDICTS.some((verdict) => logicVerifier.isCorrect(expected, verdict))).toBe(false);
      else expect(mathVerifier.isCorrect(expected, '1')).toBe(false);
    }
  });
});
