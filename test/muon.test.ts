import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { PRESETS } from '../src/config.ts';
import { gptParameters, hiddenMatrices } from '../src/model.ts';
import { orthogonalize, orthogonalizeOperations } from '../src/nn/muon.ts';
import { createTrainer, createTrainState } from '../src/nn/train-step.ts';
import { pretrain } from '../src/stages/pretrain.ts';
import { saveTrainState } from '../src/stages/stage.ts';
import { fromNdArray, type NdArray, type Runtime, tensor, trace } from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { expectClose, expectSameArray } from './support/close.ts';
import { CONFIG, contextFor, DOCUMENTS, freshWeights, HELD_OUT_DOCUMENTS } from './support/tiny.ts';

type Rows = readonly (readonly number[])[];

interface Fixture {
  readonly orthogonalized: readonly { readonly matrix: Rows; readonly result: Rows }[];
  readonly steps: readonly {
    readonly widths: readonly number[];
    readonly weightDecay: number;
    readonly parameter: Rows;
    readonly moves: readonly {
      readonly learningRate: number;
      readonly gradient: Rows;
      readonly parameter: Rows;
      readonly momentum: Rows;
    }[];
  }[];
}

const FIXTURE = JSON.parse(readFileSync('test/fixtures/muon.json', 'utf8')) as Fixture;
const matrixOf = (rows: Rows): NdArray => tensor(rows.flat(), [rows.length, rows[0].length]).value;

let runtime: Runtime;
beforeAll(async () => {
  runtime = await createNodeRuntime({ threads: 1 });
});

describe('orthogonalisation', () => {
  it('keeps the singular vectors and brings the singular values near 1', () => {
    const rotation = (angle: number) =>
      tensor([Math.cos(angle), -Math.sin(angle), Math.sin(angle), Math.cos(angle)], [2, 2]);
    const [u, v] = [rotation(0.7), rotation(-1.9)];
    const withValues = (first: number, second: number) =>
      u.matmul(tensor([first, 0, 0, second], [2, 2])).matmul(v.transpose([1, 0]));
    for (const values of [
      [3, 3],
      [3, 0.4],
      [40, 1],
    ]) {
      // What the iterations make of each singular value by itself.
      const expected = values.map((value) => {
        let x = value / Math.hypot(...values);
        for (let i = 0; i < 5; i++) x = 3.4445 * x - 4.775 * x ** 3 + 2.0315 * x ** 5;
        return x;
      });
      for (const value of expected) expect(Math.abs(value - 0.94)).toBeLessThan(0.27);
      const { data } = orthogonalize(withValues(values[0], values[1]));
      expectClose(data, withValues(expected[0], expected[1]).data, { relative: 1e-4, absolute: 1e-5 });
    }
  });

  it.each(
    FIXTURE.orthogonalized.map(({ matrix, result }) => [matrix.length, matrix[0].length, matrix, result]),
  )(
    'of a [%i, %i] matrix agrees with PyTorch, interpreted and compiled',
    async (_rows, _columns, matrix, result) => {
      const feeds = { matrix: matrixOf(matrix as Rows) };
      const expected = matrixOf(result as Rows);
      const executable = await runtime.compile(
        trace(feeds, (symbolic) => ({ result: orthogonalize(symbolic.matrix) })),
      );
      const tolerance = { relative: 1e-4, absolute: 1e-5 };
      expectSameArray(orthogonalize(fromNdArray(feeds.matrix)).value, expected, tolerance, 'interpreted');
      expectSameArray((await executable.run(feeds))['result'], expected, tolerance, 'compiled');
      await executable.release();
    },
  );

  it('of zeros is zeros', () => {
    expect([...orthogonalize(tensor([0, 0, 0, 0, 0, 0], [2, 3])).data]).toEqual([0, 0, 0, 0, 0, 0]);
  });

  it('costs the same lying and standing, and as much as its matrices together', () => {
    // X Xᵀ and A X: 2 · 2² · 3 each; A²: 2 · 2³.
    expect(orthogonalizeOperations(2, [3])).toBe(5 * (24 + 24 + 16));
    // X Xᵀ once, and P X once; between them five A², four P P, and eight P A.
    expect(orthogonalizeOperations(2, [8])).toBe(2 * (2 * 4 * 8) + 17 * 16);
    expect(orthogonalizeOperations(3, [2])).toBe(orthogonalizeOperations(2, [3]));
    expect(orthogonalizeOperations(2, [3, 3])).toBe(2 * orthogonalizeOperations(2, [3]));
  });
});

