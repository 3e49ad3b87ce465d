import { beforeAll, describe, expect, test } from 'vitest';
import { arithmeticLine, fact, factKey, workedLine } from '../src/data/arithmetic.ts';
import { isHeldOut } from '../src/data/tasks.ts';
import {
  ANSWER_FORMS,
  answerSums,
  beginningOf,
  chainOfThoughtFigures,
  chainOfThoughtTasks,
  comparedForms,
  SUM_SIZES,
  type SumAnswers,
  type SumDigits,
  sumsOf,
} from '../src/evaluation/chain-of-thought.ts';
import { wilson } from '../src/evaluation/intervals.ts';
import { chainOfThoughtRows, evaluationTable } from '../src/evaluation/table.ts';
import { setLanguage } from '../src/i18n.ts';
import { drawBars } from '../src/report/bars.ts';
import { renderHtml } from '../src/report/html.ts';
import { renderMarkdown } from '../src/report/markdown.ts';
import { supervisedFineTune } from '../src/stages/sft.ts';
import type { Runtime } from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { Tokenizer } from '../src/tokenizer.ts';
import { CONFIG, contextFor, freshWeights, tokenizer } from './support/tiny.ts';

const NOTHING: ReadonlySet<string> = new Set();

describe('the sums', () => {
  test('are as many of each size, half of them differences, no fact twice', () => {
    const tasks = chainOfThoughtTasks(1, NOTHING);
    for (const { digits } of SUM_SIZES) {
      const facts = tasks.filter((task) => task.digits === digits).map((task) => task.fact);
      expect(facts).toHaveLength(100);
      expect(facts.filter(({ operator }) => operator === '-')).toHaveLength(50);
      expect(new Set(facts.map(factKey)).size).toBe(100);
      for (const { left, right, result } of facts) {
        expect(String(Math.max(left, right))).toHaveLength(digits);
        expect(result).toBeGreaterThanOrEqual(0);
      }
    }
    expect(chainOfThoughtTasks(1, NOTHING)).toEqual(tasks);
    expect(chainOfThoughtTasks(2, NOTHING)).not.toEqual(tasks);
  });

  test('of two digits are held out, and none that a text tells is asked', () => {
    const asked = sumsOf(2, { count: 100, seed: 1, told: NOTHING }).map((task) => factKey(task.fact));
    expect(asked.every(isHeldOut)).toBe(true);
    const others = sumsOf(2, { count: 100, seed: 1, told: new Set(asked) });
    expect(others).toHaveLength(100);
    expect(others.filter((task) => asked.includes(factKey(task.fact)))).toEqual([]);
    const large = sumsOf(3, { count: 20, seed: 1, told: NOTHING });
    const told = new Set([factKey(large[0].fact)]);
    expect(sumsOf(3, { count: 20, seed: 1, told })).not.toContainEqual(large[0]);
  });

  test('end where there are no more', () => {
    expect(sumsOf(1, { count: 200, seed: 1, told: NOTHING })).toHaveLength(110);
  });
});

describe('the beginning of an answer', () => {
  const told = fact(27, '+', 15);

  test('is that of the model’s own two forms', () => {
    expect(ANSWER_FORMS.map((form) => beginningOf(told, form))).toEqual(['27+15=', '27+15：']);
    expect(arithmeticLine(told).startsWith(beginningOf(told, 'direct'))).toBe(true);
    expect(workedLine(told).startsWith(beginningOf(told, 'worked'))).toBe(true);
  });

  test('has the tokens that it has in training', () => {
    const lines = Array.from({ length: 60 }, (_, i) => fact(30 + i, '+', 7 + i)).flatMap((each) => [
      `${arithmeticLine(each)}。`,
      `${workedLine(each)}。`,
    ]);
    const trained = Tokenizer.train(lines, { vocabSize: 300 });
    const whole = [...trained.encode(workedLine(told))];
    const begun = [...trained.encode(beginningOf(told, 'worked'))];
    expect(whole.slice(0, begun.length)).toEqual(begun);
  });
});

describe('a model', () => {
  let runtime: Runtime;
  const config = { ...CONFIG, contextLength: 128 };
  beforeAll(async () => {
    runtime = await createNodeRuntime({ threads: 1 });
  });

  test('goes on from the beginning that it is given, and only the final number is judged', async () => {
    const chats = ['1+1=2', '1+1：7'].map((content) => [
      { role: 'user' as const, content: '1+1等于多少？' },
      { role: 'assistant' as const, content },
    ]);
    const { weights: params } = await supervisedFineTune(
      contextFor(runtime, { config }),
      freshWeights(config),
      { conversations: [...chats, ...chats, ...chats, ...chats], heldOut: [] },
      { epochs: 60, batchSize: 4, learningRate: 2e-2 },
    );
    const tasks = [{ fact: fact(1, '+', 1), digits: 1 as const }];
    const checkpoint = { params, config, tokenizer, stage: 'sft', extra: {} };
    const [{ answers }] = await answerSums({ runtime, checkpoint, tasks });
    expect(answers).toEqual({
      direct: { text: '1+1=2', right: true },
      worked: { text: '1+1：7', right: false },
    });
  });

  test('whose context has no room for an answer is not asked', async () => {
    const small = { ...config, contextLength: 32 };
    const checkpoint = { params: freshWeights(small), config: small, tokenizer, stage: 'sft', extra: {} };
    expect(await answerSums({ runtime, checkpoint, tasks: chainOfThoughtTasks(1, NOTHING) })).toEqual([]);
    expect(chainOfThoughtFigures([])).toEqual([]);
  });
});

