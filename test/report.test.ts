import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { reportRun } from '../src/cli/final-report.ts';
import { findEvaluation, keepEvaluation } from '../src/evaluation/kept-evaluation.ts';
import type { RunEvaluation } from '../src/evaluation/run.ts';
import { setLanguage } from '../src/i18n.ts';
import { type PipelineOptions, runPipeline } from '../src/pipeline.ts';
import { drawChart } from '../src/report/chart.ts';
import { compareRuns } from '../src/report/comparison.ts';
import { bitsPerByteChart } from '../src/report/curves.ts';
import type { ReportDocument } from '../src/report/document.ts';
import { renderHtml } from '../src/report/html.ts';
import { renderMarkdown } from '../src/report/markdown.ts';
import { longestMerges, oddestMerges } from '../src/report/merges.ts';
import { readRun } from '../src/report/run-record.ts';
import { maskedTokens } from '../src/report/run-report.ts';
import { instructive, type RolloutGroup } from '../src/report/samples.ts';
import { formatNumber, type Point, smooth, sparkline, thin, ticksOf } from '../src/report/scale.ts';
import { writeReport } from '../src/report/write.ts';
import { STAGES } from '../src/stages/stage.ts';
import { Tokenizer } from '../src/tokenizer.ts';
import { runHere } from './support/command.ts';
import { tokenizer } from './support/tiny.ts';
import { tinyPipeline } from './support/tiny-pipeline.ts';

const root = mkdtempSync(join(tmpdir(), 'my-llm-report-'));
const out = join(root, 'first');
const other = join(root, 'second');
let options: PipelineOptions;

const SILENT = {
  stageStarts: () => {},
  step: () => {},
  note: () => {},
  stageEnds: async () => {},
  interrupted: false,
};

beforeAll(async () => {
  const tiny = await tinyPipeline(out);
  const circumstances = { machine: 'a <small> machine', preset: 'tiny', device: 'cpu', threads: 1, data: [] };
  options = { ...tiny, config: { ...tiny.config, contextLength: 64 }, circumstances };
  await runPipeline(options, SILENT);
  const pretrain = { ...tiny.recipe.pretrain, learningRate: 5e-3 };
  const skip = new Set(STAGES.filter((stage) => stage !== 'pretrain'));
  await runPipeline({ ...options, out: other, skip, recipe: { ...tiny.recipe, pretrain } }, SILENT);
}, 120_000);
afterAll(() => rmSync(root, { recursive: true, force: true }));
afterEach(() => setLanguage('en'));

/** The elements that are open at the end of `html`, or where one is closed that is not the last opened. */
function unclosed(html: string): string[] {
  const open: string[] = [];
  for (const [, closing, name, selfClosing] of html.matchAll(/<(\/?)([a-z]\w*)[^<>]*?(\/?)>/g)) {
    if (selfClosing || ['meta', 'br', 'wbr'].includes(name)) continue;
    if (!closing) open.push(name);
    else if (open.pop() !== name) return [...open, `/${name}`];
  }
  return open;
}

/** What a page would fetch. */
function references(html: string): string[] {
  const found = html.matchAll(/\b(?:src|href|srcset|data|action)=["']([^"']*)|url\(([^)]*)|@import/g);
  return [...found].map(([all, attribute]) => attribute ?? all).filter((each) => !each.startsWith('#'));
}

describe('the arithmetic of a drawing', () => {
  test('ticks are round numbers within the range', () => {
    expect(ticksOf({ low: 0, high: 10 })).toEqual([0, 2, 4, 6, 8, 10]);
    expect(ticksOf({ low: 0.13, high: 0.41 })).toEqual([0.2, 0.3, 0.4]);
    expect(ticksOf({ low: -1.5, high: 1.5 })).toEqual([-1, 0, 1]);
  });

  test('smoothing averages what was so far, the newest most', () => {
    const points: Point[] = [
      [0, 0],
      [1, 3],
      [2, 3],
    ];
    expect(smooth(points, 1)).toEqual(points);
    expect(smooth(points, 2)).toEqual([
      [0, 0],
      [1, 2],
      [2, 4.5 / 1.75],
    ]);
  });

  test('thinning keeps the lowest and the highest', () => {
    const points = Array.from({ length: 1000 }, (_, i): Point => [i, i === 333 ? -5 : i === 777 ? 9 : i % 2]);
    const thinned = thin(points, 100);
    expect(thinned.length).toBeLessThanOrEqual(100);
    expect(thinned).toEqual(expect.arrayContaining([points[333], points[777]]));
    expect(thinned.map(([x]) => x)).toEqual(thinned.map(([x]) => x).sort((a, b) => a - b));
    expect(thin(points.slice(0, 5), 100)).toEqual(points.slice(0, 5));
  });

  test('numbers and lines of text are short', () => {
    expect([0.123456, 12345.6, 0.00001, 0, -2].map(formatNumber)).toEqual([
      '0.1235',
      '12346',
      '1.00e-5',
      '0',
      '-2',
    ]);
    expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7].map((x): Point => [x, x]))).toBe('▁▂▃▄▅▆▇█');
    expect(sparkline([])).toBe('');
  });
});

