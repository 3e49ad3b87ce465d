/** The generated types beyond math and logic: true answers, kept apart by the fact that they ask about. */

import { describe, expect, it } from 'vitest';
import { exerciseConversations, verifiableTasks } from '../src/data/datasets.ts';
import {
  DEFAULT_TASK_TYPES,
  fact,
  factKey,
  generateTasks,
  isHeldOut,
  TASK_TYPES,
} from '../src/data/generators.ts';
import { createRandom } from '../src/tensor/random.ts';
import { VERIFIERS, verifierFor } from '../src/verifiers.ts';
import { fc } from './support/property.ts';

const NEW_TYPES = TASK_TYPES.filter((type) => !DEFAULT_TASK_TYPES.includes(type));
const SPLITS = ['train', 'heldOut'] as const;
const anySeed = fc.nat(2 ** 31 - 1);
const numbersOf = (text: string): number[] => (text.match(/\d+/g) ?? []).map(Number);

it('every generated type has a verifier', () => {
  for (const type of TASK_TYPES) expect([...VERIFIERS.keys()]).toContain(type);
});

describe.each(NEW_TYPES)('%s', (type) => {
  it.each(SPLITS)('has model answers that are accepted, and prompts that are not (%s)', (split) => {
    fc.assert(
      fc.property(anySeed, (seed) => {
        for (const { prompt, answer, expected } of generateTasks({ count: 20, seed, split, types: [type] })) {
          const { isCorrect } = verifierFor(type);
          expect([prompt, answer, isCorrect(answer, expected)]).toEqual([prompt, answer, true]);
          expect([prompt, isCorrect(expected, expected)]).toEqual([prompt, true]);
          expect([prompt, isCorrect(prompt, expected)]).toEqual([prompt, false]);
        }
      }),
      { numRuns: 30 },
    );
  });

  it('refuses the model answer to another question, and both in one', () => {
    fc.assert(
      fc.property(anySeed, (seed) => {
        const [one, other] = generateTasks({ count: 2, seed, split: 'train', types: [type] });
        fc.pre(one.expected !== other.expected);
        // 分 is both a minute and a hundredth of a yuan.
        fc.pre([one, other].some(({ expected }) => !/分钟?$/.test(expected)));
        const { isCorrect } = verifierFor(type);
        expect([other.answer, isCorrect(other.answer, one.expected)]).toEqual([other.answer, false]);
        const list = `${one.expected}、${other.expected}`;
        expect([list, isCorrect(list, one.expected)]).toEqual([list, false]);
        const choice = `${other.expected}或${one.expected}`;
        expect([choice, isCorrect(choice, one.expected)]).toEqual([choice, false]);
      }),
      { numRuns: 200 },
    );
  });

  it('keeps training and held-out facts apart', () => {
    const keys = SPLITS.map(
      (split) =>
        new Set(generateTasks({ count: 1000, seed: 3, split, types: [type] }).map((task) => task.key)),
    );
    expect([...keys[0]].filter((key) => keys[1].has(key))).toEqual([]);
    expect([...keys[0]].some(isHeldOut)).toBe(false);
    expect([...keys[1]].every(isHeldOut)).toBe(true);
    expect(keys[1].size).toBeGreaterThan(5);
  });

  it('shows no held-out sum in what is trained on, and no wrong one', () => {
    for (const { answer } of generateTasks({ count: 1000, seed: 4, split: 'train', types: [type] })) {
      for (const [told, a, operator, b, result] of answer.matchAll(/(\d+)([-+×])(\d+)(?:=(\d+))?/g)) {
        const step = fact(Number(a), operator as '+' | '-' | '×', Number(b));
        if (result !== undefined) expect([told, step.result]).toEqual([told, Number(result)]);
        // A product by 10, 100 or 1000 is a matter of zeros, and no fact of arithmetic.
        if (!/^10+$/.test(b)) expect([answer, told, isHeldOut(factKey(step))]).toEqual([answer, told, false]);
      }
    }
  });

  it('varies in wording and is short', () => {
    const tasks = generateTasks({ count: 300, seed: 5, split: 'train', types: [type] });
    const forms = new Set(tasks.map(({ prompt }) => prompt.replace(/[\da-z]+|“[^”]*”/g, '_')));
    expect(forms.size).toBeGreaterThan(4);
    for (const { prompt, answer } of tasks) expect((prompt + answer).length).toBeLessThan(90);
  });
});

