import { beforeAll, describe, expect, it } from 'vitest';
import { rowBatch } from '../src/data/rows.ts';
import { tokenLogProbabilities } from '../src/nn/losses.ts';
import { bindParameters, initializeParameters } from '../src/nn/parameters.ts';
import { RewardModel, rewardParameters } from '../src/scorer.ts';
import { packPairs, pairBatchSpec, pairLength, rowLengthFor } from '../src/stages/pair-rows.ts';
import { type RenderedPair, renderPairs } from '../src/stages/pairs.ts';
import { rewardLoss } from '../src/stages/reward-model.ts';
import { fromNdArray, type Runtime, tensor, trace } from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { expectClose } from './support/close.ts';
import { fc } from './support/property.ts';
import { CONFIG, PAIRS, tokenizer } from './support/tiny.ts';

/** A prompt of one token, 7, and the answers. */
function pairOf(chosen: readonly number[], rejected: readonly number[]): RenderedPair {
  return {
    chosen: Int32Array.of(7, ...chosen),
    rejected: Int32Array.of(7, ...rejected),
    promptLength: 1,
  };
}

describe('rows of pairs', () => {
  it('hold both conversations of each pair, one after the other', () => {
    const [row] = packPairs([pairOf([10, 11], [20]), pairOf([30], [40])], 11);
    expect(row).toEqual({
      ids: Int32Array.of(7, 10, 11, 7, 20, 7, 30, 7, 40, 0, 0),
      targets: Int32Array.of(10, 11, 0, 20, 0, 30, 0, 40, 0, 0, 0),
      positions: Int32Array.of(0, 1, 2, 0, 1, 0, 1, 0, 1, 0, 0),
      segments: Int32Array.of(1, 1, 1, 2, 2, 3, 3, 4, 4, 0, 0),
      share: Float32Array.of(0.5, 0.5, 0, 0, 0, 1, 0, 0, 0, 0, 0),
      chosenEnd: Float32Array.of(0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0),
      rejectedEnd: Int32Array.of(0, 0, 4, 0, 0, 0, 8, 0, 0, 0, 0),
    });
  });

  it('hold every pair once, whole, whatever their lengths', () => {
    const lengths = fc.tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 12 }));
    fc.assert(
      fc.property(fc.array(lengths, { minLength: 1, maxLength: 30 }), (all) => {
        const pairs = all.map(([chosen, rejected], i) =>
          pairOf(Array(chosen).fill(100 + i), Array(rejected).fill(500 + i)),
        );
        const T = rowLengthFor(pairs, 16);
        const found = packPairs(pairs, T).flatMap(({ ids, chosenEnd, rejectedEnd }) =>
          [...chosenEnd.keys()]
            .filter((place) => chosenEnd[place] === 1)
            .map((place) => [ids[place], ids[rejectedEnd[place]]]),
        );
        expect(found.sort()).toEqual(pairs.map((_, i) => [100 + i, 500 + i]).sort());
        expect(T).toBe(Math.max(16, ...pairs.map(pairLength)));
      }),
    );
  });

  it('are batches of the shapes that are announced', () => {
    const batch = rowBatch([...packPairs([pairOf([10], [20])], 8), ...packPairs([pairOf([10], [20])], 8)]);
    const shapes = (of: Record<string, { dtype: string; shape: readonly number[] }>) =>
      Object.entries(of).map(([name, { dtype, shape }]) => [name, dtype, shape]);
    expect(shapes(batch)).toEqual(shapes(pairBatchSpec(2, 8)));
  });
});

describe('the loss of packed pairs', () => {
  let runtime: Runtime;
  beforeAll(async () => {
    runtime = await createNodeRuntime({ threads: 1 });
  });

  it('is that of each pair by itself', async () => {
    const weights = initializeParameters(rewardParameters(CONFIG), 4);
    const longer = PAIRS.map((pair, i) =>
      i % 3 === 0 ? { ...pair, rejected: pair.rejected.repeat(4) } : pair,
    );
    const pairs = renderPairs(tokenizer, longer.slice(0, 7), CONFIG.contextLength).rendered;
    const rows = packPairs(pairs, CONFIG.contextLength * 2);
    expect(rows.length).toBeLessThan(pairs.length);

    const model = new RewardModel(bindParameters(weights), CONFIG);
    const readingOf = (conversation: Int32Array) => {
      const ids = tensor(conversation, [1, conversation.length], 'int32');
      const { hidden } = model.body.forward(ids);
      return { reward: Number(model.read(hidden).value.data.at(-1)), hidden };
    };
    const alone = pairs.map(({ chosen, rejected, promptLength }) => {
      const better = readingOf(chosen);
      const margin = better.reward - readingOf(rejected).reward;
      const targets = Int32Array.of(...chosen.subarray(1), 0);
      const logProbabilities = tokenLogProbabilities(
        model.body.logits(better.hidden),
        tensor(targets, [1, targets.length], 'int32'),
      );
      const answer = Array.from({ length: chosen.length - promptLength }, (_, i) => promptLength - 1 + i);
      const data = logProbabilities.value.data;
      return {
        preference: Math.log(1 + Math.exp(-margin)),
        margin,
        rehearsal: -answer.reduce((total, place) => total + Number(data[place]), 0) / answer.length,
      };
    });
    const mean = (of: (reading: (typeof alone)[number]) => number): number =>
      alone.reduce((total, reading) => total + of(reading), 0) / alone.length;

    const batch = rowBatch(rows);
    const tensors = Object.fromEntries(
      Object.entries(weights).map(([name, array]) => [name, fromNdArray(array)]),
    );
    const executable = await runtime.compile(
      trace(batch, (symbolic) => {
        const { loss, metrics } = rewardLoss(CONFIG, 0.5)(tensors, symbolic);
        return { loss, ...metrics };
      }),
    );
    const { loss, margin, rehearsalLoss, accuracy } = await executable.run(batch);
    await executable.release();
    const numbers = [loss, margin, rehearsalLoss, accuracy].map(({ data }) => Number(data[0]));
    expectClose(
      numbers,
      [
        mean(({ preference, rehearsal }) => preference + 0.5 * rehearsal),
        mean((reading) => reading.margin),
        mean(({ rehearsal }) => rehearsal),
        mean((reading) => Number(reading.margin > 0)),
      ],
      { absolute: 1e-5 },
    );
  });
});
