/** @file Primitives that act on each element by itself, with NumPy broadcasting between operands. */

import { allocate, type DType, sizeOf } from '../ndarray.ts';
import { apply, definePrimitive } from '../primitive.ts';
import { broadcastOffsets, broadcastShapes } from '../shape.ts';
import { scalar, type Tensor, type TensorLike } from '../tensor.ts';
import { binary, put, unary } from './elementwise-rules.ts';
import { errorFunction } from './error-function.ts';
import { sampleArray } from './samples.ts';

/** Numbers beside a tensor become scalars of its type. */
function operands(a: TensorLike, b: TensorLike): [Tensor, Tensor] {
  if (typeof a === 'number') {
    if (typeof b === 'number') return [scalar(a), scalar(b)];
    return [scalar(a, b.dtype), b];
  }
  return [a, typeof b === 'number' ? scalar(b, a.dtype) : b];
}

export const negPrimitive = unary({ name: 'neg', op: 'Neg', f: (x) => -x, gradient: (g) => neg(g) });
export const expPrimitive = unary({ name: 'exp', op: 'Exp', f: Math.exp, gradient: (g, _, y) => g.mul(y) });
export const logPrimitive = unary({
  name: 'log',
  op: 'Log',
  f: Math.log,
  gradient: (g, x) => g.div(x),
  domain: [0.3, 3],
});
export const sqrtPrimitive = unary({
  name: 'sqrt',
  op: 'Sqrt',
  f: Math.sqrt,
  gradient: (g, _, y) => g.div(y.mul(2)),
  domain: [0.3, 3],
});
export const reciprocalPrimitive = unary({
  name: 'reciprocal',
  op: 'Reciprocal',
  f: (x) => 1 / x,
  gradient: (g, _, y) => neg(g.mul(y).mul(y)),
  domain: [0.3, 3],
});
export const tanhPrimitive = unary({
  name: 'tanh',
  op: 'Tanh',
  f: Math.tanh,
  gradient: (g, _, y) => g.mul(sub(1, y.mul(y))),
});
export const sigmoidPrimitive = unary({
  name: 'sigmoid',
  op: 'Sigmoid',
  f: (x) => 1 / (1 + Math.exp(-x)),
  gradient: (g, _, y) => g.mul(y).mul(sub(1, y)),
});
/** `max(x, 0)`; the gradient at 0 is 0. */
export const reluPrimitive = unary({
  name: 'relu',
  op: 'Relu',
  f: (x) => Math.max(x, 0),
  gradient: (g, x) => where(greater(x, 0), g, scalar(0)),
  domain: [0.1, 2],
});
export const absPrimitive = unary({
  name: 'abs',
  op: 'Abs',
  f: Math.abs,
  gradient: (g, x) => where(less(x, 0), neg(g), g),
  domain: [0.1, 2],
});
export const sinPrimitive = unary({ name: 'sin', op: 'Sin', f: Math.sin, gradient: (g, x) => g.mul(cos(x)) });
export const cosPrimitive = unary({
  name: 'cos',
  op: 'Cos',
  f: Math.cos,
  gradient: (g, x) => neg(g.mul(sin(x))),
});
export const erfPrimitive = unary({
  name: 'erf',
  op: 'Erf',
  f: errorFunction,
  gradient: (g, x) => g.mul(exp(neg(x.mul(x))).mul(2 / Math.sqrt(Math.PI))),
});
/** `x Φ(x)`, Φ the standard normal distribution function (Hendrycks & Gimpel 2016, exact form). */
export const geluPrimitive = unary({
  name: 'gelu',
  op: 'Gelu',
  f: (x) => 0.5 * x * (1 + errorFunction(x / Math.SQRT2)),
  // d/dx x Φ(x) = Φ(x) + x φ(x), written with z = x/√2 so that one array serves erf, exp and the product.
  gradient(g, x) {
    const z = x.mul(Math.SQRT1_2);
    const distribution = erf(z).mul(0.5).add(0.5);
    const density = exp(neg(z.mul(z))).mul(1 / Math.sqrt(Math.PI));
    return distribution.add(z.mul(density)).mul(g);
  },
});

