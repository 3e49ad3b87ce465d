/** @file The two matrix products: a batched one, and the plain one with an optional bias that linear layers use. */

import { sizeOf } from '../ndarray.ts';
import { apply, definePrimitive, type Primitive } from '../primitive.ts';
import { sameShape } from '../shape.ts';
import type { Tensor } from '../tensor.ts';
import { sampleArray } from './samples.ts';

export interface MatmulOptions {
  /** Read the left operand transposed (its last two axes swapped), without moving it. */
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
  /** Factor on the result. */
  readonly scale?: number;
}

type MatmulAttributes = Required<MatmulOptions>;

/** Rows and columns of the last two axes, as the product reads them. */
function matrixOf(shape: readonly number[], transposed: boolean): [rows: number, columns: number] {
  const [rows, columns] = shape.slice(-2);
  return transposed ? [columns, rows] : [rows, columns];
}

/** `out[m, n] += Σ_k a[m, k] b[k, n]`, each operand with its own strides. */
function multiply(
  a: Float32Array,
  b: Float32Array,
  out: Float32Array,
  [m, k, n]: readonly [number, number, number],
  offsets: readonly [number, number, number],
  [transposeA, transposeB]: readonly [boolean, boolean],
  scale: number,
): void {
  const [aRow, aColumn] = transposeA ? [1, m] : [k, 1];
  const [bRow, bColumn] = transposeB ? [1, k] : [n, 1];
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let total = 0;
      for (let l = 0; l < k; l++) {
        total += a[offsets[0] + i * aRow + l * aColumn] * b[offsets[1] + l * bRow + j * bColumn];
      }
      out[offsets[2] + i * n + j] += scale * total;
    }
  }
}

/** Batched product over the last two axes of tensors with the same leading axes: `[..., M, K] x [..., K, N]`. */
export const matmulPrimitive: Primitive<MatmulAttributes> = definePrimitive<MatmulAttributes>({
  name: 'matmul',
  shape([a, b], { transposeA, transposeB }) {
    const [m, k] = matrixOf(a.shape, transposeA);
    const [k2, n] = matrixOf(b.shape, transposeB);
    const batch = a.shape.slice(0, -2);
    const sameBatch = b.shape.length === a.shape.length && batch.every((length, i) => length === b.shape[i]);
    if (k !== k2 || !sameBatch || a.shape.length < 2) {
      throw new RangeError(`matmul: [${a.shape}] and [${b.shape}] do not fit together`);
    }
    return [{ dtype: 'float32', shape: [...batch, m, n] }];
  },
  reference([a, b], { transposeA, transposeB, scale }, [out]) {
    const [m, k] = matrixOf(a.shape, transposeA);
    const n = out.shape[out.shape.length - 1];
    const result = new Float32Array(sizeOf(out.shape));
    for (let batch = 0; batch < result.length / (m * n); batch++) {
      multiply(
        a.data as Float32Array,
        b.data as Float32Array,
        result,
        [m, k, n],
        [batch * m * k, batch * k * n, batch * m * n],
        [transposeA, transposeB],
        scale,
      );
    }
    return [result];
  },
  // C = s A B: dA = s dC Bᵀ, dB = s Aᵀ dC; an operand that was read transposed gets its gradient transposed.
  vjp([g], { inputs: [a, b], attributes: { transposeA, transposeB, scale } }) {
    if (!g) return [];
    const da = transposeA
      ? matmul(b, g, { transposeA: transposeB, transposeB: true, scale })
      : matmul(g, b, { transposeB: !transposeB, scale });
    const db = transposeB
      ? matmul(g, a, { transposeA: true, transposeB: transposeA, scale })
      : matmul(a, g, { transposeA: !transposeA, scale });
    return [da, db];
  },
  onnx(builder, [a, b], { transposeA, transposeB, scale }, specs) {
    const [m, k] = matrixOf(specs.inputs[0].shape, transposeA);
    if (m === 1 && !transposeA && transposeB) {
      // One row against many, as in decoding: `b` times a column is the product with the fast kernel on the CPU.
      const [scaled] = scale === 1 ? [a] : builder.node('Mul', [a, builder.scalar(scale)]);
      const [column] = builder.node('Reshape', [
        scaled,
        builder.ints([...specs.inputs[0].shape.slice(0, -2), k, 1]),
      ]);
      const [product] = builder.node('MatMul', [b, column]);
      return builder.node('Reshape', [product, builder.ints(specs.outputs[0].shape)]);
    }
    if (!transposeA && !transposeB && scale === 1) return builder.node('MatMul', [a, b]);
    return builder.node(
      'FusedMatMul',
      [a, b],
      { transA: transposeA ? 1 : 0, transB: transposeB ? 1 : 0, alpha: { float: scale } },
      { domain: 'com.microsoft' },
    );
  },
  samples() {
    const plain = { transposeA: false, transposeB: false, scale: 1 };
    return [
      { inputs: [sampleArray([2, 3, 4], [-1, 1], 1), sampleArray([2, 4, 5], [-1, 1], 2)], attributes: plain },
      {
        inputs: [sampleArray([2, 3, 4], [-1, 1], 3), sampleArray([2, 5, 4], [-1, 1], 4)],
        attributes: { transposeA: false, transposeB: true, scale: 0.5 },
      },
      {
        inputs: [sampleArray([2, 1, 4], [-1, 1], 9), sampleArray([2, 5, 4], [-1, 1], 10)],
        attributes: { transposeA: false, transposeB: true, scale: 0.5 },
      },
      {
        inputs: [sampleArray([2, 4, 3], [-1, 1], 5), sampleArray([2, 4, 5], [-1, 1], 6)],
        attributes: { transposeA: true, transposeB: false, scale: 2 },
      },
      {
        inputs: [sampleArray([4, 3], [-1, 1], 7), sampleArray([5, 4], [-1, 1], 8)],
        attributes: { transposeA: true, transposeB: true, scale: 1 },
      },
    ];
  },
});

