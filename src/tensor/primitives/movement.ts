/** @file Primitives that move elements without changing them: reshape, transpose, slice, split, concat, broadcast. */

import { allocate, type NdArray, type Shape, sizeOf, type TypedArray } from '../ndarray.ts';
import { apply, applyAll, definePrimitive } from '../primitive.ts';
import {
  aroundAxis,
  broadcastOffsets,
  normalizeAxis,
  sameShape,
  stridedOffsets,
  stridesOf,
} from '../shape.ts';
import { full, type Tensor } from '../tensor.ts';
import { sampleArray } from './samples.ts';

/** A new array of the elements of `x` at the given offsets. */
function pick(x: NdArray, offsets: Int32Array): TypedArray {
  const result = allocate(x.dtype, offsets.length);
  for (let i = 0; i < offsets.length; i++) result[i] = x.data[offsets[i]];
  return result;
}

/** The same elements in row-major order under another shape. */
export const reshapePrimitive = definePrimitive<{ readonly shape: Shape }>({
  name: 'reshape',
  shape([x], { shape }) {
    if (sizeOf(shape) !== sizeOf(x.shape)) throw new RangeError(`cannot reshape [${x.shape}] to [${shape}]`);
    return [{ dtype: x.dtype, shape }];
  },
  reference: ([x]) => [x.data],
  vjp: ([g], { inputs: [x] }) => [g && reshape(g, x.shape)],
  onnx: (builder, [x], { shape }) => builder.node('Reshape', [x, builder.ints(shape)]),
  samples: () => [{ inputs: [sampleArray([2, 6], [-2, 2], 1)], attributes: { shape: [3, 2, 2] } }],
});

/** Reorder the axes: axis `i` of the result is axis `permutation[i]` of the input. */
export const transposePrimitive = definePrimitive<{ readonly permutation: readonly number[] }>({
  name: 'transpose',
  shape([x], { permutation }) {
    if (permutation.length !== x.shape.length) {
      throw new RangeError(`permutation [${permutation}] does not fit the shape [${x.shape}]`);
    }
    return [{ dtype: x.dtype, shape: permutation.map((axis) => x.shape[axis]) }];
  },
  reference([x], { permutation }, [out]) {
    const strides = stridesOf(x.shape);
    return [
      pick(
        x,
        stridedOffsets(
          out.shape,
          permutation.map((axis) => strides[axis]),
        ),
      ),
    ];
  },
  vjp([g], { attributes: { permutation } }) {
    const inverse = new Array<number>(permutation.length);
    permutation.forEach((from, to) => {
      inverse[from] = to;
    });
    return [g && transpose(g, inverse)];
  },
  onnx: (builder, [x], { permutation }) => builder.node('Transpose', [x], { perm: permutation }),
  samples: () => [
    { inputs: [sampleArray([2, 3, 4], [-2, 2], 1)], attributes: { permutation: [2, 0, 1] } },
    { inputs: [sampleArray([2, 3, 2, 4], [-2, 2], 2)], attributes: { permutation: [0, 2, 1, 3] } },
  ],
});

/** Repeat along axes of length 1 (and new leading axes) up to a shape. */
export const broadcastToPrimitive = definePrimitive<{ readonly shape: Shape }>({
  name: 'broadcastTo',
  shape: ([x], { shape }) => [{ dtype: x.dtype, shape }],
  reference: ([x], { shape }) => [pick(x, broadcastOffsets(x.shape, shape))],
  // The gradient keeps the broadcast shape: `gradients` sums it back.
  vjp: ([g]) => [g],
  onnx: (builder, [x], { shape }) => builder.node('Expand', [x, builder.ints(shape)]),
  samples: () => [
    { inputs: [sampleArray([3, 1], [-2, 2], 1)], attributes: { shape: [2, 3, 4] } },
    { inputs: [sampleArray([], [-2, 2], 2)], attributes: { shape: [2, 2] } },
  ],
});

interface SliceAttributes {
  readonly axis: number;
  readonly start: number;
  readonly end: number;
}

/** Elements `start .. end-1` along an axis. */
export const slicePrimitive = definePrimitive<SliceAttributes>({
  name: 'slice',
  shape([x], { axis, start, end }) {
    if (start < 0 || end > x.shape[axis] || start >= end) {
      throw new RangeError(`slice ${start}..${end} is outside axis ${axis} of the shape [${x.shape}]`);
    }
    return [{ dtype: x.dtype, shape: x.shape.map((length, i) => (i === axis ? end - start : length)) }];
  },
  reference([x], { axis, start }, [out]) {
    const strides = stridesOf(x.shape);
    return [pick(x, stridedOffsets(out.shape, strides, start * strides[axis]))];
  },
  vjp([g], { inputs: [x], attributes: { axis, start, end } }) {
    if (!g) return [];
    const zeros = (length: number): Tensor =>
      full(
        x.shape.map((l, i) => (i === axis ? length : l)),
        0,
      );
    const parts = [g];
    if (start > 0) parts.unshift(zeros(start));
    if (end < x.shape[axis]) parts.push(zeros(x.shape[axis] - end));
    return [concat(parts, axis)];
  },
  onnx: (builder, [x], { axis, start, end }) =>
    builder.node('Slice', [x, builder.ints([start]), builder.ints([end]), builder.ints([axis])]),
  samples: () => [
    { inputs: [sampleArray([3, 5], [-2, 2], 1)], attributes: { axis: 1, start: 1, end: 4 } },
    { inputs: [sampleArray([3, 5], [-2, 2], 2)], attributes: { axis: 0, start: 0, end: 2 } },
  ],
});

