import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { keepEvaluation } from '../src/evaluation/kept-evaluation.ts';
import type { RunEvaluation } from '../src/evaluation/run.ts';
import { setLanguage } from '../src/i18n.ts';
import { previousFolder, readRecord } from '../src/last-run.ts';
import { type PipelineOptions, type PipelineUi, runPipeline } from '../src/pipeline.ts';
import { changesSince } from '../src/report/comparison.ts';
import { readPreviousRun, readRun } from '../src/report/run-record.ts';
import { writeReport } from '../src/report/write.ts';
import { settingsOf } from '../src/stage-plans.ts';
import { Interrupted } from '../src/stage-run.ts';
import { STAGES } from '../src/stages/stage.ts';
import { runHere } from './support/command.ts';
import { tinyPipeline } from './support/tiny-pipeline.ts';

const root = mkdtempSync(join(tmpdir(), 'my-llm-last-run-'));
const out = join(root, 'run');
const previous = previousFolder(out);
let options: PipelineOptions;

/** Silent; asks to stop at the first step of `stopIn`. */
function ui(stopIn?: string): PipelineUi {
  let interrupted = false;
  return {
    stageStarts: () => {},
    step: (stage) => {
      interrupted ||= stage === stopIn;
    },
    note: () => {},
    stageEnds: async () => {},
    get interrupted() {
      return interrupted;
    },
  };
}

/** The same run with another learning rate of fine-tuning. */
function faster(learningRate: number): PipelineOptions {
  const { recipe } = options;
  return { ...options, recipe: { ...recipe, sft: { ...recipe.sft, learningRate } } };
}

const NAME = { zh: '正确率', en: 'pair accuracy' };

function evaluationOf(value: number): RunEvaluation {
  const accuracy = { id: 'accuracy', name: NAME, unit: 'share' as const, baselines: [], value };
  const figures = { preferences: [{ ...accuracy, low: value - 0.1, high: value + 0.1, count: 8 }] };
  return { seed: 1, sets: [], stages: [{ stage: 'reward', figures }] };
}

beforeAll(async () => {
  const tiny = await tinyPipeline(out);
  options = { ...tiny, config: { ...tiny.config, contextLength: 64 } };
  await runPipeline(options, ui());
  keepEvaluation(out, evaluationOf(0.5), readRun(out).checkpoints);
}, 120_000);
afterAll(() => rmSync(root, { recursive: true, force: true }));
afterEach(() => setLanguage('en'));

test('a finished run is recorded, and stays the last one while nothing is trained anew', async () => {
  const record = readRecord(out)!;
  expect(record.stages.map(({ stage }) => stage)).toEqual(STAGES);
  expect(record.stages[1].settings).toEqual(options.recipe.sft);
  await runPipeline(options, ui());
  expect(readRecord(out)).toEqual(record);
  expect(existsSync(previous)).toBe(false);
});

test('another run sets it aside, with its evaluation and curves and no weights', async () => {
  const before = readRun(out);
  await expect(runPipeline(faster(2e-2), ui('rlhf'))).rejects.toThrow(Interrupted);
  expect(readRecord(out)).toBeUndefined();
  expect(readdirSync(previous).sort()).toEqual(['metrics.jsonl', 'run.json']);
  const kept = readPreviousRun(out)!;
  expect(kept.evaluation).toEqual(evaluationOf(0.5));
  expect(kept.metrics).toEqual(before.metrics);
  expect(kept.stages).toEqual(before.stages);

  // What goes on after an interruption is still the next run, not the one before it.
  await runPipeline(faster(2e-2), ui());
  expect(readPreviousRun(out)).toEqual(kept);
  const settings = readRecord(out)!.stages[1].settings!;
  expect(settings['learningRate']).toBe(2e-2);
});

test('the report says what changed, and compare lays the curves over each other', async () => {
  keepEvaluation(out, evaluationOf(0.75), readRun(out).checkpoints);
  const blocks = changesSince(readPreviousRun(out)!, readRun(out));
  const tables = blocks.filter((block) => block.kind === 'table');
  expect(tables[0].rows).toEqual([['SFT: learningRate', '0.01', '0.02']]);
  expect(tables[1].head).toEqual(['Stage', 'Figure', 'Last run', 'This run', 'Difference']);
  expect(tables[2].rows).toContainEqual(['pair accuracy', '50.0% [40.0%, 60.0%]', '75.0% [65.0%, 85.0%]']);

  const html = readFileSync(await writeReport({ runtime: options.runtime, out, data: options.data }), 'utf8');
  expect(html).toContain('What changed from the last run');
  expect(html).toContain(`npm run compare -- ${previous} ${out}`);
  expect(html).not.toMatch(/NaN|undefined|\[object/);
  const compared = await runHere('compare-runs', [previous, out]);
  expect(compared).toContain('SFT: learningRate');
  expect(compared).toMatch(/SFT: .*: previous/);
});

test('a run that was not evaluated leaves no evaluation of an earlier one behind', async () => {
  const [first] = [readRun(out)];
  rmSync(join(out, 'evaluation.json'));
  await runPipeline({ ...options, restart: true, seed: 7 }, ui());
  const kept = readPreviousRun(out)!;
  expect(kept.evaluation).toBeUndefined();
  expect(kept.stages).toEqual(first.stages);
  setLanguage('zh');
  await writeReport({ runtime: options.runtime, out, data: options.data });
  expect(readFileSync(join(out, 'report.md'), 'utf8')).toMatch(/## 与上一次训练相比[\s\S]*seed \| 1 \| 7/);
});

test('a damaged record is none', () => {
  writeFileSync(join(out, 'run.json'), '{');
  expect(readRecord(out)).toBeUndefined();
});

test('the settings of a stage name its method, and are those of the method', () => {
  const { recipe } = options;
  expect(settingsOf('rlhf', recipe)).toEqual({ algorithm: 'ppo', ...recipe.rlhf });
  expect(settingsOf('rlhf', { ...recipe, rlhfAlgorithm: 'dpo' })).toEqual({
    algorithm: 'dpo',
    ...recipe.dpo,
  });
  expect(settingsOf('rlvf', { ...recipe, rlvfAlgorithm: 'grpo' })).toEqual({
    ...{ algorithm: 'grpo', ...recipe.rlvf },
    ...recipe.grpo,
  });
  expect(settingsOf('rlvf', { ...recipe, rlvfAlgorithm: 'best-of-n' })).toMatchObject({
    algorithm: 'best-of-n',
    temperature: recipe.rlvf.temperature,
  });
});
