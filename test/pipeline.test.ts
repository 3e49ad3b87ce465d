import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { STAGE_FOLDERS } from '../src/checkpoint.ts';
import {
  conversations,
  exerciseConversations,
  exerciseDocuments,
  heldOutExercises,
  pretrainDocuments,
  tokenizerTexts,
  verifiableTasks,
} from '../src/data/datasets.ts';
import { fact, factKey, isHeldOut } from '../src/data/generators.ts';
import { UserError } from '../src/errors.ts';
import { type PipelineUi, runPipeline } from '../src/pipeline.ts';
import { Interrupted } from '../src/stage-run.ts';
import { STAGES } from '../src/stages/stage.ts';
import { createRandom } from '../src/tensor/index.ts';
import { tinyPipeline } from './support/tiny-pipeline.ts';

const root = mkdtempSync(join(tmpdir(), 'my-llm-pipeline-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Records what a pipeline reports; asks to stop after `stopAfter` steps. */
function recorder(stopAfter = Number.POSITIVE_INFINITY): PipelineUi & { readonly events: string[] } {
  const events: string[] = [];
  let steps = 0;
  return {
    events,
    stageStarts: (stage, resumedAt) => events.push(`start ${stage} ${resumedAt ?? 'fresh'}`),
    step() {
      steps++;
    },
    note: () => {},
    async stageEnds({ stage, outcome }) {
      events.push(`end ${stage} ${outcome}`);
    },
    get interrupted() {
      return steps >= stopAfter;
    },
  };
}

describe('the pipeline', () => {
  const out = join(root, 'run');

  it('stops where it is asked to, goes on from there, and ends with every checkpoint', async () => {
    const options = await tinyPipeline(out);
    await expect(runPipeline(options, recorder(2))).rejects.toThrow(Interrupted);
    expect(existsSync(join(out, STAGE_FOLDERS.pretrain))).toBe(false);

    const ui = recorder();
    const summaries = await runPipeline(options, ui);
    expect(ui.events[0]).toBe('start pretrain 2');
    expect(summaries.map(({ stage, outcome }) => [stage, outcome])).toEqual(
      STAGES.map((stage) => [stage, 'trained']),
    );
    for (const stage of STAGES)
      expect(existsSync(join(out, STAGE_FOLDERS[stage], 'model.safetensors'))).toBe(true);
  });

  it('trains nothing twice, and only what a changed setting touches', async () => {
    const options = await tinyPipeline(out);
    const again = await runPipeline(options, recorder());
    expect(again.every(({ outcome }) => outcome === 'finished before')).toBe(true);

    const { rlvf } = options.recipe;
    const recipe = { ...options.recipe, rlvf: { ...rlvf, iterations: rlvf.iterations + 1 } };
    const changed = await runPipeline({ ...options, recipe }, recorder());
    expect(changed.map(({ outcome }) => outcome)).toEqual([...Array(4).fill('finished before'), 'trained']);

    const verifiers = ['registerVerifier(...)'];
    const judged = await runPipeline({ ...options, recipe, verifiers }, recorder());
    expect(judged.map(({ outcome }) => outcome)).toEqual([...Array(4).fill('finished before'), 'trained']);
    // No tasks are generated beside data of one's own, so their types change nothing.
    const typed = await runPipeline({ ...options, recipe, verifiers, taskTypes: ['counting'] }, recorder());
    expect(typed.every(({ outcome }) => outcome === 'finished before')).toBe(true);
  });

  it('trains a stage anew by another method, and DPO without a reward model', async () => {
    const methods = join(root, 'methods');
    const options = await tinyPipeline(methods);
    await runPipeline({ ...options, skip: new Set(['reward', 'rlhf', 'rlvf']) }, recorder());
    const skip = new Set(['pretrain', 'sft', 'reward'] as const);
    await expect(runPipeline({ ...options, skip }, recorder())).rejects.toThrow(UserError);

    const run = async (recipe: Partial<typeof options.recipe>) => {
      const summaries = await runPipeline(
        { ...options, skip, recipe: { ...options.recipe, ...recipe } },
        recorder(),
      );
      return summaries.slice(3).map(({ outcome }) => outcome);
    };
    expect(await run({ rlhfAlgorithm: 'dpo' })).toEqual(['trained', 'trained']);
    expect(await run({ rlhfAlgorithm: 'dpo', rlvfAlgorithm: 'grpo' })).toEqual([
      'finished before',
      'trained',
    ]);
    // Settings of methods that are not used change nothing.
    const other = { rlhf: { ...options.recipe.rlhf, gamma: 0.5 }, bestOfN: { ...options.recipe.bestOfN } };
    const same = await run({ ...other, rlhfAlgorithm: 'dpo', rlvfAlgorithm: 'grpo' });
    expect(same).toEqual(['finished before', 'finished before']);
    expect(await run({ rlhfAlgorithm: 'dpo', rlvfAlgorithm: 'best-of-n' })).toEqual([
      'finished before',
      'trained',
    ]);
  });

  it('trains RLHF by best of N', async () => {
    const options = await tinyPipeline(out);
    const recipe = { ...options.recipe, rlhfAlgorithm: 'best-of-n' as const };
    const bestOfN = await runPipeline({ ...options, recipe }, recorder());
    expect(bestOfN.map(({ outcome }) => outcome)).toEqual([
      ...Array(3).fill('finished before'),
      ...Array(2).fill('trained'),
    ]);
    expect(bestOfN[3].evaluations.map(({ name }) => name.en)).toEqual([
      'held-out mean reward',
      'held-out distinct-2',
    ]);
  });

  it('starts a stage anew whose progress is damaged', async () => {
    const options = await tinyPipeline(join(root, 'damaged'));
    await expect(runPipeline(options, recorder(1))).rejects.toThrow(Interrupted);
    const progress = join(options.out, '.progress', 'pretrain.safetensors');
    writeFileSync(progress, readFileSync(progress).subarray(0, 1000));
    const ui = recorder(1);
    await expect(runPipeline(options, ui)).rejects.toThrow(Interrupted);
    expect(ui.events).toEqual(['start pretrain fresh']);
  });

  it('takes skipped stages from their checkpoints', async () => {
    const options = await tinyPipeline(out);
    const skip = new Set(STAGES.filter((stage) => stage !== 'reward'));
    const summaries = await runPipeline({ ...options, skip, restart: true }, recorder());
    expect(summaries.map(({ outcome }) => outcome)).toEqual([
      'skipped',
      'skipped',
      'trained',
      'skipped',
      'skipped',
    ]);
  });

  it('refuses to replace a model of another size, unless told to', async () => {
    const options = await tinyPipeline(out);
    const config = { ...options.config, numLayers: options.config.numLayers + 1 };
    await expect(runPipeline({ ...options, config }, recorder())).rejects.toThrow(/--out.*--restart/);
  });
});

describe('a second run into the same folder', () => {
  const out = join(root, 'shared');
  const lock = (pid: number): string => join(out, '.progress', `lock-${pid}`);
  const locks = (): string[] => readdirSync(join(out, '.progress')).filter((name) => name.startsWith('lock'));

  it('is refused while the first one lasts, and only then', async () => {
    const options = await tinyPipeline(out);
    const first = runPipeline(options, recorder(2));
    await expect(runPipeline(options, recorder())).rejects.toThrow(UserError);
    await expect(runPipeline(options, recorder())).rejects.toThrow(
      new RegExp(`shared is in use .*process ${process.pid}.* --out`),
    );
    await expect(first).rejects.toThrow(Interrupted);
    await expect(runPipeline(options, recorder(1))).rejects.toThrow(Interrupted);
    expect(locks()).toEqual([]);
  });

  it('is refused beside another process, but not by what a killed one left', async () => {
    const options = await tinyPipeline(out);
    writeFileSync(lock(process.ppid), '');
    await expect(runPipeline(options, recorder())).rejects.toThrow(`lock-${process.ppid}`);
    expect(locks()).toEqual([`lock-${process.ppid}`]);
    rmSync(lock(process.ppid));

    const { pid } = spawnSync(process.execPath, ['-e', '']);
    for (const gone of [pid, process.pid]) writeFileSync(lock(gone), '');
    await expect(runPipeline(options, recorder(1))).rejects.toThrow(Interrupted);
    expect(locks()).toEqual([]);
  });
});

describe('the data of the stages', () => {
  const source = (text: string, own = true) => ({ name: 'data', text, own });

  it('holds the end of a single document out', () => {
    const { train, heldOut } = pretrainDocuments(source('天地玄黄'.repeat(100)));
    expect([train.join('').length, heldOut.join('').length]).toEqual([380, 20]);
  });

  it('keeps the same question on one side', () => {
    const record = (question: string, answer: string) => ({ prompt: question, response: answer });
    const records = Array.from({ length: 60 }, (_, i) => record(`问题${i % 30}`, `回答${i}`));
    const { train, heldOut } = conversations(source(JSON.stringify(records)));
    const questions = new Set(train.map(([{ content }]) => content));
    expect(heldOut.length).toBeGreaterThan(0);
    expect(heldOut.some(([{ content }]) => questions.has(content))).toBe(false);
  });

  it("draws fresh exercises beside bundled tasks, and only the user's own otherwise", () => {
    const tasks = Array.from({ length: 20 }, (_, i) => ({
      prompt: `${i}+0等于多少？`,
      expected: `${i}`,
      type: 'math',
    }));
    const text = JSON.stringify(tasks);
    const own = verifiableTasks(source(text));
    const ownPrompts = new Set(own.train.map(({ prompt }) => prompt));
    expect(own.draw(40, createRandom(1)).every(({ prompt }) => ownPrompts.has(prompt))).toBe(true);
    const bundled = verifiableTasks(source(text, false));
    expect(bundled.heldOut.length).toBe(own.heldOut.length + 200);
    expect(bundled.draw(40, createRandom(1)).some(({ prompt }) => !ownPrompts.has(prompt))).toBe(true);
  });

  it('makes exercises anew for each epoch, the same for the same seed', () => {
    expect(exerciseDocuments(5, 1, 0)).toEqual(exerciseDocuments(5, 1, 0));
    expect(exerciseDocuments(5, 1, 0)).not.toEqual(exerciseDocuments(5, 1, 1));
    expect(exerciseConversations(5, 1, 0)).not.toEqual(exerciseConversations(5, 2, 0));
    expect(heldOutExercises(6)).toHaveLength(6);
  });

  it('never tells a held-out sum to the tokenizer', () => {
    const told = tokenizerTexts([], [], 1).flatMap((text) => [...text.matchAll(/(?<!\d)(\d+)([+-])(\d+)=/g)]);
    expect(told.length).toBeGreaterThan(50);
    for (const [, left, operator, right] of told) {
      expect(isHeldOut(factKey(fact(Number(left), operator as '+' | '-', Number(right))))).toBe(false);
    }
  });
});