/** What is right, found in another way than by the generator. */
const SOLVERS: Readonly<Record<(typeof NEW_TYPES)[number], (prompt: string, expected: string) => unknown>> = {
  multiplication(prompt, expected) {
    const [a, b] = numbersOf(prompt);
    return a * b === Number(expected);
  },
  comparison(prompt, expected) {
    const [a, b] = numbersOf(prompt);
    if (expected.endsWith('于')) return { 大于: a > b, 小于: a < b, 等于: a === b }[expected];
    return Number(expected) === (/[较更个]大|比较大的/.test(prompt) ? Math.max(a, b) : Math.min(a, b));
  },
  counting(prompt, expected) {
    const texts = [...prompt.matchAll(/“([^”]+)”/g)].map(([, text]) => text);
    const [, bare, c] = /^(.+)里有几个(.)？$/.exec(prompt) ?? [];
    const [character, text] = texts.length === 2 ? texts.sort((a, b) => a.length - b.length) : [c, bare];
    return text.split(character).length - 1 === Number(expected);
  },
  reversing: (prompt, expected) => prompt.includes([...expected].reverse().join('')),
  sorting(prompt, expected) {
    const sorted = numbersOf(prompt).sort((a, b) => (prompt.includes('从小到大') ? a - b : b - a));
    return sorted.join('、') === expected;
  },
  equation(prompt, expected) {
    const [a, b] = numbersOf(prompt);
    const x = Number(expected);
    const holds = [x + a === b, x - a === b, a - x === b, a * x === b];
    return holds[/x-|数减/.test(prompt) ? 1 : /-x|减一个数/.test(prompt) ? 2 : /\+|加/.test(prompt) ? 0 : 3];
  },
  units(prompt, expected) {
    const sizes: Readonly<Record<string, number>> = {
      ...{ 毫米: 1, 厘米: 10, 分米: 100, 米: 1000, 千米: 1e6, 克: 1, 千克: 1000, 吨: 1e6 },
      ...{ 毫升: 1, 升: 1000, 元: 100, 角: 10, 秒: 1, 分钟: 60, 小时: 3600, 天: 86_400, 星期: 7 * 86_400 },
      ...{ 个月: 1, 年: 12, 分: 1 },
    };
    const size = (quantity: string): number => {
      const [, count, unit] = /^(\d+)(.+)$/.exec(quantity)!;
      return Number(count) * sizes[unit];
    };
    const given =
      /\d+(?:毫米|厘米|分米|千米|米|千克|克|吨|毫升|升|元|角|秒|分钟|分|小时|天|星期|个月|年)/.exec(
        prompt,
      )![0];
    return size(given) === size(expected);
  },
  dates(prompt, expected) {
    const days = Number(/(\d+)天/.exec(prompt)![1]) * (/前|倒退/.test(prompt) ? -1 : 1);
    const date = /(\d+)月(\d+)日/.exec(prompt);
    if (date === null) {
      const names = '一二三四五六日';
      const day = names.indexOf(/星期([一二三四五六日])/.exec(prompt)![1]);
      return `星期${names[(day + days + 14) % 7]}` === expected;
    }
    const shifted = new Date(Date.UTC(2023, Number(date[1]) - 1, Number(date[2]) + days));
    return `${shifted.getUTCMonth() + 1}月${shifted.getUTCDate()}日` === expected;
  },
  math: () => true,
  logic: () => true,
};

it.each(NEW_TYPES)('%s expects what is right', (type) => {
  for (const split of SPLITS) {
    for (const { prompt, expected } of generateTasks({ count: 600, seed: 6, split, types: [type] }))
      expect([prompt, expected, SOLVERS[type](prompt, expected)]).toEqual([prompt, expected, true]);
  }
});

describe('the types that are asked for', () => {
  const bundled = JSON.stringify([
    ...Array.from({ length: 20 }, (_, i) => ({ prompt: `${i}+1=?`, expected: `${i + 1}`, type: 'math' })),
    ...Array.from({ length: 20 }, (_, i) => ({ prompt: `第${i}天是吗？`, expected: '是', type: 'logic' })),
  ]);
  const source = { name: 'data', text: bundled, own: false };
  const typesOf = (tasks: readonly { type: string }[]): string[] =>
    [...new Set(tasks.map(({ type }) => type))].sort();

  it('are drawn and examined, and no others', () => {
    const { draw, heldOut } = verifiableTasks(source, ['math', 'counting']);
    expect(typesOf(draw(200, createRandom(1)))).toEqual(['counting', 'math']);
    expect(typesOf(heldOut)).toEqual(['counting', 'math']);
    const counting = verifiableTasks(source, ['counting']);
    expect(typesOf(counting.draw(50, createRandom(1)))).toEqual(['counting']);
    expect(counting.heldOut).toHaveLength(100);
  });

  it('are math and logic unless others are named, with the same draws', () => {
    const usual = verifiableTasks(source);
    const named = verifiableTasks(source, ['math', 'logic']);
    expect(named.heldOut).toEqual(usual.heldOut);
    expect(named.draw(100, createRandom(2))).toEqual(usual.draw(100, createRandom(2)));
    expect(exerciseConversations(40, 1, 0, ['math', 'logic'])).toEqual(exerciseConversations(40, 1, 0));
  });

  it('are practised in fine-tuning', () => {
    const [[question]] = exerciseConversations(1, 1, 0, ['equation']);
    expect(question.content).toMatch(/x|一个数/);
  });
});
