/**
 * @file Where layers get their weights from.
 *
 * A layer asks a scope for each of its weights by name, shape and initialisation. The same constructor therefore
 * serves to list the weights of a model, to create them, to read trained ones, and to build a graph over symbolic ones.
 */

import { type NdArray, type Shape, sizeOf } from '../tensor/ndarray.ts';
import { createRandom, foldSeed } from '../tensor/random.ts';
import { fromNdArray, Tensor } from '../tensor/tensor.ts';

/**
 * How a weight starts: a constant, values worked out, normal with mean 0 and a standard deviation, or uniform between
 * -bound and bound.
 */
export type Initializer =
  | { readonly constant: number }
  | { readonly values: Float32Array }
  | { readonly std: number }
  | { readonly bound: number };

export interface ParameterSpec {
  readonly shape: Shape;
  readonly init: Initializer;
}

/** A place in the tree of names, such as `blocks.0.attention`. */
export interface Parameters {
  /** The weight called `name` here. */
  get(name: string, shape: Shape, init: Initializer): Tensor;
  /** The scope one level down. */
  at(name: string | number): Parameters;
  /** Adds to the output `[M, out]` of a linear layer here what an adapter makes of its input `[M, in]` (`stages/lora.ts`). */
  readonly adapter?: (output: Tensor, input: Tensor) => Tensor;
}

function scope(path: string, resolve: (fullName: string, spec: ParameterSpec) => Tensor): Parameters {
  return {
    get: (name, shape, init) => resolve(`${path}${name}`, { shape, init }),
    at: (name) => scope(`${path}${name}.`, resolve),
  };
}

/** All weights that a constructor asks for, in the order in which it asks. */
export function listParameters(build: (parameters: Parameters) => unknown): Record<string, ParameterSpec> {
  const specs: Record<string, ParameterSpec> = {};
  build(
    scope('', (name, spec) => {
      specs[name] = spec;
      return new Tensor({ dtype: 'float32', shape: spec.shape }, { inputName: name });
    }),
  );
  return specs;
}

/** Create initial weights. Each depends on the seed and its own name only. */
export function initializeParameters(
  specs: Readonly<Record<string, ParameterSpec>>,
  seed: number,
): Record<string, NdArray> {
  const weights: Record<string, NdArray> = {};
  for (const [name, { shape, init }] of Object.entries(specs)) {
    const data = new Float32Array(sizeOf(shape));
    if ('constant' in init) data.fill(init.constant);
    else if ('values' in init) data.set(init.values);
    else {
      const random = createRandom(foldSeed(seed, name));
      const draw =
        'std' in init ? () => init.std * random.normal() : () => init.bound * (2 * random.uniform() - 1);
      for (let i = 0; i < data.length; i++) data[i] = draw();
    }
    weights[name] = { dtype: 'float32', shape, data };
  }
  return weights;
}

/** Read weights by name. Throws an Error when one is missing. */
export function bindParameters(weights: Readonly<Record<string, Tensor | NdArray>>): Parameters {
  return scope('', (name) => {
    const weight = weights[name];
    if (!weight) throw new Error(`the weights lack ${name}`);
    return toTensor(weight);
  });
}

/** A weight as a tensor: a symbol stays one. */
export function toTensor(weight: Tensor | NdArray): Tensor {
  return weight instanceof Tensor ? weight : fromNdArray(weight);
}

/** Total number of weights. */
export function countParameters(specs: Readonly<Record<string, { readonly shape: Shape }>>): number {
  return Object.values(specs).reduce((total, { shape }) => total + sizeOf(shape), 0);
}
