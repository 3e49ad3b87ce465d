import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Rendered, renderConversation } from '../src/chat-format.ts';
import { loadCheckpoint, saveCheckpoint } from '../src/checkpoint.ts';
import type { ModelConfig } from '../src/config.ts';
import { type DistillRunOptions, runDistill } from '../src/distill-run.ts';
import { UserError } from '../src/errors.ts';
import { klDivergence } from '../src/nn/losses.ts';
import { createTrainer, createTrainState } from '../src/nn/train-step.ts';
import { Interrupted, type StageUi } from '../src/stage-run.ts';
import {
  checkPair,
  compareWithTeacher,
  type DistillOptions,
  distill,
  distillationLoss,
  distillLoss,
} from '../src/stages/distill.ts';
import { keyOf } from '../src/stages/pretrain.ts';
import { sftBatch, sftBatchSpec, sftLoss, supervisedFineTune } from '../src/stages/sft.ts';
import type { SavedState } from '../src/stages/stage.ts';
import {
  createRandom,
  type Graph,
  gradients,
  type NdArray,
  type Runtime,
  tensor,
  trace,
} from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { Tokenizer } from '../src/tokenizer.ts';
import { expectClose } from './support/close.ts';
import { runHere } from './support/command.ts';
import {
  CHATS,
  CONFIG,
  contextFor,
  DIGITS,
  DOCUMENTS,
  freshWeights,
  recordingIo,
  Stopped,
  sameBits,
  tokenizer,
} from './support/tiny.ts';

/** Half as wide as the teacher. */
const STUDENT: ModelConfig = { ...CONFIG, hiddenSize: 8, numHeads: 1, numKvHeads: 1, intermediateSize: 24 };
const OPTIONS: DistillOptions = { epochs: 6, batchSize: 4, learningRate: 2e-2, temperature: 2, alpha: 0.5 };

