/** @file The layers that every model is made of: linear, the two normalisations, dropout, the SiLU activation. */

import {
  bernoulli,
  gemm,
  layerNorm,
  quantizedGemm,
  sigmoid,
  sqrt,
  type Tensor,
  where,
} from '../tensor/index.ts';
import type { Initializer, Parameters } from './parameters.ts';

const ZERO: Initializer = { constant: 0 };
const ONE: Initializer = { constant: 1 };

/**
 * `y = x W + b` on the last axis; `weight [in, out]`, `bias [out]`. A weight of eight bits comes with the `scales [out]`
 * of its columns, and an adapter adds to `y`.
 */
export class Linear {
  readonly weight: Tensor;
  readonly scales: Tensor | undefined;
  readonly bias: Tensor | undefined;
  readonly adapter: Parameters['adapter'];

  constructor(
    parameters: Parameters,
    inputSize: number,
    outputSize: number,
    options: { readonly init: Initializer; readonly bias: boolean | Initializer },
  ) {
    const { init, bias } = options;
    this.weight = parameters.get('weight', [inputSize, outputSize], init);
    this.scales = this.weight.dtype === 'int8' ? parameters.get('scales', [outputSize], ONE) : undefined;
    this.bias = bias ? parameters.get('bias', [outputSize], bias === true ? ZERO : bias) : undefined;
    this.adapter = parameters.adapter;
  }

  /** `[..., in]` to `[..., out]`. */
  forward(x: Tensor): Tensor {
    const [inputSize, outputSize] = this.weight.shape;
    const rows = x.reshape([-1, inputSize]);
    const product = this.scales
      ? quantizedGemm(rows, this.weight, this.scales, this.bias)
      : gemm(rows, this.weight, this.bias);
    const y = this.adapter ? this.adapter(product, rows) : product;
    return y.reshape([...x.shape.slice(0, -1), outputSize]);
  }
}

/** Layer normalisation (Ba et al. 2016). */
export class LayerNorm {
  readonly weight: Tensor;
  readonly bias: Tensor;

  constructor(parameters: Parameters, size: number) {
    this.weight = parameters.get('weight', [size], ONE);
    this.bias = parameters.get('bias', [size], ZERO);
  }

  forward(x: Tensor): Tensor {
    return layerNorm(x, this.weight, this.bias);
  }
}

/** Root-mean-square normalisation (Zhang & Sennrich 2019): no mean is subtracted, no bias added. */
export class RmsNorm {
  readonly weight: Tensor;

  constructor(parameters: Parameters, size: number) {
    this.weight = parameters.get('weight', [size], ONE);
  }

  forward(x: Tensor): Tensor {
    const rootMeanSquare = sqrt(x.mul(x).mean(-1, true).add(1e-5));
    return x.div(rootMeanSquare).mul(this.weight);
  }
}

/** `x σ(x)` (Elfwing et al. 2017). */
export function silu(x: Tensor): Tensor {
  return x.mul(sigmoid(x));
}

/**
 * Sets a random share `rate` of the elements to zero and scales the others up by `1 / (1 - rate)` (Srivastava et al.
 * 2014). `key` is an int32 scalar: the same key drops the same elements, so a resumed run goes on as before.
 */
export function dropout(x: Tensor, rate: number, key: Tensor | undefined): Tensor {
  if (rate === 0 || key === undefined) return x;
  return where(bernoulli(key, x.shape, 1 - rate), x, 0).mul(1 / (1 - rate));
}
