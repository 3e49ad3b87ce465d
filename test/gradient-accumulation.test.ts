import { beforeAll, describe, expect, it } from 'vitest';
import type { Message } from '../src/chat-format.ts';
import { countParts, splitRows } from '../src/data/batches.ts';
import { createAccumulatingTrainer } from '../src/nn/gradient-accumulation.ts';
import type { OptimizerName } from '../src/nn/optimizer.ts';
import { createTrainState } from '../src/nn/train-step.ts';
import { pretrain } from '../src/stages/pretrain.ts';
import { trainRewardModel } from '../src/stages/reward-model.ts';
import { sftBatch, sftBatchSpec, sftLoss, supervisedFineTune } from '../src/stages/sft.ts';
import type { SavedState, StageContext, StageResult } from '../src/stages/stage.ts';
import type { NdArray, Runtime } from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { expectClose, relativeError } from './support/close.ts';
import {
  CHATS,
  CONFIG,
  contextFor,
  DOCUMENTS,
  freshWeights,
  HELD_OUT_DOCUMENTS,
  PAIRS,
  recordingIo,
  Stopped,
  sameBits,
} from './support/tiny.ts';

let runtime: Runtime;
beforeAll(async () => {
  runtime = await createNodeRuntime({ threads: 1 });
});

type Run = (context: StageContext, microBatchSize?: number) => Promise<StageResult>;

const pretrainWith =
  (optimizer: OptimizerName): Run =>
  (context, microBatchSize) =>
    pretrain(
      context,
      { documents: DOCUMENTS, heldOut: HELD_OUT_DOCUMENTS },
      { epochs: 3, batchSize: 8, learningRate: 1e-3, warmupSteps: 2, optimizer, microBatchSize },
    );

const fineTuneWith =
  (optimizer: OptimizerName): Run =>
  (context, microBatchSize) =>
    supervisedFineTune(
      context,
      freshWeights(),
      { conversations: ANSWERS_OF_MANY_LENGTHS, heldOut: CHATS.slice(0, 2) },
      { epochs: 1, batchSize: 4, learningRate: 1e-3, optimizer, microBatchSize },
    );

/** So that the parts of a batch hold different numbers of tokens to learn. */
const ANSWERS_OF_MANY_LENGTHS: readonly (readonly Message[])[] = CHATS.map(([question], i) => [
  question,
  { role: 'assistant', content: '日月'.repeat(1 + (i % 5)) },
]);

const RUNS: Readonly<Record<string, Run>> = {
  pretrain: pretrainWith('adamw'),
  'pretrain with Muon': pretrainWith('muon'),
  sft: fineTuneWith('adamw'),
  'sft with Muon': fineTuneWith('muon'),
  reward: (context, microBatchSize) =>
    trainRewardModel(
      context,
      freshWeights(),
      { pairs: PAIRS, heldOut: PAIRS.slice(0, 4) },
      { epochs: 1, batchSize: 8, learningRate: 1e-3, rehearsalCoefficient: 0.5, microBatchSize },
    ),
};

/**
 * The numbers of a weight that the loss depends on. The others have no gradient but the noise of rounding, which Adam
 * makes steps of: a bias on all keys adds the same to all scores of a query, and what adds the same to all rewards cancels
 * in a pair.
 */
function whatCounts(stage: string, name: string, { data }: NdArray): number[] {
  if (stage === 'reward' && name === 'reward_head.bias') return [];
  const [from, to] = /c_attn\.bias$/.test(name) ? [data.length / 3, (2 * data.length) / 3] : [0, 0];
  return Array.from(data as Float32Array).filter((_, i) => i < from || i >= to);
}

/** The weights after five steps: the first five are asked for by stopping there. */
async function afterFiveSteps(run: Run, microBatchSize?: number) {
  let kept: SavedState | undefined;
  const io = recordingIo({
    stopAfter: 5,
    keep: ({ tensors, state }) => {
      const copies = Object.entries(tensors).map(([name, array]) => [
        name,
        { ...array, data: array.data.slice() },
      ]);
      kept = { tensors: Object.fromEntries(copies) as Record<string, NdArray>, state };
    },
  });
  await expect(run(contextFor(runtime, { io }), microBatchSize)).rejects.toThrow(Stopped);
  return { saved: kept!, records: io.records };
}