const root = mkdtempSync(join(tmpdir(), 'my-llm-distill-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Each question has a digit of its own. */
const CONVERSATIONS = CHATS.map(([question], i) => [
  question,
  { role: 'assistant' as const, content: DIGITS[(i % 16) % 4] },
]);
const SEQUENCES: Rendered[] = CONVERSATIONS.map((messages) => renderConversation(tokenizer, messages));
const DATA = { train: () => SEQUENCES.slice(0, 40), heldOut: SEQUENCES.slice(40) };

let runtime: Runtime;
let teacherWeights: Record<string, NdArray>;
const teacher = () => ({ config: CONFIG, params: teacherWeights });

beforeAll(async () => {
  runtime = await createNodeRuntime({ threads: 1 });
  const data = { conversations: CONVERSATIONS.slice(0, 40), heldOut: [] };
  const options = { epochs: 40, batchSize: 4, learningRate: 2e-2 };
  teacherWeights = (await supervisedFineTune(contextFor(runtime), freshWeights(), data, options)).weights;
});

/** Gradients of a scalar function of weights. */
async function gradientsOf(
  loss: (symbolic: Record<string, ReturnType<typeof tensor>>) => ReturnType<typeof tensor>,
  weights: Record<string, NdArray>,
  batch: Record<string, NdArray> = {},
): Promise<Record<string, Float32Array>> {
  const names = Object.keys(weights);
  const graph = trace({ ...weights, ...batch }, (symbolic) => {
    const parts = gradients(
      loss(symbolic),
      names.map((name) => symbolic[name]),
    );
    return Object.fromEntries(parts.map((part, i) => [names[i], part]));
  });
  const executable = await runtime.compile(graph);
  const outputs = await executable.run({ ...weights, ...batch });
  await executable.release();
  return Object.fromEntries(names.map((name) => [name, outputs[name].data as Float32Array]));
}

function someBatch(): Record<string, NdArray> {
  const random = createRandom(3);
  const row = () => ({
    ids: Int32Array.from({ length: 32 }, () => random.integer(CONFIG.vocabSize)),
    targets: Int32Array.from({ length: 32 }, () => random.integer(CONFIG.vocabSize)),
    lossMask: Float32Array.from({ length: 32 }, () => random.integer(2)),
    positions: Int32Array.from({ length: 32 }, (_, i) => i),
    segments: new Int32Array(32).fill(1),
  });
  return sftBatch([row(), row(), row(), row()], keyOf(1, 1));
}

describe('KL', () => {
  const row = (...probabilities: number[]) => tensor(probabilities.map(Math.log), [1, probabilities.length]);

  it('is what the formula says', () => {
    // p = (1/2, 1/4, 1/4), q = (1/4, 1/4, 1/2): ½ ln 2 + 0 - ¼ ln 2
    expectClose(klDivergence(row(0.5, 0.25, 0.25), row(0.25, 0.25, 0.5)).data, [0.25 * Math.LN2]);
  });

  it('is zero where the distributions agree, whatever is added to the logits, and positive elsewhere', () => {
    const random = createRandom(7);
    for (let i = 0; i < 50; i++) {
      const logits = Array.from({ length: 6 }, random.normal);
      const same = logits.map((each) => each + 5);
      const other = logits.map((each, k) => each + (k === i % 6 ? 0.5 : 0));
      const at = (values: number[]) => tensor(values, [1, 6]);
      expect(Math.abs(klDivergence(at(logits), at(same)).item())).toBeLessThan(1e-6);
      const [forth, back] = [klDivergence(at(logits), at(other)), klDivergence(at(other), at(logits))];
      expect(Math.min(forth.item(), back.item())).toBeGreaterThan(1e-4);
    }
  });
});

describe('the loss', () => {
  // Two places of three tokens, of which the first counts. At τ = 2 the logits are halved:
  // teacher (ln 4, 0, 0) to (ln 2, 0, 0), that is (1/2, 1/4, 1/4); student (0, 0, ln 4) to (1/4, 1/4, 1/2).
  const LN4 = Math.log(4);
  const student = tensor([0, 0, LN4, 1, 2, 3], [2, 3]);
  const guide = tensor([LN4, 0, 0, 3, 2, 1], [2, 3]);
  const places = { targets: tensor([2, 0], [2], 'int32'), mask: tensor([1, 0], [2]) };
  // The token that followed has 4/6 at temperature 1.
  const [kl, hard] = [0.25 * Math.LN2, Math.log(1.5)];

  it.each([
    [0, hard],
    [0.25, 0.25 * 4 * kl + 0.75 * hard],
    [1, 4 * kl],
  ])('weighs the two terms: α = %d', (alpha, expected) => {
    const logits = { student, teacher: alpha > 0 ? guide : undefined };
    const { loss, metrics } = distillationLoss(logits, places, { temperature: 2, alpha });
    expectClose(loss.data, [expected]);
    expectClose(metrics!.crossEntropy.data, [hard]);
    if (alpha > 0) expectClose(metrics!.kl.data, [kl]);
  });

  it('has the gradient α τ (softmax(z/τ) - softmax(teacher/τ)) + (1 - α)(softmax(z) - onehot)', async () => {
    const alpha = 0.25;
    const { z } = await gradientsOf(
      (symbolic) =>
        distillationLoss({ student: symbolic.z, teacher: guide }, places, { temperature: 2, alpha }).loss,
      { z: student.value },
    );
    const soft = [0.25 - 0.5, 0, 0.5 - 0.25].map((each) => alpha * 2 * each);
    const hardPart = [1 / 6, 1 / 6, 4 / 6 - 1].map((each) => (1 - alpha) * each);
    expectClose(z, [...soft.map((each, i) => each + hardPart[i]), 0, 0, 0]);
  });

  it('keeps about the size of its gradient when the temperature is raised', async () => {
    const norm = async (temperature: number): Promise<number> => {
      const options = { temperature, alpha: 1 };
      const { z } = await gradientsOf(
        (symbolic) => distillationLoss({ student: symbolic.z, teacher: guide }, places, options).loss,
        { z: student.value },
      );
      return Math.hypot(...z);
    };
    // In the limit it is (z - teacher's logits) / V (Hinton et al. 2015, section 2.1).
    expect(await norm(50)).toBeCloseTo(Math.hypot(LN4, LN4) / 3, 1);
    expect((await norm(50)) / (await norm(100))).toBeCloseTo(1, 1);
  });
});

describe('with a teacher', () => {
  it('a student that is the teacher has nothing to learn', async () => {
    const options = { ...OPTIONS, alpha: 1 };
    const loss = distillLoss(CONFIG, teacher(), options);
    const grads = await gradientsOf((symbolic) => loss(symbolic, symbolic).loss, teacherWeights, someBatch());
    const other = distillLoss(CONFIG, { config: CONFIG, params: freshWeights(CONFIG, 9) }, options);
    const moved = await gradientsOf(
      (symbolic) => other(symbolic, symbolic).loss,
      teacherWeights,
      someBatch(),
    );
    for (const name of Object.keys(grads)) {
      const largest = Math.max(...moved[name].map(Math.abs));
      expect(Math.max(...grads[name].map(Math.abs)), name).toBeLessThan(1e-5 * (1 + largest));
      expect(largest, name).toBeGreaterThan(1e-4);
    }
  });

  it('the hard labels alone are fine-tuning', async () => {
    const loss = distillLoss(CONFIG, teacher(), { ...OPTIONS, alpha: 0 });
    const [actual, expected] = await Promise.all(
      [loss, sftLoss(CONFIG)].map((each) =>
        gradientsOf((symbolic) => each(symbolic, symbolic).loss, teacherWeights, someBatch()),
      ),
    );
    for (const name of Object.keys(expected)) expect(actual[name], name).toEqual(expected[name]);
  });

  it('the graph of a step holds no gradient and no state of the teacher', async () => {
    const params = freshWeights(STUDENT);
    const graphOf = async (loss: ReturnType<typeof distillLoss>): Promise<Graph> => {
      let captured: Graph | undefined;
      const spy: Runtime = {
        name: 'spy',
        compile: async (graph) => {
          captured = graph;
          return { graph, run: async () => ({}), release: async () => {} };
        },
      };
      await createTrainer({
        runtime: spy,
        loss,
        batch: sftBatchSpec(4, 32),
        state: createTrainState(params),
      });
      return captured!;
    };
    const taught = await graphOf(distillLoss(STUDENT, teacher(), OPTIONS));
    const untaught = await graphOf(distillLoss(STUDENT, teacher(), { ...OPTIONS, alpha: 0 }));
    expect(Object.keys(taught.inputs)).toEqual(Object.keys(untaught.inputs));
    const shapesOf = ({ nodes }: Graph): string[] =>
      nodes.flatMap(({ outputs }) => outputs.map(({ shape }) => shape.join()));
    const ofTeacher = Object.entries(teacherWeights)
      .filter(([name, { shape }]) => shape.length === 2 && !(params[name].shape.join() === shape.join()))
      .flatMap(([, { shape }]) => [shape.join(), [...shape].reverse().join()]);
    expect(ofTeacher.length).toBeGreaterThan(5);
    expect(shapesOf(taught).filter((shape) => ofTeacher.includes(shape))).toEqual([]);
    // The teacher does read the batch: its hidden states are there.
    const hidden = `4,32,${CONFIG.hiddenSize}`;
    expect(shapesOf(taught)).toContain(hidden);
    expect(shapesOf(untaught)).not.toContain(hidden);
  });
});

describe('training', () => {
  it('brings the student near the teacher, nearer than the hard labels do', async () => {
    const before = Object.fromEntries(
      Object.entries(teacherWeights).map(([name, each]) => [name, { ...each, data: each.data.slice() }]),
    );
    const train = (alpha: number) =>
      distill(contextFor(runtime, { config: STUDENT }), freshWeights(STUDENT), teacher(), DATA, {
        ...OPTIONS,
        epochs: 30,
        alpha,
      });
    const [taught, untaught] = [await train(1), await train(0)];
    expect(sameBits(teacherWeights, before)).toBe(true);
    const [loss, kl, agreement] = taught.evaluations;
    expect([loss, kl, agreement].map(({ unit }) => unit)).toEqual(['nats', 'nats', 'share']);
    expect(loss.after).toBeLessThan(0.5 * loss.before!);
    expect(kl.after).toBeLessThan(0.1 * kl.before!);
    expect(agreement.after).toBeGreaterThan(0.8);
    expect(kl.after).toBeLessThan(untaught.evaluations[1].after);
    expect(taught.teacherLoss).toBe(untaught.teacherLoss);
  });

  it('goes on after an interruption as if there had been none', async () => {
    const config = { ...STUDENT, dropout: 0.1 };
    const options = { ...OPTIONS, epochs: 2 };
    const run = (io = recordingIo()) =>
      distill(contextFor(runtime, { config, io }), freshWeights(config), teacher(), DATA, options);
    const whole = recordingIo();
    const expected = await run(whole);
    const steps = whole.records.length;
    expect(steps).toBeGreaterThan(3);
    for (const stopAfter of [1, steps - 1]) {
      let kept: SavedState | undefined;
      const keep = ({ tensors, state }: SavedState): void => {
        const copies = Object.entries(tensors).map(([name, each]) => [
          name,
          { ...each, data: each.data.slice() },
        ]);
        kept = { tensors: Object.fromEntries(copies), state: JSON.parse(JSON.stringify(state)) };
      };
      const first = recordingIo({ stopAfter, keep });
      await expect(run(first)).rejects.toThrow(Stopped);
      const second = recordingIo({ resumed: kept });
      const result = await run(second);
      expect(sameBits(result.weights, expected.weights)).toBe(true);
      expect(result.evaluations).toEqual(expected.evaluations);
      expect([...first.records, ...second.records]).toEqual(whole.records);
    }
    expect(whole.records[0].figures).toMatchObject({
      epoch: 1,
      kl: expect.any(Number),
      crossEntropy: expect.any(Number),
    });
  });

  it('reports nothing where nothing is held out', async () => {
    const none = { ...DATA, heldOut: [] };
    const context = contextFor(runtime, { config: STUDENT });
    const options = { ...OPTIONS, epochs: 1 };
    const result = await distill(context, freshWeights(STUDENT), teacher(), none, options);
    expect([result.evaluations, result.teacherLoss]).toEqual([[], undefined]);
  });

  it('finds a teacher as near as can be to itself', async () => {
    const context = contextFor(runtime);
    const closeness = await compareWithTeacher(context, teacherWeights, teacher(), SEQUENCES.slice(40));
    expect(closeness!.agreement).toBe(1);
    expect(closeness!.loss).toBe(closeness!.teacherLoss);
    expect(Math.abs(closeness!.kl)).toBeLessThan(1e-6);
  });
});

describe('a pair that does not fit is told in one sentence', () => {
  const named = (name: string, more: object = {}) => ({ name, config: CONFIG, tokenizer, ...more });
  const other = Tokenizer.train(['user', 'assistant', '天地'], { vocabSize: 263 });

  it.each([
    ['tokenizer', { tokenizer: other }, /pupil.*master.*different tokenizers.*--student/],
    ['context', { config: { ...CONFIG, contextLength: 16 } }, /pupil is 16 tokens.*master 32.*--student/],
  ])('%s', (_, more, message) => {
    expect(() => checkPair(named('pupil', more), named('master'))).toThrow(UserError);
    expect(() => checkPair(named('pupil', more), named('master'))).toThrow(message);
    expect(() => checkPair(named('pupil'), named('master'))).not.toThrow();
  });
});

/** An interface that shows nothing, and asks to stop after so many steps. */
function silentUi(
  stopAfter = Number.POSITIVE_INFINITY,
): StageUi & { readonly starts: (at?: number) => void } {
  let steps = 0;
  return {
    starts: () => {},
    step: () => void steps++,
    note: () => {},
    get interrupted() {
      return steps >= stopAfter;
    },
  };
}

describe('a folder', () => {
  const source = {
    name: 'chats.json',
    text: JSON.stringify(CONVERSATIONS.map((messages) => ({ messages }))),
    own: true,
  };
  const optionsFor = (out: string, more: Partial<DistillRunOptions> = {}): DistillRunOptions => ({
    runtime,
    teacher: { ...teacher(), tokenizer, stage: 'sft', extra: {} },
    student: { config: STUDENT, params: freshWeights(STUDENT) },
    settings: { ...OPTIONS, epochs: 2 },
    seed: 1,
    out: join(root, out),
    data: source,
    isText: false,
    exercises: 0,
    restart: false,
    saveInterval: 0,
    ...more,
  });

  it('holds the same student whether the run was interrupted or not, and it is not trained twice', async () => {
    const whole = await runDistill(optionsFor('whole'), silentUi());
    await expect(runDistill(optionsFor('parts'), silentUi(3))).rejects.toThrow(Interrupted);
    expect(existsSync(join(root, 'parts', 'model.safetensors'))).toBe(false);
    const parts = await runDistill(optionsFor('parts'), silentUi());
    expect(sameBits(parts.student.params, whole.student.params)).toBe(true);
    expect(parts.evaluations).toEqual(whole.evaluations);
    const again = await runDistill(optionsFor('parts'), silentUi(0));
    expect([parts.outcome, again.outcome]).toEqual(['trained', 'finished before']);
    expect(again.evaluations).toEqual(parts.evaluations);
    expect(again.teacherLoss).toBe(parts.teacherLoss);
    const metrics = readFileSync(join(root, 'parts', 'metrics.jsonl'), 'utf8')
      .trim()
      .split('\n');
    const steps = metrics.map((line) => JSON.parse(line));
    expect(steps.map(({ step }) => step)).toEqual(steps.map((_, i) => i + 1));
    expect(steps.every(({ stage, kl }) => stage === 'distill' && kl > 0)).toBe(true);
    const stored = loadCheckpoint(join(root, 'parts'));
    expect([stored.stage, stored.config]).toEqual(['sft', STUDENT]);
    expect(sameBits(stored.params, whole.student.params)).toBe(true);
  });

  it('is trained anew where anything that the result depends on has changed', async () => {
    await runDistill(optionsFor('changed'), silentUi());
    const { student } = optionsFor('changed');
    for (const more of [
      { seed: 2 },
      { settings: { ...OPTIONS, epochs: 2, temperature: 3 } },
      { student: { ...student, params: freshWeights(STUDENT, 4) } },
    ]) {
      expect((await runDistill(optionsFor('changed', more), silentUi())).outcome).toBe('trained');
    }
  });

  it('with a checkpoint of another training is left alone', async () => {
    const out = join(root, 'other');
    saveCheckpoint(out, { params: teacherWeights, config: CONFIG, tokenizer, stage: 'sft' });
    const before = readFileSync(join(out, 'model.safetensors'));
    for (const restart of [false, true])
      await expect(runDistill(optionsFor('other', { restart }), silentUi())).rejects.toThrow(/other.*--out/);
    expect(readFileSync(join(out, 'model.safetensors')).equals(before)).toBe(true);
  });

  it('can come from text, of which every token is learned', async () => {
    const text = DOCUMENTS.map((document) => document.repeat(2)).join('\n<|endoftext|>\n');
    const data = { name: 'text.txt', text, own: true };
    const result = await runDistill(optionsFor('text', { data, isText: true }), silentUi());
    expect(loadCheckpoint(join(root, 'text')).stage).toBe('pretrain');
    const [loss] = result.evaluations;
    expect(loss.after).toBeLessThan(loss.before!);
  });
});

describe('npm run distill', () => {
  /** Room for the questions that the command asks at the end. */
  const LONG = { ...CONFIG, contextLength: 128 };
  const folder = join(root, 'command');
  const chats = join(root, 'chats.json');
  beforeAll(() => {
    saveCheckpoint(join(folder, 'sft_final'), {
      params: teacherWeights,
      config: LONG,
      tokenizer,
      stage: 'sft',
    });
    const config = { ...CONFIG, contextLength: 16 };
    saveCheckpoint(join(folder, 'short'), { params: freshWeights(config), config, tokenizer, stage: 'sft' });
    writeFileSync(chats, JSON.stringify(CONVERSATIONS.map((messages) => ({ messages }))));
  });
  const command = (...args: string[]): Promise<string> =>
    runHere('distill', ['--teacher', join(folder, 'sft_final'), '--data', chats, '--threads', '1', ...args]);

  it('trains a student and its baseline, compares them, and generate takes it', {
    timeout: 60_000,
  }, async () => {
    const options = ['--epochs', '1', '--preset', 'nano'];
    const shown = await command(...options);
    for (const row of ['Teacher', 'Student, before', 'Student, hard labels alone', 'Student, distilled'])
      expect(shown).toMatch(new RegExp(`^${row} +[\\d,]+ +\\d\\.\\d{3} +-?\\d\\.\\d{3} +[\\d.]+%$`, 'm'));
    const out = join(folder, 'distilled', 'final');
    expect(shown).toContain(`The student is in ${out}`);
    expect(loadCheckpoint(out).config.contextLength).toBe(LONG.contextLength);
    expect(loadCheckpoint(`${out}_hard_labels`).extra['settings']).toMatchObject({ alpha: 0 });
    expect(await command(...options)).toMatch(
      /hard labels alone: finished before[\s\S]*distilled: finished before/,
    );
    const generate = [
      '--checkpoint',
      out,
      '--prompt',
      '问天',
      '--max-length',
      '3',
      '--seed',
      '1',
      '--threads',
      '1',
    ];
    expect(await runHere('generate', generate)).not.toBe('');
  });

  it('without a teacher trains the baseline alone', async () => {
    const out = join(root, 'untaught');
    const shown = await command('--epochs', '1', '--alpha', '0', '--out', out);
    expect(shown).not.toContain('distilled');
    expect(existsSync(`${out}_hard_labels`)).toBe(false);
    const settings = { alpha: 0, temperature: 1 };
    expect(loadCheckpoint(out).extra['settings']).toMatchObject(settings);
  });

  it.each([
    [['--student', join(folder, 'short')], /short is 16 tokens/],
    [['--student', join(folder, 'short'), '--preset', 'nano'], /--student.*--preset/],
    [['--alpha', '1.5'], /--alpha/],
    [['--temperature', '0'], /--temperature/],
    [['--teacher', join(root, 'nowhere')], /nowhere.*missing/],
    [['--data', join(root, 'none.json')], /none\.json/],
    [['--out', join(folder, 'sft_final')], /sft_final.*--out/],
  ])('refuses %j in one sentence', { timeout: 60_000 }, (args, message) => {
    const node = ['--import', 'tsx', 'src/cli/distill.ts', '--lang', 'en', '--epochs', '1', '--data', chats];
    const { status, stderr } = spawnSync(process.execPath, [
      ...node,
      ...['--teacher', join(folder, 'sft_final'), ...args],
    ]);
    expect(String(stderr)).toMatch(/^Error: .*\n$/);
    expect(String(stderr)).toMatch(message);
    expect(status).toBe(1);
  });
});