describe('a step of Muon', () => {
  it.each(FIXTURE.steps.map((each) => [each.widths.join(' + '), each] as const))(
    'on a weight of width %s agrees with PyTorch, three times in a row',
    async (_, { widths, weightDecay, parameter, moves }) => {
      const weights = { weight: matrixOf(parameter) };
      const matrices = { weight: widths };
      const trainer = await createTrainer({
        runtime,
        // Its gradient is what it is multiplied by.
        loss: ({ weight }, { gradient }) => ({ loss: weight.mul(gradient).sum() }),
        batch: { gradient: weights.weight },
        state: createTrainState(weights, matrices),
        optimizer: { weightDecay },
        matrices,
      });
      for (const move of moves) {
        const { gradientNorm } = await trainer.step({ gradient: matrixOf(move.gradient) }, move.learningRate);
        expect(gradientNorm, 'the fixture is not clipped').toBeLessThan(1);
        const { weights: after, means } = trainer.state;
        expectSameArray(means['weight'], matrixOf(move.momentum), { relative: 1e-5, absolute: 1e-7 });
        expectSameArray(after['weight'], matrixOf(move.parameter), { relative: 1e-5, absolute: 3e-6 });
      }
      await trainer.release();
    },
  );

  it('is for the matrices inside the blocks, queries, keys and values apart', () => {
    expect(hiddenMatrices({ ...PRESETS.nano, numLayers: 1, numKvHeads: 1 })).toEqual({
      'blocks.0.attention.c_attn.weight': [64, 32, 32],
      'blocks.0.attention.c_proj.weight': [64],
      'blocks.0.feed_forward.linear1.weight': [256],
      'blocks.0.feed_forward.linear2.weight': [64],
    });
    for (const config of Object.values(PRESETS)) {
      const specs = gptParameters(config);
      for (const [name, widths] of Object.entries(hiddenMatrices(config)))
        expect(
          widths.reduce((a, b) => a + b),
          name,
        ).toBe(specs[name].shape[1]);
    }
  });

  it('keeps one array for each of its weights where AdamW keeps two', () => {
    const weights = freshWeights();
    const matrices = hiddenMatrices(CONFIG);
    const { tensors } = saveTrainState(createTrainState(weights, matrices));
    for (const name of Object.keys(weights)) {
      const kept = ['weights', 'means', 'variances'].filter((kind) => `${kind}:${name}` in tensors);
      expect(kept, name).toHaveLength(name in matrices ? 2 : 3);
    }
  });
});

describe('with Muon', () => {
  it('a tiny model learns a text about as fast as with AdamW, from the same weights', async () => {
    const run = async (optimizer: 'adamw' | 'muon') => {
      const { evaluations } = await pretrain(
        contextFor(runtime),
        { documents: DOCUMENTS, heldOut: HELD_OUT_DOCUMENTS },
        { epochs: 2, batchSize: 4, learningRate: 1e-2, warmupSteps: 2, optimizer },
      );
      return evaluations[0];
    };
    const [adamw, muon] = [await run('adamw'), await run('muon')];
    expect(muon.before).toBe(adamw.before);
    const learned = ({ before, after }: typeof muon): number => before! - after;
    expect(learned(muon)).toBeGreaterThan(0.95 * learned(adamw));
  });
});