interface LinearAttributes {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

/** `A B + bias` for matrices `[M, K]`, `[K, N]` and an optional bias, of a row `[N]` or of the whole `[M, N]`. */
export const gemmPrimitive: Primitive<LinearAttributes> = definePrimitive<LinearAttributes>({
  name: 'gemm',
  shape([a, b, bias], { transposeA, transposeB }) {
    const [m, k] = matrixOf(a.shape, transposeA);
    const [k2, n] = matrixOf(b.shape, transposeB);
    const biasFits = bias === undefined || sameShape(bias.shape, [n]) || sameShape(bias.shape, [m, n]);
    if (a.shape.length !== 2 || b.shape.length !== 2 || k !== k2 || !biasFits) {
      throw new RangeError(`gemm: [${a.shape}] and [${b.shape}] do not fit together`);
    }
    return [{ dtype: 'float32', shape: [m, n] }];
  },
  reference([a, b, bias], { transposeA, transposeB }, [out]) {
    const [m, k] = matrixOf(a.shape, transposeA);
    const n = out.shape[1];
    const result = new Float32Array(m * n);
    if (bias)
      for (let i = 0; i < result.length; i += bias.data.length) result.set(bias.data as Float32Array, i);
    multiply(
      a.data as Float32Array,
      b.data as Float32Array,
      result,
      [m, k, n],
      [0, 0, 0],
      [transposeA, transposeB],
      1,
    );
    return [result];
  },
  vjp([g], { inputs: [a, b, bias], attributes: { transposeA, transposeB } }) {
    if (!g) return [];
    const da = transposeA
      ? gemm(b, g, undefined, { transposeA: transposeB, transposeB: true })
      : gemm(g, b, undefined, { transposeB: !transposeB });
    const db = transposeB
      ? gemm(g, a, undefined, { transposeA: true, transposeB: transposeA })
      : gemm(a, g, undefined, { transposeA: !transposeA });
    return [da, db, bias?.rank === 1 ? g.sum(0) : g];
  },
  onnx: (builder, inputs, { transposeA, transposeB }) =>
    builder.node('Gemm', inputs, { transA: transposeA ? 1 : 0, transB: transposeB ? 1 : 0 }),
  samples() {
    const a = sampleArray([3, 4], [-1, 1], 1);
    const b = sampleArray([4, 5], [-1, 1], 2);
    const bias = sampleArray([5], [-1, 1], 3);
    const matrix = sampleArray([3, 5], [-1, 1], 6);
    const bTransposed = sampleArray([5, 4], [-1, 1], 4);
    const aTransposed = sampleArray([4, 3], [-1, 1], 5);
    return [
      { inputs: [a, b, bias], attributes: { transposeA: false, transposeB: false } },
      { inputs: [a, b, matrix], attributes: { transposeA: false, transposeB: false } },
      { inputs: [a, b], attributes: { transposeA: false, transposeB: false } },
      { inputs: [a, bTransposed, bias], attributes: { transposeA: false, transposeB: true } },
      { inputs: [aTransposed, b], attributes: { transposeA: true, transposeB: false } },
      { inputs: [aTransposed, bTransposed], attributes: { transposeA: true, transposeB: true } },
    ];
  },
});

/** Batched matrix product over the last two axes. */
export function matmul(a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  return apply(matmulPrimitive, [a, b], { transposeA: false, transposeB: false, scale: 1, ...options });
}

/** Matrix product of `[M, K]` and `[K, N]`, plus a bias `[N]` on every row, or another matrix `[M, N]`. */
export function gemm(
  a: Tensor,
  b: Tensor,
  bias?: Tensor,
  options: Omit<MatmulOptions, 'scale'> = {},
): Tensor {
  return apply(gemmPrimitive, bias ? [a, b, bias] : [a, b], {
    transposeA: false,
    transposeB: false,
    ...options,
  });
}
