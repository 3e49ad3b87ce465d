import { describe, expect, it } from 'vitest';
import { type ModelConfig, PRESETS } from '../src/config.ts';
import { gptParameters } from '../src/model.ts';
import { initializeParameters } from '../src/nn/parameters.ts';
import { rotaryTables } from '../src/nn/positions.ts';
import { arange, matmul, rotary, tensor } from '../src/tensor/index.ts';

const LENGTH = 24;

/** The first biases of a block's queries, keys and values. */
function biasOf(config: ModelConfig, block: number): Float32Array {
  const name = `blocks.${block}.attention.c_attn.bias`;
  return initializeParameters({ [name]: gptParameters(config)[name] }, 1)[name].data as Float32Array;
}

/** The scores `[LENGTH, LENGTH]` that the first biases of a block alone give one of its heads. */
function scoresOf(config: ModelConfig, block: number, head: number): Float32Array {
  const { hiddenSize, numHeads, numKvHeads, ropeBase } = config;
  const D = hiddenSize / numHeads;
  const bias = biasOf(config, block);
  const [cos, sin] = rotaryTables(LENGTH, D, ropeBase);
  const everywhere = (at: number) => {
    const rows = Float32Array.from({ length: LENGTH * D }, (_, i) => bias[at * D + (i % D)]);
    return rotary(tensor(rows, [1, 1, LENGTH, D]), arange(LENGTH).reshape([1, LENGTH]), cos, sin);
  };
  const key = numHeads + Math.floor((head * numKvHeads) / numHeads);
  const scores = matmul(everywhere(head), everywhere(key), { transposeB: true, scale: 1 / Math.sqrt(D) });
  return scores.data as Float32Array;
}

describe.each([
  ['each head its own keys', PRESETS.mini],
  ['heads that share keys', { ...PRESETS.mini, numKvHeads: 2 }],
])('heads that begin by looking back: %s', (_, config) => {
  it.each([
    [0, 1],
    [1, 2],
  ])('head %i looks %i back, three nats ahead of the places beside', (head, back) => {
    for (const block of [0, 2]) {
      const scores = scoresOf(config, block, head);
      for (let query = back + 1; query < LENGTH - 1; query++) {
        const at = (key: number): number => scores[query * LENGTH + key];
        expect(at(query - back) - at(query - back - 1)).toBeCloseTo(3, 3);
        expect(at(query - back) - at(query - back + 1)).toBeCloseTo(3, 3);
        for (let key = 0; key <= query; key++) expect(at(key)).toBeLessThanOrEqual(at(query - back) + 1e-4);
      }
    }
  });

  it('a quarter of the heads, in the first half of the blocks', () => {
    const isLooking = (block: number, head: number): boolean =>
      scoresOf(config, block, head).some((score) => score !== 0);
    expect([0, 1, 2, 3, 4, 5].map((block) => isLooking(block, 0))).toEqual([
      ...[true, true, true],
      ...[false, false, false],
    ]);
    expect([0, 1, 2, 7].map((head) => isLooking(0, head))).toEqual([true, true, false, false]);
  });
});

it('values begin with no bias; a model without biases has nowhere to look from', () => {
  const { hiddenSize } = PRESETS.mini;
  expect(
    biasOf(PRESETS.mini, 0)
      .slice(2 * hiddenSize)
      .every((value) => value === 0),
  ).toBe(true);
  expect(Object.keys(gptParameters(PRESETS.small)).filter((name) => name.endsWith('bias'))).toEqual([]);
});
