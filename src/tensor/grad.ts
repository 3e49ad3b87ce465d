/** @file Reverse-mode differentiation: the gradient of a graph is another graph. */

import type { Shape } from './ndarray.ts';
import type { GraphNode } from './primitive.ts';
import { sum } from './primitives/reduce.ts';
import { scalar, Tensor } from './tensor.ts';
import { sortNodes } from './trace.ts';

/**
 * Gradients of a scalar `loss` with respect to symbolic tensors, in their order.
 *
 * Walks the graph backwards, calling the rule of each primitive and adding up what reaches each tensor. Only nodes on
 * a path from `wrt` to the loss are visited: nothing is built for what is frozen. Throws a RangeError when the loss is
 * not a scalar.
 */
export function gradients(loss: Tensor, wrt: readonly Tensor[]): Tensor[] {
  if (loss.size !== 1) throw new RangeError(`a loss must be a scalar, the shape is [${loss.shape}]`);
  const nodes = sortNodes([loss]);
  const dependent = findDependents(nodes, new Set(wrt));
  const total = new Map<Tensor, Tensor>();
  const accumulate = (tensor: Tensor, gradient: Tensor): void => {
    const partial = unbroadcast(gradient, tensor.shape);
    const before = total.get(tensor);
    total.set(tensor, before ? before.add(partial) : partial);
  };
  accumulate(loss, scalar(1).reshape(loss.shape));

  for (const node of nodes.reverse()) {
    const cotangents = node.outputs.map((output) => total.get(output));
    if (cotangents.every((cotangent) => cotangent === undefined)) continue;
    if (!node.inputs.some((input) => dependent.has(input))) continue;
    // A rule that is absent (comparisons, indices) passes nothing on: its derivative is zero almost everywhere.
    const partials = node.primitive.vjp?.(cotangents, node) ?? [];
    node.inputs.forEach((input, i) => {
      const partial = partials[i];
      if (partial && dependent.has(input)) accumulate(input, partial);
    });
  }
  return wrt.map((tensor) => total.get(tensor) ?? zerosLike(tensor));
}

/** Tensors through which a change of `sources` can reach an output of `nodes`. */
function findDependents(nodes: readonly GraphNode[], sources: ReadonlySet<Tensor>): Set<Tensor> {
  const dependent = new Set(sources);
  for (const node of nodes) {
    if (node.inputs.some((input) => dependent.has(input))) {
      for (const output of node.outputs) dependent.add(output);
    }
  }
  return dependent;
}

/** Broadcasting repeats an element; its gradient is therefore the sum over the repetitions. */
function unbroadcast(gradient: Tensor, shape: Shape): Tensor {
  const extra = gradient.rank - shape.length;
  const axes = gradient.shape
    .map((_, axis) => axis)
    .filter((axis) => axis < extra || (shape[axis - extra] === 1 && gradient.shape[axis] !== 1));
  return axes.length === 0 ? gradient.reshape(shape) : sum(gradient, axes).reshape(shape);
}

function zerosLike(tensor: Tensor): Tensor {
  return new Tensor(tensor, { data: new Float32Array(tensor.size) });
}
