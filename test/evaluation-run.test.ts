import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { STAGE_FOLDERS } from '../src/checkpoint.ts';
import type { Figure } from '../src/evaluation/figures.ts';
import { MEASURES } from '../src/evaluation/measures.ts';
import { evaluateRun, type RunEvaluation } from '../src/evaluation/run.ts';
import { displayWidth } from '../src/format-text.ts';
import { type PipelineOptions, runPipeline } from '../src/pipeline.ts';
import { loadStage } from '../src/run-folder.ts';
import { STAGES, type StageName } from '../src/stages/stage.ts';
import { expectClose } from './support/close.ts';
import { runHere } from './support/command.ts';
import { tinyPipeline } from './support/tiny-pipeline.ts';

const root = mkdtempSync(join(tmpdir(), 'my-llm-evaluation-'));
const out = join(root, 'run');
let options: PipelineOptions;
/** The data of the run as options of the command. */
let data: string[];

beforeAll(async () => {
  const tiny = await tinyPipeline(out);
  // Room for the answers that the command asks for.
  options = { ...tiny, config: { ...tiny.config, contextLength: 64 } };
  await runPipeline(options, {
    stageStarts: () => {},
    step: () => {},
    note: () => {},
    stageEnds: async () => {},
    interrupted: false,
  });
  data = Object.entries(options.data).flatMap(([stage, { name, text }]) => {
    const file = join(root, name);
    writeFileSync(file, text);
    return ['--data', `${stage}=${file}`];
  });
}, 120_000);
afterAll(() => rmSync(root, { recursive: true, force: true }));

const evaluate = (...args: string[]): Promise<string> =>
  runHere('eval', ['--threads', '1', '--out', out, ...data, ...args]);

function figuresOf({ stages }: RunEvaluation, stage: StageName): Map<string, Figure> {
  const found = stages.find((each) => each.stage === stage)!;
  return new Map(MEASURES.flatMap((measure) => found.figures[measure] ?? []).map((each) => [each.id, each]));
}

describe('the command', () => {
  test('evaluates a whole run, the same every time, and trains the judge once', async () => {
    const evaluation: RunEvaluation = JSON.parse(await evaluate('--all', '--json'));
    expect(evaluation.stages.map(({ stage }) => stage)).toEqual(STAGES);
    expect(Object.keys(evaluation.stages[2].figures)).toEqual(['preferences']);
    for (const stage of STAGES) {
      for (const { id, value, low, high, count } of figuresOf(evaluation, stage).values()) {
        expect(low, `${stage} ${id}`).toBeLessThanOrEqual(value);
        expect(high, `${stage} ${id}`).toBeGreaterThanOrEqual(value);
        expect(count, `${stage} ${id}`).toBeGreaterThan(0);
      }
    }
    const rlvf = figuresOf(evaluation, 'rlvf');
    for (const id of ['bits-per-byte', 'answer-loss', 'format', 'reward', 'win-rate', 'kl', 'math-pass-8'])
      expect([...rlvf.keys()]).toContain(id);
    expect(rlvf.get('math-greedy')!.baselines.map(({ name }) => name.en)).toEqual([
      'always the same answer',
      'SFT',
    ]);
    const text = figuresOf(evaluation, 'pretrain').get('bits-per-byte')!;
    expect(text.baselines).toHaveLength(2);
    expect(text.baselines.every(({ value }) => value > 0 && value < 8)).toBe(true);

    const judge = join(out, 'eval', 'judge', STAGE_FOLDERS.reward, 'model.safetensors');
    const trainedAt = statSync(judge).mtimeMs;
    expect(JSON.parse(await evaluate('--json'))).toEqual(evaluation);
    expect(statSync(judge).mtimeMs).toBe(trainedAt);
  });

  test('prints stages side by side, with baselines and intervals', async () => {
    const shown = await evaluate('--all');
    const lines = shown.split('\n');
    expect(shown).toMatch(/Figure +n +Pretrain +SFT +Reward model +RLHF +RLVF/);
    expect(shown).toContain('↔ 5-gram Kneser-Ney');
    expect(shown).toContain('Brackets are 95% intervals');
    expect(shown).not.toMatch(/NaN|undefined|Infinity/);
    expect(Math.max(...lines.slice(0, -4).map(displayWidth))).toBeLessThan(160);
  });

  test('evaluates one checkpoint by what its stage is for', async () => {
    const dir = join(out, STAGE_FOLDERS.rlhf);
    const evaluation: RunEvaluation = JSON.parse(await evaluate('--checkpoint', dir, '--json'));
    expect(evaluation.stages.map(({ stage }) => stage)).toEqual(['rlhf']);
    expect(Object.keys(evaluation.stages[0].figures)).toEqual(['policy']);
    const reward = figuresOf(evaluation, 'rlhf').get('reward')!;
    expect(reward.baselines.map(({ stage }) => stage)).toEqual(['sft']);
    const shown = await evaluate('--checkpoint', join(out, STAGE_FOLDERS.reward, 'model.safetensors'));
    expect(shown).toMatch(/pair accuracy +\d+/);
    expect(shown).toContain('↔ the longer answer');
  });

  test('refuses contradictions and folders without checkpoints', async () => {
    const dir = join(out, STAGE_FOLDERS.rlhf);
    await expect(evaluate('--all', '--checkpoint', dir)).rejects.toThrow('failed');
    await expect(runHere('eval', ['--out', join(root, 'nothing')])).rejects.toThrow('failed');
    expect(existsSync(join(root, 'nothing'))).toBe(false);
  });
});

describe('a model', () => {
  test('that is the SFT model does not differ from it, and one that knows nothing guesses', async () => {
    const sft = loadStage(out, 'sft');
    const ignorant = { ...sft, params: { ...sft.params } };
    const embedding = sft.params['embedding.weight'];
    ignorant.params['embedding.weight'] = { ...embedding, data: new Float32Array(embedding.data.length) };
    const evaluation = await evaluateRun({
      runtime: options.runtime,
      checkpoints: { pretrain: ignorant, sft, reward: loadStage(out, 'reward'), rlhf: sft },
      measures: MEASURES,
      data: options.data,
      questions: { identity: [], paraphrases: [], identityMustNot: [] },
      recipe: options.recipe,
      judgeFolder: join(root, 'judge'),
      seed: 3,
    });
    const same = figuresOf(evaluation, 'rlhf');
    const value = (id: string): number => same.get(id)!.value;
    expect([value('reward-change'), value('win-rate'), value('math-change')]).toEqual([0, 0.5, 0]);
    expectClose([value('kl')], [0], { absolute: 1e-5 });
    expect(same.get('reward')!.value).toBe(figuresOf(evaluation, 'sft').get('reward')!.value);
    const guesses = figuresOf(evaluation, 'pretrain');
    expectClose([guesses.get('perplexity')!.value], [sft.config.vocabSize], { relative: 1e-4 });
    expectClose([guesses.get('answer-loss')!.value], [Math.log(sft.config.vocabSize)], { relative: 1e-4 });
    expect(guesses.get('format')!.value).toBe(0);
  });
});
