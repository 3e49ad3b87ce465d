/** @file Small reproducible arrays on which primitives are tested. */

import { allocate, type DType, type NdArray, type Shape, sizeOf } from '../ndarray.ts';
import { createRandom } from '../random.ts';

/** Uniform numbers in `[low, high]` (whole numbers for the integer types, 0 or 1 for bool). */
export function sampleArray(
  shape: Shape,
  [low, high]: readonly [number, number],
  seed: number,
  dtype: DType = 'float32',
): NdArray {
  const random = createRandom(seed);
  const data = allocate(dtype, sizeOf(shape));
  for (let i = 0; i < data.length; i++) {
    const value = low + (high - low) * random.uniform();
    if (data instanceof BigInt64Array) data[i] = BigInt(Math.round(value));
    else data[i] = dtype === 'float32' ? value : Math.round(value);
  }
  return { dtype, shape, data };
}

/** An int32 array of given numbers. */
export function indexArray(values: readonly number[], shape: Shape = [values.length]): NdArray {
  return { dtype: 'int32', shape, data: Int32Array.from(values) };
}
