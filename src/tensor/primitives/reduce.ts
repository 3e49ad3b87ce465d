/** @file Primitives that fold an axis: sum, max, argmax, and the two softmaxes. */

import { allocate, type NdArray, type Shape, sizeOf } from '../ndarray.ts';
import { apply, definePrimitive, type Primitive, type Spec } from '../primitive.ts';
import { aroundAxis, normalizeAxis } from '../shape.ts';
import type { Tensor } from '../tensor.ts';
import { cast, equal, exp } from './elementwise.ts';
import { broadcastTo, reshape } from './movement.ts';
import { sampleArray } from './samples.ts';

interface ReduceAttributes {
  /** Axes to fold, normalised and in rising order. */
  readonly axes: readonly number[];
  readonly keepDims: boolean;
}

function reducedShape(shape: Shape, { axes, keepDims }: ReduceAttributes): number[] {
  if (keepDims) return shape.map((length, axis) => (axes.includes(axis) ? 1 : length));
  return shape.filter((_, axis) => !axes.includes(axis));
}

/** Fold all axes, calling `visit(target, source)` with flat positions. */
function forEachReduced(
  shape: Shape,
  axes: readonly number[],
  visit: (target: number, source: number) => void,
): void {
  const strides = new Array<number>(shape.length).fill(0);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (axes.includes(axis)) continue;
    strides[axis] = stride;
    stride *= shape[axis];
  }
  const index = new Array<number>(shape.length).fill(0);
  const size = sizeOf(shape);
  let target = 0;
  for (let source = 0; source < size; source++) {
    visit(target, source);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      target += strides[axis];
      if (++index[axis] < shape[axis]) break;
      target -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
}

/** The shape of a reduction's result with the folded axes kept as 1, so that it broadcasts against the input. */
function keptShape(shape: Shape, axes: readonly number[]): number[] {
  return reducedShape(shape, { axes, keepDims: true });
}

const reduceSamples = (): { inputs: NdArray[]; attributes: ReduceAttributes }[] => [
  { inputs: [sampleArray([2, 3, 4], [-2, 2], 1)], attributes: { axes: [1], keepDims: false } },
  { inputs: [sampleArray([2, 3, 4], [-2, 2], 2)], attributes: { axes: [2], keepDims: true } },
  { inputs: [sampleArray([2, 3], [-2, 2], 3)], attributes: { axes: [0, 1], keepDims: false } },
];

export const sumPrimitive: Primitive<ReduceAttributes> = definePrimitive<ReduceAttributes>({
  name: 'sum',
  shape: ([x], attributes) => [{ dtype: x.dtype, shape: reducedShape(x.shape, attributes) }],
  reference([x], { axes }, [out]) {
    const totals = new Float64Array(sizeOf(out.shape));
    forEachReduced(x.shape, axes, (target, source) => {
      totals[target] += Number(x.data[source]);
    });
    const result = allocate(out.dtype, totals.length);
    for (let i = 0; i < totals.length; i++) {
      if (result instanceof BigInt64Array) result[i] = BigInt(totals[i]);
      else result[i] = totals[i];
    }
    return [result];
  },
  vjp: ([g], { inputs: [x], attributes: { axes } }) => [
    g && broadcastTo(reshape(g, keptShape(x.shape, axes)), x.shape),
  ],
  onnx: (builder, [x], { axes, keepDims }) =>
    builder.node('ReduceSum', [x, builder.ints(axes)], { keepdims: keepDims ? 1 : 0 }),
  samples: reduceSamples,
});

/** Largest element; the gradient is shared among equal maxima. */
export const maxPrimitive: Primitive<ReduceAttributes> = definePrimitive<ReduceAttributes>({
  name: 'max',
  shape: ([x], attributes) => [{ dtype: x.dtype, shape: reducedShape(x.shape, attributes) }],
  reference([x], { axes }, [out]) {
    const result = new Float32Array(sizeOf(out.shape)).fill(Number.NEGATIVE_INFINITY);
    forEachReduced(x.shape, axes, (target, source) => {
      result[target] = Math.max(result[target], Number(x.data[source]));
    });
    return [result];
  },
  vjp([g], { inputs: [x], outputs: [y], attributes: { axes } }) {
    const kept = keptShape(x.shape, axes);
    const isMax = cast(equal(x, reshape(y, kept)), 'float32');
    const share = isMax.div(apply(sumPrimitive, [isMax], { axes, keepDims: true }));
    return [g && share.mul(reshape(g, kept))];
  },
  onnx: (builder, [x], { axes, keepDims }) =>
    builder.node('ReduceMax', [x, builder.ints(axes)], { keepdims: keepDims ? 1 : 0 }),
  samples: reduceSamples,
});

