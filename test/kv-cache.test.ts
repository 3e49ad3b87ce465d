import { expect, test } from 'vitest';
import type { ModelConfig } from '../src/config.ts';
import { KvCache } from '../src/kv-cache.ts';
import { MASKED } from '../src/model.ts';
import type { NdArray } from '../src/tensor/index.ts';
import { CONFIG as TINY } from './support/tiny.ts';

/** One layer with one head of width 1: a row is a number. */
const CONFIG: ModelConfig = {
  ...TINY,
  numLayers: 1,
  numHeads: 1,
  numKvHeads: 1,
  hiddenSize: 1,
  contextLength: 256,
};

const rows = (...sequences: number[][]): Record<string, NdArray> => {
  const array = (sign: number): NdArray => ({
    dtype: 'float32',
    shape: [sequences.length, 1, sequences[0].length, 1],
    data: Float32Array.from(sequences.flat().map((value) => sign * value)),
  });
  return { new_keys0: array(1), new_values0: array(-1) };
};

/** What the sequences can see: the keys that the mask leaves open. */
const seen = (cache: KvCache, places: number): number[][] => {
  const { keys0, values0, mask } = cache.arraysOf(places);
  return Array.from(cache.lengths, (length, b) => {
    const open = Array.from({ length: places }, (_, i) => i).filter(
      (i) => mask.data[b * (places + 1) + i] !== MASKED,
    );
    expect(open).toEqual(Array.from({ length }, (_, i) => i));
    expect(mask.data[b * (places + 1) + places]).toBe(0);
    return open.map((i) => {
      expect(values0.data[b * places + i]).toBe(-keys0.data[b * places + i]);
      return keys0.data[b * places + i] as number;
    });
  });
};

test('rows are filled in, added, exchanged and forgotten', () => {
  const cache = new KvCache(CONFIG, 3, 256);
  expect(cache.isEmpty).toBe(true);
  cache.fill(0, [2, 1, 3], rows([1, 2, 99], [3, 99, 99], [4, 5, 6]));
  expect(cache.isEmpty).toBe(false);
  expect(seen(cache, 64)).toEqual([[1, 2], [3], [4, 5, 6]]);
  cache.append(rows([7], [8], [9]), (b) => b !== 1);
  expect(seen(cache, 64)).toEqual([[1, 2, 7], [3], [4, 5, 6, 9]]);
  cache.reorder([2, 0]);
  expect(seen(cache, 64)).toEqual([
    [4, 5, 6, 9],
    [1, 2, 7],
    [4, 5, 6, 9],
  ]);
  cache.fill(1, [1], rows([10, 99]));
  cache.empty(2);
  expect(seen(cache, 64)).toEqual([[4, 5, 6, 9], [10], []]);
});

test('what is held moves into larger arrays, and back into smaller ones', () => {
  const cache = new KvCache(CONFIG, 2, 200);
  cache.fill(0, [2, 1], rows([1, 2], [3, 99]));
  expect(cache.fit(65)).toBe(128);
  expect(seen(cache, 128)).toEqual([[1, 2], [3]]);
  cache.append(rows([4], [5]), () => true);
  expect(cache.fit(3)).toBe(64);
  expect(seen(cache, 64)).toEqual([
    [1, 2, 4],
    [3, 5],
  ]);
  expect([64, 65, 129].map((length) => cache.placesFor(length))).toEqual([64, 128, 200]);
});
