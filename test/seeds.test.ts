import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { saveCheckpoint } from '../src/checkpoint.ts';
import { figure } from '../src/evaluation/figures.ts';
import { keepEvaluation } from '../src/evaluation/kept-evaluation.ts';
import type { RunEvaluation } from '../src/evaluation/run.ts';
import { overSeeds, type SeedEvaluation } from '../src/evaluation/seeds.ts';
import { studentQuantile, summarize } from '../src/evaluation/student.ts';
import { readSeedRuns } from '../src/report/seed-runs.ts';
import { checkpointFolder } from '../src/run-folder.ts';
import { expectClose } from './support/close.ts';
import { runHere } from './support/command.ts';
import { CONFIG, freshWeights, tokenizer } from './support/tiny.ts';

describe('Student’s t', () => {
  test('has the quantiles of the printed tables', () => {
    // Two-sided 95%, then 99%, of Abramowitz and Stegun's table 26.10.
    const tables = {
      0.95: [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228],
      0.99: [63.657, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.25, 3.169],
    };
    for (const [share, expected] of Object.entries(tables)) {
      const quantiles = expected.map((_, i) => studentQuantile(i + 1, Number(share)));
      expectClose(quantiles, expected, { absolute: 5.1e-4, relative: 0 });
    }
    expectClose(
      [30, 60, 100_000].map((degrees) => studentQuantile(degrees)),
      [2.0423, 2.0003, 1.96],
      {
        absolute: 6e-5,
        relative: 0,
      },
    );
    expect(() => studentQuantile(0)).toThrow(RangeError);
    expect(() => studentQuantile(1.5)).toThrow(RangeError);
  });

  test('gives the mean of a few measurements its interval', () => {
    // s = 1, so that the half width is 4.303 / √3.
    const { mean, least, most, low, high } = summarize([3, 1, 2]);
    expect([mean, least, most]).toEqual([2, 1, 3]);
    expectClose([low, high], [2 - 2.48414, 2 + 2.48414], { absolute: 1e-4 });
    expect(summarize([5, 5, 5])).toEqual({ mean: 5, least: 5, most: 5, low: 5, high: 5 });
    expect(() => summarize([1])).toThrow(RangeError);
  });
});

/** An evaluation of a single stage, whose accuracy, its change, and loss are given. */
function evaluationOf(accuracy: number, change: number, loss?: number): RunEvaluation {
  const make = (id: string, unit: 'share' | 'nats', value: number) =>
    figure(id, { zh: id, en: id }, unit, { value, low: value, high: value, count: 9 });
  const figures = {
    conversations: loss === undefined ? [] : [make('loss', 'nats', loss)],
    tasks: [make('accuracy', 'share', accuracy), make('accuracy-change', 'share', change)],
  };
  return { seed: 1, sets: [], stages: [{ stage: 'sft', figures }] };
}

test('figures of several runs, with intervals that a share can have', () => {
  const runs = [
    { folder: 'a', seed: 1, evaluation: evaluationOf(0.9, -0.1, 2) },
    { folder: 'b', seed: 2, evaluation: evaluationOf(1, 0.1) },
  ];
  const { stages, leftOut } = overSeeds(runs);
  expect(leftOut).toBe(1);
  expect(Object.keys(stages[0].figures)).toEqual(['tasks']);
  const [accuracy, change] = stages[0].figures.tasks!;
  expect(accuracy).toMatchObject({ id: 'accuracy', values: [0.9, 1], least: 0.9, most: 1, high: 1 });
  expectClose([accuracy.mean, accuracy.low], [0.95, 0.95 - 12.7062 * 0.05], { absolute: 1e-4 });
  expect([change.low, change.high]).toEqual([-1, 1]);
});

describe('runs in folders', () => {
  const root = mkdtempSync(join(tmpdir(), 'my-llm-seeds-'));
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  /** A run with a single stage; evaluated unless `accuracy` is left out. */
  function makeRun(name: string, seed: number, accuracy?: number, learningRate = 1e-3): string {
    const out = join(root, name);
    const extra = {
      ...{ fingerprint: name, seed, settings: { learningRate } },
      circumstances: { machine: `machine ${seed}`, preset: 'nano', threads: seed },
    };
    const checkpoint = { params: freshWeights(), config: CONFIG, tokenizer, stage: 'sft', extra };
    saveCheckpoint(checkpointFolder(out, 'sft'), checkpoint);
    if (accuracy !== undefined) keepEvaluation(out, evaluationOf(accuracy, 0, 2), { sft: checkpoint });
    return out;
  }
  const [one, two, three] = [0.8, 0.9, 1].map((accuracy, i) => makeRun(`seed-${i + 1}`, i + 1, accuracy));

  test('are put together by the command, as a table and as JSON', async () => {
    const shown = await runHere('eval', ['--runs', one, two, three]);
    expect(shown).toMatch(/accuracy +90\.0%\n +\[65\.2%, 100\.0%\]\n +80\.0% … 100\.0%/);
    expect(shown).toMatch(/loss +2\.00\n +\[2\.00, 2\.00\]/);
    expect(shown).toContain(`3 runs, with their seeds: ${one} (1), ${two} (2), ${three} (3).`);
    expect(shown).toContain('2 degrees of freedom');
    const evaluation: SeedEvaluation = JSON.parse(await runHere('eval', ['--runs', one, two, '--json']));
    expect(evaluation.runs).toEqual([
      { folder: one, seed: 1 },
      { folder: two, seed: 2 },
    ]);
    expect(evaluation.stages[0].figures.tasks![0].values).toEqual([0.8, 0.9]);
  });

  test('are refused where a mean over seeds would mislead', () => {
    expect(() => readSeedRuns([one])).toThrow(/two folders at least/);
    expect(() => readSeedRuns([one, makeRun('same', 1, 0.7)])).toThrow(
      /seed-1 and .*same .*seed 1.*another --seed/,
    );
    const faster = makeRun('faster', 5, 0.7, 1e-2);
    expect(() => readSeedRuns([one, faster])).toThrow(/SFT: learningRate: 0.001 and 0.01.*npm run compare/);
    const fresh = makeRun('fresh', 6);
    expect(() => readSeedRuns([one, fresh])).toThrow(`run npm run eval -- --out ${fresh} first`);
    expect(() => readSeedRuns([one, join(root, 'nothing')])).toThrow(/nothing holds no finished stage/);
  });

  test('contradict the options of a single evaluation', async () => {
    await expect(runHere('eval', ['--runs', one, two, '--all'])).rejects.toThrow('failed');
    await expect(runHere('eval', ['--runs', one, two, '--out', root])).rejects.toThrow('failed');
  });
});
