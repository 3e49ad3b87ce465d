import { beforeAll, describe, expect, it } from 'vitest';
import { createAccumulatingTrainer } from '../src/nn/gradient-accumulation.ts';
import { createTrainer, createTrainState } from '../src/nn/train-step.ts';
import { createLossWatch } from '../src/stages/loss-watch.ts';
import { keyOf, pretrainBatchSpec, pretrainLoss } from '../src/stages/pretrain.ts';
import { checkStep } from '../src/stages/stage.ts';
import type { NdArray, Runtime } from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { CONFIG, freshWeights, sameBits } from './support/tiny.ts';

let runtime: Runtime;
beforeAll(async () => {
  runtime = await createNodeRuntime({ threads: 1 });
});

const SPEC = pretrainBatchSpec(2, 8);
const BATCH = {
  ids: { ...SPEC.ids, data: Int32Array.from({ length: 16 }, (_, i) => 20 + i) },
  targets: { ...SPEC.targets, data: Int32Array.from({ length: 16 }, (_, i) => 21 + i) },
  dropoutKey: keyOf(1, 1),
};

/** Fresh weights with one number in one of them replaced. */
function spoilt(name: string, value: number): Record<string, NdArray> {
  const weights = freshWeights();
  const data = (weights[name].data as Float32Array).slice();
  data[3] = value;
  return { ...weights, [name]: { ...weights[name], data } };
}

describe('a step that breaks', () => {
  const name = 'blocks.0.feed_forward.linear1.weight';

  it.each([1, 2])('in %d parts is not taken, and is named by stage, step and tensor', async (parts) => {
    const weights = spoilt(name, Number.NaN);
    const state = createTrainState(weights);
    const options = { runtime, loss: pretrainLoss(CONFIG), batch: SPEC, state, parts };
    const trainer = await createAccumulatingTrainer(options);
    const result = await trainer.step(Array(parts).fill(BATCH), 1e-3);
    expect(Number.isFinite(result.loss)).toBe(false);
    expect(result.breakdown).toMatchObject({ largest: { name, size: Number.NaN } });
    expect(Object.keys(weights)).toContain(result.breakdown?.gradient);
    expect(() => checkStep('pretrain', 7, result)).toThrow(
      /^In step 7 of stage pretrain the loss became NaN \(first in the gradient of \S+; the largest weight, NaN, is in blocks\.0\.feed_forward\.linear1\.weight\); lower --lr/,
    );
    expect(trainer.state.step).toBe(0);
    expect(sameBits(trainer.state.weights, weights)).toBe(true);
    await trainer.release();
  });

  it('leaves the last good state, from which training can go on', async () => {
    const weights = freshWeights();
    const state = createTrainState(weights);
    const bad: NdArray = { dtype: 'float32', shape: [], data: Float32Array.of(Number.NaN) };
    const good: NdArray = { ...bad, data: Float32Array.of(1) };
    const factor = { dtype: 'float32', shape: [] } as const;
    const trainer = await createTrainer({
      runtime,
      // The factor reaches the gradient of one weight alone.
      loss: (parameters, { factor, ...batch }) => {
        const { loss } = pretrainLoss(CONFIG)(parameters, batch);
        return { loss: loss.add(parameters[name].mul(factor).sum()) };
      },
      batch: { ...SPEC, factor },
      state,
    });
    await trainer.step({ ...BATCH, factor: good }, 1e-3);
    const after = Object.fromEntries(
      Object.entries(trainer.state.weights).map(([each, array]) => [
        each,
        { ...array, data: array.data.slice() } as NdArray,
      ]),
    );
    const { breakdown } = await trainer.step({ ...BATCH, factor: bad }, 1e-3);
    expect(breakdown?.gradient).toBe(name);
    expect(sameBits(trainer.state.weights, after)).toBe(true);
    const next = await trainer.step({ ...BATCH, factor: good }, 1e-3);
    expect(next.breakdown).toBeUndefined();
    expect(trainer.state.step).toBe(2);
    await trainer.release();
  });
});

describe('a loss that explodes', () => {
  const watchAll = (losses: readonly number[]): [number, string][] => {
    const watch = createLossWatch();
    return losses.flatMap((loss, i) => {
      const note = watch(i + 1, loss);
      return note ? [[i + 1, note.en] as [number, string]] : [];
    });
  };
  const repeat = (value: number, count: number): number[] => Array(count).fill(value);

  it('is told once, when it has stayed far above the median for 20 steps', () => {
    const told = watchAll([...repeat(2, 60), ...repeat(8.1, 50)]);
    expect(told).toEqual([
      [80, expect.stringMatching(/^Since step 61 the loss .*\(8\.10 now, a median of 2\.00 before\).*--lr/)],
    ]);
    expect(watchAll([...repeat(2, 60), ...repeat(9, 25), 2, ...repeat(9, 25)])).toHaveLength(2);
  });

  it('is not told of a few bad batches, of a loss near the limit, or of a beginning', () => {
    expect(watchAll([...repeat(2, 60), ...repeat(50, 19), 2, ...repeat(50, 19)])).toEqual([]);
    expect(watchAll([...repeat(2, 60), ...repeat(8, 50)])).toEqual([]);
    expect(watchAll([...repeat(-0.1, 60), ...repeat(2.2, 50)])).toEqual([]);
    expect(watchAll([9, 8, 7, 6, ...repeat(5, 50)])).toEqual([]);
  });
});
