/**
 * @file Primitives that are compositions by nature but are kept whole because runtimes have one fast kernel for them,
 * and because their gradients reuse what the forward pass computed: layer normalisation, rotary positions, cross
 * entropy.
 */

import { apply, applyAll, definePrimitive, type Primitive } from '../primitive.ts';
import { scalar, type Tensor } from '../tensor.ts';
import { exp, neg } from './elementwise.ts';
import { scatterAdd } from './index-ops.ts';
import { broadcastTo, reshape } from './movement.ts';
import { exponentialTotal, sum } from './reduce.ts';
import { indexArray, sampleArray } from './samples.ts';

interface NormAttributes {
  readonly epsilon: number;
}

/**
 * `(x - mean) / sqrt(variance + ε) * weight + bias` over the last axis (Ba et al. 2016). Also returns the mean and the
 * inverse standard deviation of each row, which the gradient needs.
 */
export const layerNormPrimitive: Primitive<NormAttributes> = definePrimitive<NormAttributes>({
  name: 'layerNorm',
  shape([x, weight, bias]) {
    const width = x.shape[x.shape.length - 1];
    if (weight.shape[0] !== width || bias.shape[0] !== width) {
      throw new RangeError(
        `layerNorm: weight [${weight.shape}] and bias [${bias.shape}] do not fit [${x.shape}]`,
      );
    }
    const statistics = { dtype: 'float32' as const, shape: [...x.shape.slice(0, -1), 1] };
    return [{ dtype: 'float32', shape: x.shape }, statistics, statistics];
  },
  reference([x, weight, bias], { epsilon }) {
    const width = x.shape[x.shape.length - 1];
    const rows = x.data.length / width;
    const y = new Float32Array(x.data.length);
    const means = new Float32Array(rows);
    const inverses = new Float32Array(rows);
    for (let row = 0; row < rows; row++) {
      const values = x.data.subarray(row * width, (row + 1) * width) as Float32Array;
      let mean = 0;
      for (const value of values) mean += value / width;
      let variance = 0;
      for (const value of values) variance += (value - mean) ** 2 / width;
      const inverse = 1 / Math.sqrt(variance + epsilon);
      for (let i = 0; i < width; i++) {
        y[row * width + i] = (values[i] - mean) * inverse * Number(weight.data[i]) + Number(bias.data[i]);
      }
      means[row] = mean;
      inverses[row] = inverse;
    }
    return [y, means, inverses];
  },
  // With x̂ the normalised row and h = g ∘ weight: dx = (h - mean(h) - x̂ mean(h ∘ x̂)) / σ
  vjp([g], { inputs: [x, weight], outputs: [, mean, inverse] }) {
    if (!g) return [];
    const rows: number[] = x.shape.slice(0, -1).map((_, axis) => axis);
    const normalized = x.sub(mean).mul(inverse);
    const h = g.mul(weight);
    const dx = h
      .sub(h.mean(-1, true))
      .sub(normalized.mul(h.mul(normalized).mean(-1, true)))
      .mul(inverse);
    const sumRows = (t: Tensor): Tensor => sum(t, rows);
    return [dx, sumRows(g.mul(normalized)), sumRows(g)];
  },
  onnx: (builder, inputs, { epsilon }) =>
    builder.node('LayerNormalization', inputs, { axis: -1, epsilon: { float: epsilon } }, { outputs: 3 }),
  samples: () => [
    {
      inputs: [
        sampleArray([3, 8], [-2, 2], 1),
        sampleArray([8], [0.5, 1.5], 2),
        sampleArray([8], [-1, 1], 3),
      ],
      attributes: { epsilon: 1e-5 },
    },
    {
      inputs: [
        sampleArray([2, 2, 6], [-2, 2], 4),
        sampleArray([6], [0.5, 1.5], 5),
        sampleArray([6], [-1, 1], 6),
      ],
      attributes: { epsilon: 1e-5 },
    },
  ],
});

/**
 * Rotary position embedding (Su et al. 2021), half-split form: of each head `[x₁, x₂]` is turned by the angle of its
 * position, `[x₁ cos - x₂ sin, x₂ cos + x₁ sin]`.
 *
 * Inputs: `x [B, H, T, D]`, `positions [B, T]` int32, and tables `cos`, `sin` `[maxPositions, D/2]`.
 */
