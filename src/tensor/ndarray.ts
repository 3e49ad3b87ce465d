/** @file The one data type of the system: a dense, row-major array with a shape and an element type. */

/** Element types. `bool` is one byte per element, 0 or 1; `int8` holds quantized weights. */
export type DType = 'float32' | 'int32' | 'int64' | 'int8' | 'bool';

/** Storage of each element type. */
export type TypedArray = Float32Array | Int32Array | BigInt64Array | Int8Array | Uint8Array;

/** Sizes of the axes, outermost first; `[]` is a scalar. */
export type Shape = readonly number[];

/** A concrete array: `data` holds `sizeOf(shape)` elements in row-major order. */
export interface NdArray {
  readonly dtype: DType;
  readonly shape: Shape;
  readonly data: TypedArray;
}

/** Number of elements of a shape (1 for a scalar). */
export function sizeOf(shape: Shape): number {
  let size = 1;
  for (const length of shape) size *= length;
  return size;
}

/** A zero-filled storage array of `size` elements. */
export function allocate(dtype: DType, size: number): TypedArray {
  switch (dtype) {
    case 'float32':
      return new Float32Array(size);
    case 'int32':
      return new Int32Array(size);
    case 'int64':
      return new BigInt64Array(size);
    case 'int8':
      return new Int8Array(size);
    case 'bool':
      return new Uint8Array(size);
  }
}

/** An array of zeros. */
export function zerosOf(dtype: DType, ...shape: number[]): NdArray {
  return { dtype, shape, data: allocate(dtype, sizeOf(shape)) };
}