describe('a chart', () => {
  test('has each point where its values belong', () => {
    const points: Point[] = [
      [0, 0],
      [10, 100],
      [5, Number.NaN],
    ];
    const svg = drawChart({ title: 'a < b', x: 'step', series: [{ name: 'marks', points, form: 'marks' }] });
    expect([...svg.matchAll(/<circle cx="([\d.]+)" cy="([\d.]+)"/g)].map(([, x, y]) => [x, y])).toEqual([
      ['52', '200'],
      ['506', '12'],
    ]);
    expect(svg).toContain('aria-label="a &lt; b"');
    expect(svg).not.toContain('NaN');
    expect(unclosed(svg)).toEqual([]);
    const line = drawChart({ title: 't', x: 'step', series: [{ name: 'l', points, form: 'noisy' }] });
    expect(line).toContain('<path class="raw" d="M52 200L506 12"/>');
  });

  test('of bits per byte: nats over ln 2 and over the bytes of a token', () => {
    const chart = bitsPerByteChart([[1, 2 * Math.LN2]], 4, [
      { name: { zh: '', en: '' }, before: 3, after: 2, unit: 'bits/byte' },
    ]);
    expect(chart.series.map(({ points }) => points)).toEqual([
      [[1, 0.5]],
      [
        [1, 3],
        [1, 2],
      ],
    ]);
  });
});

const HOSTILE = '<script>alert("a")</script> | & `b`\n\u0007 *c*';
const EVERYTHING: ReportDocument = {
  title: HOSTILE,
  blocks: [
    { kind: 'heading', text: HOSTILE },
    { kind: 'paragraph', text: HOSTILE },
    { kind: 'table', head: [HOSTILE, 'n'], rows: [[HOSTILE], [HOSTILE, '1']] },
    {
      kind: 'charts',
      charts: [{ title: HOSTILE, x: HOSTILE, series: [{ name: HOSTILE, points: [[1, 1]], form: 'noisy' }] }],
    },
    { kind: 'tokens', tokens: [{ text: HOSTILE, learned: true, endsLine: true }] },
    {
      kind: 'answers',
      groups: [
        { question: HOSTILE, expected: HOSTILE, answers: [{ text: HOSTILE, reward: -0.5, right: false }] },
      ],
    },
  ],
};

describe('whatever a model writes', () => {
  test('commands neither the page nor Markdown', () => {
    const html = renderHtml(EVERYTHING);
    expect(html).not.toContain('<script');
    expect(html).toContain('&lt;script&gt;alert(&quot;a&quot;)');
    expect(html).toContain('\\u{7}');
    expect(unclosed(html)).toEqual([]);
    const markdown = renderMarkdown(EVERYTHING);
    expect(markdown).not.toContain('<script');
    expect(markdown).toContain('\\| &amp; \\`b\\`<br>\\\\u{7} \\*c\\*');
    const rows = markdown.split('\n').filter((line) => line.startsWith('| &lt;'));
    for (const row of rows) expect(row.match(/(?<!\\)\|/g)!.length).toBeGreaterThanOrEqual(3);
  });
});