describe.each(Object.entries(RUNS))('%s in micro-batches', (stage, run) => {
  it.each([1, 2])('of %d moves the weights as the whole batch does', async (microBatchSize) => {
    const whole = await afterFiveSteps(run);
    const parts = await afterFiveSteps(run, microBatchSize);
    expect(whole.records).toHaveLength(5);
    parts.records.forEach((record, i) => {
      const expected = whole.records[i];
      expectClose([record.loss, record.gradientNorm], [expected.loss, expected.gradientNorm]);
      expect(record.tokens).toBe(expected.tokens);
      expectClose(Object.values(record.figures ?? {}), Object.values(expected.figures ?? {}));
    });
    const weights = Object.keys(whole.saved.tensors).filter((name) => name.startsWith('weights:'));
    expect(weights.length).toBeGreaterThan(5);
    for (const name of weights) {
      const [a, b] = [parts.saved, whole.saved].map(({ tensors }) =>
        whatCounts(stage, name.slice(8), tensors[name]),
      );
      if (b.length > 0) expect(relativeError(a, b), name).toBeLessThan(1e-5);
    }
  });

  it('goes on after an interruption as if there had been none', async () => {
    const config = { ...CONFIG, dropout: 0.1 };
    const whole = contextFor(runtime, { config });
    const expected = await run(whole, 2);
    let saved: SavedState | undefined;
    const stopping = recordingIo({
      stopAfter: 3,
      keep: (state) => {
        saved = state;
      },
    });
    await expect(run(contextFor(runtime, { config, io: stopping }), 2)).rejects.toThrow(Stopped);
    const rest = contextFor(runtime, { config, io: recordingIo({ resumed: saved }) });
    const result = await run(rest, 2);
    expect(sameBits(result.weights, expected.weights)).toBe(true);
    expect([...stopping.records, ...rest.io.records]).toEqual(whole.io.records);
  });
});

describe('a part of a batch', () => {
  it('with nothing to learn counts for nothing', async () => {
    const T = 8;
    const row = (learned: readonly number[], token: number) => ({
      ids: new Int32Array(T).fill(token),
      targets: new Int32Array(T).fill(token + 1),
      lossMask: Float32Array.from({ length: T }, (_, t) => Number(learned.includes(t))),
      positions: Int32Array.from({ length: T }, (_, t) => t),
      segments: new Int32Array(T).fill(1),
    });
    const key: NdArray = { dtype: 'int32', shape: [], data: Int32Array.of(7) };
    const train = async (rows: readonly ReturnType<typeof row>[]) => {
      const parts = rows.map((each) => sftBatch([each], key));
      const trainer = await createAccumulatingTrainer({
        runtime,
        loss: sftLoss(CONFIG),
        batch: sftBatchSpec(1, T),
        state: createTrainState(freshWeights()),
        parts: parts.length,
      });
      const result = await trainer.step(parts, 1e-3);
      const { weights } = trainer.state;
      await trainer.release();
      return { result, weights };
    };
    const alone = await train([row([2, 3, 6], 40)]);
    const beside = await train([row([2, 3, 6], 40), row([], 50)]);
    expectClose([beside.result.loss], [alone.result.loss]);
    for (const [name, { data }] of Object.entries(alone.weights))
      expect(relativeError(beside.weights[name].data as Float32Array, data as Float32Array)).toBeLessThan(
        1e-5,
      );
    const none = await train([row([], 40), row([], 50)]);
    expect([none.result.loss, none.result.gradientNorm]).toEqual([0, 0]);
  });
});

describe('the size of a micro-batch', () => {
  const name = { zh: '预训练', en: 'pretraining' };

  it('cuts a batch into parts that come out even', () => {
    expect([undefined, 8, 16, 4, 1].map((size) => countParts(8, size, name))).toEqual([1, 1, 1, 2, 8]);
    expect(splitRows([1, 2, 3, 4, 5, 6], 3)).toEqual([
      [1, 2],
      [3, 4],
      [5, 6],
    ]);
    expect(() => countParts(8, 3, name)).toThrow(
      '--micro-batch-size 3 does not divide the batch of 8 of pretraining; give 1, 2, 4, or change --batch-size.',
    );
  });

  it('is refused by a stage whose batch it does not divide', async () => {
    await expect(RUNS.sft(contextFor(runtime), 3)).rejects.toThrow(/--micro-batch-size 3 does not divide/);
  });
});