export const addPrimitive = binary({ name: 'add', op: 'Add', f: (a, b) => a + b, gradient: (g) => [g, g] });
export const subPrimitive = binary({
  name: 'sub',
  op: 'Sub',
  f: (a, b) => a - b,
  gradient: (g) => [g, neg(g)],
});
export const mulPrimitive = binary({
  name: 'mul',
  op: 'Mul',
  f: (a, b) => a * b,
  gradient: (g, a, b) => [g.mul(b), g.mul(a)],
});
export const divPrimitive = binary({
  name: 'div',
  op: 'Div',
  f: (a, b) => a / b,
  gradient: (g, _, b, y) => [g.div(b), neg(g.mul(y).div(b))],
  domain: [0.5, 2],
});
export const minimumPrimitive = binary({
  name: 'minimum',
  op: 'Min',
  f: Math.min,
  gradient: (g, a, b) => [where(less(b, a), scalar(0), g), where(less(b, a), g, scalar(0))],
});
export const maximumPrimitive = binary({
  name: 'maximum',
  op: 'Max',
  f: Math.max,
  gradient: (g, a, b) => [where(greater(b, a), scalar(0), g), where(greater(b, a), g, scalar(0))],
});
export const lessPrimitive = binary({
  name: 'less',
  op: 'Less',
  f: (a, b) => (a < b ? 1 : 0),
  result: 'bool',
});
export const greaterPrimitive = binary({
  name: 'greater',
  op: 'Greater',
  f: (a, b) => (a > b ? 1 : 0),
  result: 'bool',
});
export const equalPrimitive = binary({
  name: 'equal',
  op: 'Equal',
  f: (a, b) => (a === b ? 1 : 0),
  result: 'bool',
  operands: 'int32',
});
export const logicalAndPrimitive = binary({
  name: 'logicalAnd',
  op: 'And',
  f: (a, b) => a & b,
  operands: 'bool',
  domain: [0, 1],
});

/** `condition ? a : b`, element by element. */
export const wherePrimitive = definePrimitive({
  name: 'where',
  shape([condition, a, b]) {
    if (condition.dtype !== 'bool') throw new RangeError('where: the condition must be bool');
    if (a.dtype !== b.dtype) throw new RangeError(`where: branches are ${a.dtype} and ${b.dtype}; cast one`);
    return [{ dtype: a.dtype, shape: broadcastShapes(condition.shape, broadcastShapes(a.shape, b.shape)) }];
  },
  reference([condition, a, b], _, [out]) {
    const size = sizeOf(out.shape);
    const result = allocate(out.dtype, size);
    const [offsetsC, offsetsA, offsetsB] = [condition, a, b].map((x) => broadcastOffsets(x.shape, out.shape));
    for (let i = 0; i < size; i++) {
      put(result, i, Number(condition.data[offsetsC[i]] ? a.data[offsetsA[i]] : b.data[offsetsB[i]]));
    }
    return [result];
  },
  vjp: ([g], { inputs: [condition] }) =>
    g ? [undefined, where(condition, g, scalar(0)), where(condition, scalar(0), g)] : [],
  onnx: (builder, inputs) => builder.node('Where', inputs),
  samples: () => [
    {
      inputs: [
        sampleArray([3, 1], [0, 1], 1, 'bool'),
        sampleArray([3, 4], [-2, 2], 2),
        sampleArray([4], [-2, 2], 3),
      ],
      attributes: undefined,
    },
  ],
});

