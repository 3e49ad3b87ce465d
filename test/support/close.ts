/** @file The one way in which tests compare numbers. */

import { expect } from 'vitest';
import type { NdArray } from '../../src/tensor/ndarray.ts';

export interface Tolerance {
  /** Allowed difference relative to the expected value. */
  readonly relative?: number;
  /** Allowed absolute difference. */
  readonly absolute?: number;
}

/**
 * Every element agrees: `|actual - expected| <= absolute + relative |expected|`; NaN never agrees with anything.
 * Fails with the worst element.
 */
export function expectClose(
  actual: ArrayLike<number | bigint>,
  expected: ArrayLike<number | bigint>,
  { relative = 1e-5, absolute = 1e-6 }: Tolerance = {},
  label = 'arrays',
): void {
  expect(actual.length, `${label}: length`).toBe(expected.length);
  let worst = -1;
  let worstExcess = 0;
  for (let i = 0; i < expected.length; i++) {
    const [a, e] = [Number(actual[i]), Number(expected[i])];
    const excess = Math.abs(a - e) - (absolute + relative * Math.abs(e));
    if (!(excess <= worstExcess)) {
      worst = i;
      worstExcess = Number.isNaN(excess) ? Number.POSITIVE_INFINITY : excess;
    }
  }
  if (worst >= 0) expect.fail(`${label}: element ${worst} is ${actual[worst]}, expected ${expected[worst]}`);
}

/** `expectClose` on the data, and equality of shape and type. */
export function expectSameArray(
  actual: NdArray,
  expected: NdArray,
  tolerance?: Tolerance,
  label?: string,
): void {
  expect([actual.dtype, ...actual.shape], label).toEqual([expected.dtype, ...expected.shape]);
  expectClose(actual.data, expected.data, tolerance, label);
}

/** `|actual - expected| / |expected|` in the Euclidean norm: the error of a whole array. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i] - expected[i]) ** 2;
    norm += expected[i] ** 2;
  }
  return Math.sqrt(difference / (norm || 1));
}
