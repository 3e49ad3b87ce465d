/** @file What all elementwise primitives have in common: a function of numbers becomes a primitive over tensors. */

import { allocate, type DType, type NdArray, sizeOf, type TypedArray } from '../ndarray.ts';
import { definePrimitive, type Primitive } from '../primitive.ts';
import { broadcastOffsets, broadcastShapes } from '../shape.ts';
import type { Tensor } from '../tensor.ts';
import { sampleArray } from './samples.ts';

/** Write a computed number into storage of any type. */
export function put(target: TypedArray, index: number, value: number): void {
  if (target instanceof BigInt64Array) target[index] = BigInt(value);
  else target[index] = value;
}

interface UnaryRule {
  readonly name: string;
  readonly op: string;
  readonly f: (x: number) => number;
  /** Gradient of the input from that of the output `g`, the input `x` and the output `y`. */
  readonly gradient: (g: Tensor, x: Tensor, y: Tensor) => Tensor;
  /** Range from which test inputs are drawn, inside the domain and away from kinks. */
  readonly domain?: readonly [number, number];
}

/** A primitive of one operand. */
export function unary(rule: UnaryRule): Primitive<undefined> {
  return definePrimitive({
    name: rule.name,
    shape: ([x]) => [{ dtype: x.dtype, shape: x.shape }],
    reference([x], _, [out]) {
      const result = allocate(out.dtype, x.data.length);
      for (let i = 0; i < result.length; i++) put(result, i, rule.f(Number(x.data[i])));
      return [result];
    },
    vjp: ([g], { inputs: [x], outputs: [y] }) => [g && rule.gradient(g, x, y)],
    onnx: (builder, [x]) => builder.node(rule.op, [x]),
    samples: () => [{ inputs: [sampleArray([3, 4], rule.domain ?? [-2, 2], 1)], attributes: undefined }],
  });
}

interface BinaryRule {
  readonly name: string;
  readonly op: string;
  readonly f: (a: number, b: number) => number;
  readonly gradient?: (g: Tensor, a: Tensor, b: Tensor, y: Tensor) => readonly [Tensor, Tensor];
  /** Comparisons answer in bool. */
  readonly result?: DType;
  readonly operands?: DType;
  readonly domain?: readonly [number, number];
}

/** A primitive of two operands of one type, broadcast to each other. */
export function binary(rule: BinaryRule): Primitive<undefined> {
  return definePrimitive({
    name: rule.name,
    shape([a, b]) {
      if (a.dtype !== b.dtype)
        throw new RangeError(`${rule.name}: operands are ${a.dtype} and ${b.dtype}; cast one`);
      return [{ dtype: rule.result ?? a.dtype, shape: broadcastShapes(a.shape, b.shape) }];
    },
    reference([a, b], _, [out]) {
      const size = sizeOf(out.shape);
      const result = allocate(out.dtype, size);
      const offsetsA = broadcastOffsets(a.shape, out.shape);
      const offsetsB = broadcastOffsets(b.shape, out.shape);
      for (let i = 0; i < size; i++) {
        put(result, i, rule.f(Number(a.data[offsetsA[i]]), Number(b.data[offsetsB[i]])));
      }
      return [result];
    },
    ...(rule.gradient && {
      vjp: ([g], { inputs: [a, b], outputs: [y] }) => (g ? rule.gradient!(g, a, b, y) : []),
    }),
    onnx: (builder, inputs) => builder.node(rule.op, inputs),
    samples() {
      const domain = rule.domain ?? [-2, 2];
      const dtype = rule.operands ?? 'float32';
      const pairs: [NdArray, NdArray][] = [
        [sampleArray([2, 3, 4], domain, 1, dtype), sampleArray([3, 1], domain, 2, dtype)],
        [sampleArray([4], domain, 3, dtype), sampleArray([2, 4], domain, 4, dtype)],
      ];
      return pairs.map((inputs) => ({ inputs, attributes: undefined }));
    },
  });
}
