/** @file The tensor: an immutable handle on numbers, or on a place in a graph where numbers will be. */

import { type DType, type NdArray, type Shape, sizeOf, type TypedArray } from './ndarray.ts';
import type { GraphNode, Spec } from './primitive.ts';
import * as elementwise from './primitives/elementwise.ts';
import { matmul } from './primitives/matmul.ts';
import * as movement from './primitives/movement.ts';
import * as reduce from './primitives/reduce.ts';

/** Where the value of a tensor comes from. */
export type TensorSource =
  | { readonly data: TypedArray }
  | { readonly node: GraphNode }
  | { readonly inputName: string };

/** A number where a tensor is expected becomes a scalar of the other operand's type. */
export type TensorLike = Tensor | number;

/**
 * Concrete tensors hold `data`; symbolic ones (made while tracing) name the graph node or graph input they come from.
 * Methods are shorthand for the functions of the same name in `primitives/`.
 */
export class Tensor implements Spec {
  readonly dtype: DType;
  readonly shape: Shape;
  readonly source: TensorSource;

  constructor(spec: Spec, source: TensorSource) {
    this.dtype = spec.dtype;
    this.shape = spec.shape;
    this.source = source;
    if ('data' in source && source.data.length !== sizeOf(spec.shape)) {
      throw new RangeError(`${source.data.length} elements do not fill the shape [${spec.shape}]`);
    }
  }

  get isConcrete(): boolean {
    return 'data' in this.source;
  }

  /** The numbers. Throws an Error for a symbolic tensor, which has none until its graph is run. */
  get value(): NdArray {
    if (!('data' in this.source)) throw new Error('a symbolic tensor has no value: run its graph first');
    return { dtype: this.dtype, shape: this.shape, data: this.source.data };
  }

  get data(): TypedArray {
    return this.value.data;
  }

  get rank(): number {
    return this.shape.length;
  }

  get size(): number {
    return sizeOf(this.shape);
  }

  /** The single element of a scalar or one-element tensor. */
  item(): number {
    if (this.size !== 1) throw new RangeError(`item() needs one element, the shape is [${this.shape}]`);
    return Number(this.data[0]);
  }

  add(other: TensorLike): Tensor {
    return elementwise.add(this, other);
  }
  sub(other: TensorLike): Tensor {
    return elementwise.sub(this, other);
  }
  mul(other: TensorLike): Tensor {
    return elementwise.mul(this, other);
  }
  div(other: TensorLike): Tensor {
    return elementwise.div(this, other);
  }
  neg(): Tensor {
    return elementwise.neg(this);
  }
  exp(): Tensor {
    return elementwise.exp(this);
  }
  log(): Tensor {
    return elementwise.log(this);
  }
  sqrt(): Tensor {
    return elementwise.sqrt(this);
  }
  cast(dtype: DType): Tensor {
    return elementwise.cast(this, dtype);
  }
  matmul(other: Tensor): Tensor {
    return matmul(this, other);
  }
  sum(axis?: number, keepDims = false): Tensor {
    return reduce.sum(this, axis, keepDims);
  }
  mean(axis?: number, keepDims = false): Tensor {
    return reduce.mean(this, axis, keepDims);
  }
  max(axis?: number, keepDims = false): Tensor {
    return reduce.max(this, axis, keepDims);
  }
  reshape(shape: Shape): Tensor {
    return movement.reshape(this, shape);
  }
  transpose(permutation: readonly number[]): Tensor {
    return movement.transpose(this, permutation);
  }
}

/** A concrete tensor from an array of numbers (rounded to the type) or from ready storage. */
export function tensor(
  values: readonly number[] | TypedArray,
  shape: Shape = [values.length],
  dtype: DType = 'float32',
): Tensor {
  return new Tensor(
    { dtype, shape },
    { data: Array.isArray(values) ? store(values, dtype) : (values as TypedArray) },
  );
}

/** A concrete tensor that shares the storage of `array`. */
export function fromNdArray(array: NdArray): Tensor {
  return new Tensor(array, { data: array.data });
}

/** A scalar. */
export function scalar(value: number, dtype: DType = 'float32'): Tensor {
  return tensor([value], [], dtype);
}

/** A tensor filled with one value. */
export function full(shape: Shape, value: number, dtype: DType = 'float32'): Tensor {
  const size = sizeOf(shape);
  const data = store([value], dtype);
  return movement.broadcastTo(
    tensor(data, shape.map(() => 1) as number[], dtype),
    size === 1 ? shape.map(() => 1) : shape,
  );
}

/** Consecutive int32 numbers `0 .. length-1`. */
export function arange(length: number): Tensor {
  return tensor(
    Int32Array.from({ length }, (_, i) => i),
    [length],
    'int32',
  );
}

/** Store numbers as the given type. */
function store(values: readonly number[], dtype: DType): TypedArray {
  switch (dtype) {
    case 'float32':
      return Float32Array.from(values);
    case 'int32':
      return Int32Array.from(values);
    case 'int64':
      return BigInt64Array.from(values, (value) => BigInt(value));
    case 'int8':
      return Int8Array.from(values);
    case 'bool':
      return Uint8Array.from(values, (value) => (value === 0 ? 0 : 1));
  }
}
