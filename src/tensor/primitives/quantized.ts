/** @file The matrix product with weights of eight bits: a quarter of the memory, for weights that do not change. */

import type { NdArray } from '../ndarray.ts';
import { apply, definePrimitive, type Primitive } from '../primitive.ts';
import type { Tensor } from '../tensor.ts';
import { gemmPrimitive } from './matmul.ts';
import { sampleArray } from './samples.ts';

interface QuantizedAttributes {
  readonly transposeB: boolean;
}

/** Whole numbers in [-127, 127] and the scale of each column. */
export interface Quantized {
  /** int8 `[K, N]`. */
  readonly values: NdArray;
  /** float32 `[N]`. */
  readonly scales: NdArray;
}

/**
 * Round a matrix `[K, N]` to eight bits: the largest magnitude of each column becomes 127. No element moves by more than
 * half a scale. (Per-channel symmetric quantization, as in Krishnamoorthi 2018.)
 */
export function quantize({ shape: [rows, columns], data }: NdArray): Quantized {
  const weights = data as Float32Array;
  const scales = new Float32Array(columns);
  for (let i = 0; i < weights.length; i++)
    scales[i % columns] = Math.max(scales[i % columns], Math.abs(weights[i]) / 127);
  const values = new Int8Array(weights.length);
  // A column of zeros has the scale 0 and stays zero.
  for (let i = 0; i < weights.length; i++) values[i] = Math.round(weights[i] / (scales[i % columns] || 1));
  return {
    values: { dtype: 'int8', shape: [rows, columns], data: values },
    scales: { dtype: 'float32', shape: [columns], data: scales },
  };
}

/** The matrix `[K, N]` that quantized weights stand for: each whole number times the scale of its column. */
export function dequantize({ values: { shape, data }, scales }: Quantized): NdArray {
  const weights = Float32Array.from(
    data as Int8Array,
    (value, i) => value * Number(scales.data[i % shape[1]]),
  );
  return { dtype: 'float32', shape, data: weights };
}

/**
 * `x W + bias` with `W = values ∘ scales`: `x [M, K]`, int8 `values [K, N]`, `scales [N]`, an optional `bias`; or `x Wᵀ`
 * for `x [M, N]` with `transposeB`. The weights become float32 only while the product is computed.
 */
export const quantizedGemmPrimitive: Primitive<QuantizedAttributes> = definePrimitive<QuantizedAttributes>({
  name: 'quantizedGemm',
  shape([x, values, scales, bias], { transposeB }) {
    if (values.dtype !== 'int8' || scales.shape[0] !== values.shape[1]) {
      throw new RangeError(`quantizedGemm: ${values.dtype} [${values.shape}] and scales [${scales.shape}]`);
    }
    return gemmPrimitive.shape([x, values, ...(bias ? [bias] : [])], { transposeA: false, transposeB });
  },
  reference([x, values, scales, bias], { transposeB }, outputs) {
    const inputs = [x, dequantize({ values, scales }), ...(bias ? [bias] : [])];
    return gemmPrimitive.reference(inputs, { transposeA: false, transposeB }, outputs);
  },
  // A column's share of the product is proportional to its scale; the whole numbers have no gradient.
  vjp([g], { inputs: [x, values, scales], attributes: { transposeB } }) {
    if (!g) return [];
    const dx = quantizedGemm(g, values, scales, undefined, { transposeB: !transposeB });
    const share = transposeB ? x.mul(dx) : g.mul(quantizedGemm(x, values, scales));
    return [dx, undefined, share.sum(0).div(scales), g.sum(0)];
  },
  onnx(builder, [x, values, scales, ...bias], { transposeB }, { inputs }) {
    // ONNX Runtime would merge equal conversions of the forward and the backward pass into one, and keep its result in
    // between: with a zero point that changes nothing, they are not equal.
    const columns = inputs[2].shape;
    const zeros = { dtype: 'int8', shape: columns, data: new Int8Array(columns[0]) } as const;
    const zeroPoints = transposeB ? [builder.constant(zeros)] : [];
    const [weights] = builder.node('DequantizeLinear', [values, scales, ...zeroPoints], { axis: 1 });
    return builder.node('Gemm', [x, weights, ...bias], { transB: transposeB ? 1 : 0 });
  },
  samples() {
    const values = sampleArray([4, 5], [-127, 127], 2, 'int8');
    const scales = sampleArray([5], [0.005, 0.01], 3);
    const bias = sampleArray([5], [-1, 1], 4);
    return [
      { inputs: [sampleArray([3, 4], [-1, 1], 1), values, scales, bias], attributes: { transposeB: false } },
      { inputs: [sampleArray([3, 4], [-1, 1], 5), values, scales], attributes: { transposeB: false } },
      { inputs: [sampleArray([3, 5], [-1, 1], 6), values, scales], attributes: { transposeB: true } },
    ];
  },
});

/** Matrix product of `[M, K]` and quantized `[K, N]`, plus a bias `[N]` on every row. */
export function quantizedGemm(
  x: Tensor,
  values: Tensor,
  scales: Tensor,
  bias?: Tensor,
  options: Partial<QuantizedAttributes> = {},
): Tensor {
  return apply(quantizedGemmPrimitive, bias ? [x, values, scales, bias] : [x, values, scales], {
    transposeB: false,
    ...options,
  });
}