/** `right` of 10 answers in each form. */
function results(digits: SumDigits, right: { direct: number; worked: number }): SumAnswers[] {
  return Array.from({ length: 10 }, (_, i) => ({
    task: { fact: fact(i, '+', 1), digits },
    answers: {
      direct: { text: '', right: i < right.direct },
      worked: { text: '', right: i < right.worked },
    },
  }));
}

describe('the figures', () => {
  const figures = chainOfThoughtFigures([
    ...results(2, { direct: 1, worked: 9 }),
    ...results(3, { direct: 0, worked: 0 }),
  ]);
  const stages = [
    { stage: 'pretrain' as const, figures: {} },
    { stage: 'sft' as const, figures: { chainOfThought: figures } },
  ];

  test('are shares with Wilson intervals, two for each size that was asked', () => {
    expect(figures.map(({ id }) => id)).toEqual([
      'sums-2-direct',
      'sums-2-worked',
      'sums-3-direct',
      'sums-3-worked',
    ]);
    expect(figures[1]).toMatchObject({ unit: 'share', better: 'higher', ...wilson(9, 10) });
    const [two, three] = comparedForms(figures);
    expect([two.size.digits, two.direct.value, two.worked.value]).toEqual([2, 0.1, 0.9]);
    expect([three.size.digits, three.worked.value]).toEqual([3, 0]);
  });

  test('stand in a table of their own', () => {
    const [head, ...rows] = chainOfThoughtRows(stages);
    expect(head).toEqual(['Larger number', 'n', 'SFT at once', 'SFT with working']);
    expect(rows).toEqual([
      ['2 digits\n  held out', '10', '10.0%\n[1.8%, 40.4%]', '90.0%\n[59.6%, 98.2%]'],
      ['3 digits\n  never shown', '10', '0.0%\n[0.0%, 27.8%]', '0.0%\n[0.0%, 27.8%]'],
    ]);
    expect(chainOfThoughtRows(stages.slice(0, 1))).toEqual([]);
    const shown = evaluationTable({ seed: 1, sets: [], stages });
    expect(shown.match(/held out/g)).toHaveLength(1);
    setLanguage('zh');
    expect(chainOfThoughtRows(stages)[0]).toEqual(['较大的数', 'n', '监督微调 直接答', '监督微调 先写演算']);
    setLanguage('en');
  });
});

describe('bars', () => {
  const chart = {
    title: 'a < b',
    series: ['at once', 'worked'],
    groups: [
      {
        name: '2 digits\nheld out',
        bars: [
          { value: 0.5, low: 0.25, high: 0.75 },
          { value: 1, low: 0.9, high: 1 },
        ],
      },
    ],
  };

  test('are as high as their values, on an axis from 0 to 100%', () => {
    const svg = drawBars(chart);
    const bars = [
      ...svg.matchAll(/<rect class="bar" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"/g),
    ];
    const [[x1, y1, width, height1], [x2, y2, , height2]] = bars.map(([, ...numbers]) => numbers.map(Number));
    expect([y1, height1, y2, height2]).toEqual([114, 92, 22, 184]);
    expect(x2).toBeGreaterThan(x1 + width);
    // The interval goes from 25% to 75%.
    expect(svg).toMatch(/<path class="interval" d="M[\d.]+ 160V68M/);
    expect(svg).toContain('>100%<');
    expect(svg).toContain('aria-label="a &lt; b"');
    expect(svg).toMatch(/<tspan[^>]*>2 digits<\/tspan><tspan[^>]*>held out<\/tspan>/);
  });

  test('have a legend on the page, and are a table in Markdown', () => {
    const document = { title: 'report', blocks: [{ kind: 'bars' as const, charts: [chart] }] };
    expect(renderHtml(document)).toContain('<li class="series-1"><span>worked</span></li>');
    expect(renderMarkdown(document)).toContain(
      '| a &lt; b | at once | worked |\n| --- | --- | --- |\n| 2 digits<br>held out | 50.0% \\[25.0%, 75.0%\\] | 100.0% \\[90.0%, 100.0%\\] |',
    );
  });
});