describe('the report of a run', () => {
  test.each([
    ['en', 'lang="en"', 'Answers of every stage', 'The mask of the loss'],
    ['zh', 'lang="zh-CN"', '各阶段的回答', '损失掩码'],
  ] as const)('is one file that needs no other (%s)', async (language, ...expected) => {
    setLanguage(language);
    const path = await writeReport({ runtime: options.runtime, out, data: options.data });
    expect(path).toBe(join(out, 'report.html'));
    const html = readFileSync(path, 'utf8');
    for (const each of expected) expect(html).toContain(each);
    expect(unclosed(html)).toEqual([]);
    expect(references(html)).toEqual([]);
    expect(html).not.toMatch(/https?:|NaN|undefined|\[object/);
    expect(html).toContain('a &lt;small&gt; machine');
    expect(html.match(/<svg/g)!.length).toBeGreaterThanOrEqual(10);
    expect(html).toContain('class="token learned"');
    expect(html).toMatch(/class="reward (right|wrong)"/);
    const markdown = readFileSync(join(out, 'report.md'), 'utf8');
    expect(markdown).toContain(expected[1]);
    expect(markdown).not.toMatch(/NaN|undefined/);
  });

  test('that cannot be made does not lose the run', async () => {
    const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    const missing = join(root, 'missing');
    await reportRun({ runtime: options.runtime, out: missing, data: options.data });
    expect(write).toHaveBeenCalledOnce();
    expect(String(write.mock.calls[0][0])).toMatch(/^The report could not be written \(.*missing.*\n$/);
    write.mockRestore();
    expect(existsSync(missing)).toBe(false);
  });

  test('has the evaluation as long as the checkpoints are those that were evaluated', () => {
    const { checkpoints } = readRun(out);
    const estimate = { value: 0.5, low: 0.4, high: 0.6, count: 8 };
    const name = { zh: '对偏好', en: 'pair accuracy' };
    const figures = {
      preferences: [{ id: 'accuracy', name, unit: 'share' as const, baselines: [], ...estimate }],
    };
    const evaluation: RunEvaluation = { seed: 1, sets: [], stages: [{ stage: 'reward', figures }] };
    keepEvaluation(out, evaluation, checkpoints);
    expect(findEvaluation(out, checkpoints)).toEqual(evaluation);
    expect(readRun(out).evaluation).toEqual(evaluation);
    const { pretrain, ...fewer } = checkpoints;
    expect(findEvaluation(out, fewer)).toBeUndefined();
    const trainedAnew = { ...pretrain!, extra: { fingerprint: 'another' } };
    expect(findEvaluation(out, { ...fewer, pretrain: trainedAnew })).toBeUndefined();
    writeFileSync(join(out, 'evaluation.json'), '{');
    expect(findEvaluation(out, checkpoints)).toBeUndefined();
    rmSync(join(out, 'evaluation.json'));
  });
});

describe('specimens', () => {
  test('the mask is on what the assistant says, and on the end of it', () => {
    const tokens = maskedTokens(tokenizer, [
      { role: 'user', content: '天' },
      { role: 'assistant', content: '地' },
    ]);
    const learned = tokens.filter((each) => each.learned).map(({ text }) => text);
    expect(learned).toEqual(['地', '<|im_end|>']);
    expect(tokens.filter(({ endsLine }) => endsLine)).toHaveLength(4);
  });

  test('merges: the longest, and those that end within a character', () => {
    const trained = Tokenizer.train(['天地玄黄'.repeat(20)], { vocabSize: 273 });
    const all = longestMerges(trained, 99);
    expect(all).toHaveLength(11);
    expect(all[0].bytes).toBe(Math.max(...all.map(({ bytes }) => bytes)));
    expect(longestMerges(trained, 1)).toEqual([all[0]]);
    const odd = oddestMerges(trained, 99);
    expect(odd.length).toBeGreaterThan(0);
    for (const { token } of odd) expect(token).toMatch(/<[0-9A-F]{2}>/);
  });

  test('rollouts: right and wrong ones, most of all where both are', () => {
    const group = (prompt: string, right: number): RolloutGroup => {
      const task = { prompt, expected: '1', type: 'math' };
      const answers = [0, 1].map((i) => ({ task, correct: i < right }) as RolloutGroup['answers'][number]);
      return { task, answers };
    };
    const groups = [group('a', 0), group('b', 0), group('c', 2), group('d', 1), group('e', 1), group('f', 2)];
    expect(instructive(groups, 4).map(({ task }) => task.prompt)).toEqual(['c', 'd', 'e', 'a']);
    expect(instructive(groups.slice(0, 2), 4)).toHaveLength(2);
  });
});

describe('a comparison', () => {
  test('shows what differs, and what only one run has', async () => {
    const file = join(root, 'compared.html');
    const shown = await runHere('compare-runs', [out, other, '--output', file]);
    expect(shown).toMatch(/Pretrain: learningRate +0\.01 +0\.005/);
    expect(shown).not.toContain('Pretrain: batchSize');
    expect(shown).toMatch(/SFT: batchSize +4 +–/);
    expect(shown).toMatch(/\d+ other settings are the same/);
    expect(shown).toMatch(/[▁▂▃▄▅▆▇█]{5}/);
    expect(shown).not.toMatch(/NaN|undefined/);
    const html = readFileSync(file, 'utf8');
    expect(unclosed(html)).toEqual([]);
    expect(references(html)).toEqual([]);
    const [loss] = html.match(/<figure>.*?<\/figure>/s)!;
    expect(loss).toContain('Pretrain');
    expect(loss.match(/class="smooth"/g)).toHaveLength(2);
    expect(loss).toMatch(/first.*second/s);
  });

  test('of a run with its copy finds nothing', () => {
    setLanguage('zh');
    const copy = join(root, 'copy');
    cpSync(out, copy, { recursive: true });
    const { title, blocks } = compareRuns(readRun(out), readRun(copy));
    expect(title).toBe('比较 first 和 copy');
    expect(blocks[1]).toMatchObject({ kind: 'paragraph' });
    const figures = blocks.find((block) => block.kind === 'table')!;
    expect(figures.rows.map((row) => Number.parseFloat(row[4] || '0'))).toEqual(figures.rows.map(() => 0));
  });

  test('needs two runs', async () => {
    await expect(runHere('compare-runs', [out, join(root, 'nothing')])).rejects.toThrow('failed');
  });
});