/** Put tensors one after another along an axis. */
export const concatPrimitive = definePrimitive<{ readonly axis: number }>({
  name: 'concat',
  shape(inputs, { axis }) {
    const [first] = inputs;
    for (const { shape } of inputs) {
      if (shape.length !== first.shape.length || shape.some((l, i) => i !== axis && l !== first.shape[i])) {
        throw new RangeError(`cannot concatenate [${first.shape}] and [${shape}] along axis ${axis}`);
      }
    }
    const total = inputs.reduce((length, { shape }) => length + shape[axis], 0);
    return [{ dtype: first.dtype, shape: first.shape.map((length, i) => (i === axis ? total : length)) }];
  },
  reference(inputs, { axis }, [out]) {
    const result = allocate(out.dtype, sizeOf(out.shape));
    const { outer, inner } = aroundAxis(out.shape, axis);
    let offset = 0;
    for (let o = 0; o < outer; o++) {
      for (const { data, shape } of inputs) {
        const block = shape[axis] * inner;
        result.set(data.subarray(o * block, (o + 1) * block) as never, offset);
        offset += block;
      }
    }
    return [result];
  },
  vjp: ([g], { inputs, attributes: { axis } }) =>
    g
      ? split(
          g,
          inputs.map(({ shape }) => shape[axis]),
          axis,
        )
      : [],
  onnx: (builder, inputs, { axis }) => builder.node('Concat', inputs, { axis }),
  samples: () => [
    { inputs: [sampleArray([2, 3], [-2, 2], 1), sampleArray([2, 1], [-2, 2], 2)], attributes: { axis: 1 } },
    { inputs: [sampleArray([1, 3], [-2, 2], 3), sampleArray([2, 3], [-2, 2], 4)], attributes: { axis: 0 } },
  ],
});

interface SplitAttributes {
  readonly axis: number;
  readonly sizes: readonly number[];
}

/** Cut along an axis into parts of the given sizes: the inverse of concat. */
export const splitPrimitive = definePrimitive<SplitAttributes>({
  name: 'split',
  shape([x], { axis, sizes }) {
    if (sizes.reduce((a, b) => a + b, 0) !== x.shape[axis]) {
      throw new RangeError(`parts of sizes [${sizes}] do not fill axis ${axis} of the shape [${x.shape}]`);
    }
    return sizes.map((size) => ({ dtype: x.dtype, shape: x.shape.map((l, i) => (i === axis ? size : l)) }));
  },
  reference([x], { axis, sizes }, outputs) {
    const strides = stridesOf(x.shape);
    let start = 0;
    return sizes.map((size, i) => {
      const part = pick(x, stridedOffsets(outputs[i].shape, strides, start * strides[axis]));
      start += size;
      return part;
    });
  },
  vjp: (cotangents, { outputs, attributes: { axis } }) => [
    concat(
      cotangents.map((g, i) => g ?? full(outputs[i].shape, 0)),
      axis,
    ),
  ],
  onnx: (builder, [x], { axis, sizes }) =>
    builder.node('Split', [x, builder.ints(sizes)], { axis }, { outputs: sizes.length }),
  samples: () => [
    { inputs: [sampleArray([2, 6, 2], [-2, 2], 1)], attributes: { axis: 1, sizes: [1, 2, 3] } },
  ],
});

/** The same elements under another shape; one length may be -1 and is worked out. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const known = shape.reduce((product, length) => (length === -1 ? product : product * length), 1);
  const resolved = shape.map((length) => (length === -1 ? x.size / known : length));
  return sameShape(resolved, x.shape) ? x : apply(reshapePrimitive, [x], { shape: resolved });
}

export const transpose = (x: Tensor, permutation: readonly number[]): Tensor =>
  apply(transposePrimitive, [x], { permutation });

export const broadcastTo = (x: Tensor, shape: Shape): Tensor =>
  sameShape(x.shape, shape) ? x : apply(broadcastToPrimitive, [x], { shape });

export function slice(x: Tensor, axis: number, start: number, end: number): Tensor {
  return apply(slicePrimitive, [x], { axis: normalizeAxis(axis, x.rank), start, end });
}

export function concat(parts: readonly Tensor[], axis: number): Tensor {
  return parts.length === 1
    ? parts[0]
    : apply(concatPrimitive, parts, { axis: normalizeAxis(axis, parts[0].rank) });
}

export function split(x: Tensor, sizes: readonly number[], axis: number): readonly Tensor[] {
  return applyAll(splitPrimitive, [x], { axis: normalizeAxis(axis, x.rank), sizes });
}