/** Conversion between types; floats are truncated towards zero, and anything but 0 is true. */
export const castPrimitive = definePrimitive<{ readonly to: DType }>({
  name: 'cast',
  shape: ([x], { to }) => [{ dtype: to, shape: x.shape }],
  reference([x], { to }) {
    const result = allocate(to, x.data.length);
    for (let i = 0; i < result.length; i++) {
      const value = Number(x.data[i]);
      put(result, i, to === 'bool' ? (value === 0 ? 0 : 1) : to === 'float32' ? value : Math.trunc(value));
    }
    return [result];
  },
  vjp: ([g], { inputs: [x] }) => [x.dtype === 'float32' ? g : undefined],
  onnx: (builder, [x], { to }) => builder.node('Cast', [x], { to: builder.elementType(to) }),
  samples: () => [
    { inputs: [sampleArray([5], [-3, 3], 1)], attributes: { to: 'int32' } },
    { inputs: [sampleArray([5], [-3, 3], 1)], attributes: { to: 'int64' } },
    { inputs: [sampleArray([5], [-3, 3], 1, 'int64')], attributes: { to: 'float32' } },
    { inputs: [sampleArray([5], [0, 2], 1, 'int32')], attributes: { to: 'bool' } },
  ],
});

export const neg = (x: Tensor): Tensor => apply(negPrimitive, [x], undefined);
export const exp = (x: Tensor): Tensor => apply(expPrimitive, [x], undefined);
export const log = (x: Tensor): Tensor => apply(logPrimitive, [x], undefined);
export const sqrt = (x: Tensor): Tensor => apply(sqrtPrimitive, [x], undefined);
export const reciprocal = (x: Tensor): Tensor => apply(reciprocalPrimitive, [x], undefined);
export const tanh = (x: Tensor): Tensor => apply(tanhPrimitive, [x], undefined);
export const sigmoid = (x: Tensor): Tensor => apply(sigmoidPrimitive, [x], undefined);
export const relu = (x: Tensor): Tensor => apply(reluPrimitive, [x], undefined);
export const abs = (x: Tensor): Tensor => apply(absPrimitive, [x], undefined);
export const sin = (x: Tensor): Tensor => apply(sinPrimitive, [x], undefined);
export const cos = (x: Tensor): Tensor => apply(cosPrimitive, [x], undefined);
export const erf = (x: Tensor): Tensor => apply(erfPrimitive, [x], undefined);
export const gelu = (x: Tensor): Tensor => apply(geluPrimitive, [x], undefined);
export const add = (a: TensorLike, b: TensorLike): Tensor => apply(addPrimitive, operands(a, b), undefined);
export const sub = (a: TensorLike, b: TensorLike): Tensor => apply(subPrimitive, operands(a, b), undefined);
export const mul = (a: TensorLike, b: TensorLike): Tensor => apply(mulPrimitive, operands(a, b), undefined);
export const div = (a: TensorLike, b: TensorLike): Tensor => apply(divPrimitive, operands(a, b), undefined);
export const minimum = (a: TensorLike, b: TensorLike): Tensor =>
  apply(minimumPrimitive, operands(a, b), undefined);
export const maximum = (a: TensorLike, b: TensorLike): Tensor =>
  apply(maximumPrimitive, operands(a, b), undefined);
export const less = (a: TensorLike, b: TensorLike): Tensor => apply(lessPrimitive, operands(a, b), undefined);
export const greater = (a: TensorLike, b: TensorLike): Tensor =>
  apply(greaterPrimitive, operands(a, b), undefined);
export const equal = (a: TensorLike, b: TensorLike): Tensor =>
  apply(equalPrimitive, operands(a, b), undefined);
export const logicalAnd = (a: Tensor, b: Tensor): Tensor => apply(logicalAndPrimitive, [a, b], undefined);
export const cast = (x: Tensor, to: DType): Tensor =>
  x.dtype === to ? x : apply(castPrimitive, [x], { to });

/** `condition ? a : b`; numbers become scalars of the other branch's type. */
export function where(condition: Tensor, a: TensorLike, b: TensorLike): Tensor {
  return apply(wherePrimitive, [condition, ...operands(a, b)], undefined);
}

/** `min(max(x, low), high)`: the gradient is zero where it is cut. */
export function clamp(x: Tensor, low: number, high: number): Tensor {
  return minimum(maximum(x, low), high);
}