/** Position of the largest element along an axis (the first of equals), int32. */
export const argmaxPrimitive = definePrimitive<{ readonly axis: number }>({
  name: 'argmax',
  shape: ([x], { axis }) => [{ dtype: 'int32', shape: x.shape.filter((_, i) => i !== axis) }],
  reference([x], { axis }, [out]) {
    const { outer, length, inner } = aroundAxis(x.shape, axis);
    const result = new Int32Array(sizeOf(out.shape));
    for (let o = 0; o < outer; o++) {
      for (let i = 0; i < inner; i++) {
        let best = 0;
        for (let k = 1; k < length; k++) {
          if (x.data[(o * length + k) * inner + i] > x.data[(o * length + best) * inner + i]) best = k;
        }
        result[o * inner + i] = best;
      }
    }
    return [result];
  },
  onnx: (builder, [x], { axis }) =>
    builder.node('Cast', builder.node('ArgMax', [x], { axis, keepdims: 0 }), {
      to: builder.elementType('int32'),
    }),
  samples: () => [
    { inputs: [sampleArray([3, 5], [-2, 2], 1)], attributes: { axis: 1 } },
    { inputs: [sampleArray([3, 5], [-2, 2], 2)], attributes: { axis: 0 } },
  ],
});

/** Visit the rows of the last axis. */
function forEachRow(x: NdArray, visit: (start: number, length: number) => void): void {
  const length = x.shape[x.shape.length - 1];
  for (let start = 0; start < x.data.length; start += length) visit(start, length);
}

/** Maximum of a row and `Σ_j exp(x_j - max)`: subtracting the maximum first keeps the exponentials from overflowing. */
export function exponentialTotal(row: Float32Array): { max: number; total: number } {
  let max = Number.NEGATIVE_INFINITY;
  for (const value of row) max = Math.max(max, value);
  let total = 0;
  for (const value of row) total += Math.exp(value - max);
  return { max, total };
}

const sameSpec = ([x]: readonly Spec[]): Spec[] => [{ dtype: x.dtype, shape: x.shape }];

/** `exp(x_i) / Σ_j exp(x_j)` over the last axis. */
export const softmaxPrimitive = definePrimitive({
  name: 'softmax',
  shape: sameSpec,
  reference([x]) {
    const result = new Float32Array(x.data.length);
    forEachRow(x, (start, length) => {
      const { max, total } = exponentialTotal(x.data.subarray(start, start + length) as Float32Array);
      for (let i = start; i < start + length; i++) result[i] = Math.exp(Number(x.data[i]) - max) / total;
    });
    return [result];
  },
  // dx = y ∘ (g - Σ g∘y)
  vjp: ([g], { outputs: [y] }) => [g && y.mul(g.sub(g.mul(y).sum(-1, true)))],
  onnx: (builder, [x]) => builder.node('Softmax', [x], { axis: -1 }),
  samples: () => [{ inputs: [sampleArray([2, 3, 5], [-3, 3], 1)], attributes: undefined }],
});

/** `x_i - log Σ_j exp(x_j)` over the last axis. */
export const logSoftmaxPrimitive = definePrimitive({
  name: 'logSoftmax',
  shape: sameSpec,
  reference([x]) {
    const result = new Float32Array(x.data.length);
    forEachRow(x, (start, length) => {
      const { max, total } = exponentialTotal(x.data.subarray(start, start + length) as Float32Array);
      const logTotal = max + Math.log(total);
      for (let i = start; i < start + length; i++) result[i] = Number(x.data[i]) - logTotal;
    });
    return [result];
  },
  // dx = g - softmax(x) Σ g
  vjp: ([g], { outputs: [y] }) => [g?.sub(exp(y).mul(g.sum(-1, true)))],
  onnx: (builder, [x]) => builder.node('LogSoftmax', [x], { axis: -1 }),
  samples: () => [{ inputs: [sampleArray([3, 6], [-3, 3], 1)], attributes: undefined }],
});

function axesOf(x: Tensor, axis: number | readonly number[] | undefined): number[] {
  if (axis === undefined) return x.shape.map((_, i) => i);
  const axes = typeof axis === 'number' ? [axis] : axis;
  return axes.map((a) => normalizeAxis(a, x.rank)).sort((a, b) => a - b);
}

/** Sum over one axis, several, or all (no axis given). */
export function sum(x: Tensor, axis?: number | readonly number[], keepDims = false): Tensor {
  const axes = axesOf(x, axis);
  return axes.length === 0 ? x : apply(sumPrimitive, [x], { axes, keepDims });
}

/** Mean over one axis, several, or all (no axis given). */
export function mean(x: Tensor, axis?: number | readonly number[], keepDims = false): Tensor {
  const count = axesOf(x, axis).reduce((product, a) => product * x.shape[a], 1);
  return sum(x, axis, keepDims).mul(1 / count);
}

/** Maximum over one axis, several, or all (no axis given). */
export function max(x: Tensor, axis?: number | readonly number[], keepDims = false): Tensor {
  const axes = axesOf(x, axis);
  return axes.length === 0 ? x : apply(maxPrimitive, [x], { axes, keepDims });
}

/** Position of the maximum along an axis, int32. */
export const argmax = (x: Tensor, axis: number): Tensor =>
  apply(argmaxPrimitive, [x], { axis: normalizeAxis(axis, x.rank) });

/** Softmax over the last axis. */
export const softmax = (x: Tensor): Tensor => apply(softmaxPrimitive, [x], undefined);

/** Log-softmax over the last axis. */
export const logSoftmax = (x: Tensor): Tensor => apply(logSoftmaxPrimitive, [x], undefined);