export const rotaryPrimitive: Primitive<undefined> = definePrimitive({
  name: 'rotary',
  shape([x, positions, cos, sin]) {
    const [batch, , time, width] = x.shape;
    const tablesFit = cos.shape[1] === width / 2 && sin.shape[1] === width / 2;
    if (x.shape.length !== 4 || positions.shape[0] !== batch || positions.shape[1] !== time || !tablesFit) {
      throw new RangeError(
        `rotary: [${x.shape}], positions [${positions.shape}] and tables [${cos.shape}] do not fit`,
      );
    }
    return [{ dtype: 'float32', shape: x.shape }];
  },
  reference([x, positions, cos, sin]) {
    const [batch, heads, time, width] = x.shape;
    const half = width / 2;
    const input = x.data as Float32Array;
    const result = new Float32Array(input.length);
    for (let b = 0; b < batch; b++) {
      for (let h = 0; h < heads; h++) {
        for (let t = 0; t < time; t++) {
          const start = ((b * heads + h) * time + t) * width;
          const position = Number(positions.data[b * time + t]) * half;
          for (let i = 0; i < half; i++) {
            const c = Number(cos.data[position + i]);
            const s = Number(sin.data[position + i]);
            const x1 = input[start + i];
            const x2 = input[start + half + i];
            result[start + i] = x1 * c - x2 * s;
            result[start + half + i] = x2 * c + x1 * s;
          }
        }
      }
    }
    return [result];
  },
  // A rotation's transpose is the rotation back. The tables are constants and get no gradient.
  vjp: ([g], { inputs: [, positions, cos, sin] }) => [g && rotary(g, positions, cos, neg(sin))],
  onnx(builder, [x, positions, cos, sin]) {
    const [ids] = builder.node('Cast', [positions], { to: builder.elementType('int64') });
    return builder.node(
      'RotaryEmbedding',
      [x, ids, cos, sin],
      { interleaved: 0 },
      { domain: 'com.microsoft' },
    );
  },
  samples() {
    const angles = [0, 1, 2, 3, 4].flatMap((position) => [position, position * 0.1]);
    const table = (f: (angle: number) => number) => ({
      dtype: 'float32' as const,
      shape: [5, 2],
      data: Float32Array.from(angles, f),
    });
    const positions = indexArray([0, 1, 2, 0, 3, 4], [2, 3]);
    return [
      {
        inputs: [sampleArray([2, 2, 3, 4], [-2, 2], 1), positions, table(Math.cos), table(Math.sin)],
        attributes: undefined,
      },
    ];
  },
});

/**
 * Negative log-likelihood of int32 `targets [M]` under `softmax(logits [M, V])`, one number a row. Also returns all
 * log-probabilities `[M, V]`, which the gradient `softmax - onehot` needs; they take no gradient themselves.
 */
export const crossEntropyPrimitive: Primitive<undefined> = definePrimitive({
  name: 'crossEntropy',
  shape([logits, targets]) {
    if (logits.shape.length !== 2 || targets.shape.length !== 1 || targets.shape[0] !== logits.shape[0]) {
      throw new RangeError(
        `crossEntropy: logits [${logits.shape}] and targets [${targets.shape}] do not fit`,
      );
    }
    return [
      { dtype: 'float32', shape: targets.shape },
      { dtype: 'float32', shape: logits.shape },
    ];
  },
  reference([logits, targets]) {
    const [rows, vocabulary] = logits.shape;
    const losses = new Float32Array(rows);
    const logProbabilities = new Float32Array(logits.data.length);
    for (let row = 0; row < rows; row++) {
      const values = logits.data.subarray(row * vocabulary, (row + 1) * vocabulary) as Float32Array;
      const { max, total } = exponentialTotal(values);
      const logTotal = max + Math.log(total);
      for (let i = 0; i < vocabulary; i++) logProbabilities[row * vocabulary + i] = values[i] - logTotal;
      losses[row] = logTotal - values[Number(targets.data[row])];
    }
    return [losses, logProbabilities];
  },
  vjp([g], { inputs: [, targets], outputs: [losses, logProbabilities] }) {
    if (!g) return [];
    const column = reshape(targets, [targets.shape[0], 1]);
    const minusOne = broadcastTo(scalar(-1), [losses.shape[0], 1]);
    const difference = scatterAdd(exp(logProbabilities), column, minusOne, 1);
    return [difference.mul(reshape(g, [losses.shape[0], 1])), undefined];
  },
  onnx(builder, [logits, targets]) {
    const [logProbabilities] = builder.node('LogSoftmax', [logits], { axis: -1 });
    const [column] = builder.node('Unsqueeze', [targets, builder.ints([1])]);
    const [picked] = builder.node('GatherElements', [logProbabilities, column], { axis: 1 });
    const [flat] = builder.node('Squeeze', [picked, builder.ints([1])]);
    return [...builder.node('Neg', [flat]), logProbabilities];
  },
  samples: () => [
    { inputs: [sampleArray([3, 5], [-3, 3], 1), indexArray([4, 0, 2])], attributes: undefined },
  ],
});

/** Layer normalisation over the last axis. */
export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor, epsilon = 1e-5): Tensor {
  return applyAll(layerNormPrimitive, [x, weight, bias], { epsilon })[0];
}

/** Turn each head of `x [B, H, T, D]` by the angles of its positions `[B, T]`. */
export function rotary(x: Tensor, positions: Tensor, cos: Tensor, sin: Tensor): Tensor {
  return apply(rotaryPrimitive, [x, positions, cos, sin], undefined);
}

/** Losses `[M]` and log-probabilities `[M, V]` (without gradient) of `targets [M]` under `logits [M, V]`. */
export function crossEntropy(logits: Tensor, targets: Tensor): { losses: Tensor; logProbabilities: Tensor } {
  const [losses, logProbabilities] = applyAll(crossEntropyPrimitive, [logits, targets], undefined);
  return { losses, logProbabilities };
}
