/** @file From a function over tensors to a graph. */

import type { GraphNode, Spec } from './primitive.ts';
import { Tensor } from './tensor.ts';

/** A computation that can be run many times: nodes in an order in which every input comes before its use. */
export interface Graph {
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly outputs: Readonly<Record<string, Tensor>>;
  readonly nodes: readonly GraphNode[];
}

/**
 * Run `build` once on symbolic tensors of the given specs and keep what its outputs depend on.
 *
 * @example
 * const graph = trace({ x: { dtype: 'float32', shape: [2] } }, ({ x }) => ({ y: x.mul(x) }));
 */
export function trace<Name extends string>(
  inputs: Readonly<Record<Name, Spec>>,
  build: (inputs: Record<Name, Tensor>) => Readonly<Record<string, Tensor>>,
): Graph {
  const symbolic = {} as Record<Name, Tensor>;
  for (const name of Object.keys(inputs) as Name[]) {
    symbolic[name] = new Tensor(inputs[name], { inputName: name });
  }
  const outputs = build(symbolic);
  return { inputs: symbolic, outputs, nodes: sortNodes(Object.values(outputs)) };
}

/** All nodes that `outputs` depend on, each after the nodes it reads (depth first, without recursion). */
export function sortNodes(outputs: readonly Tensor[]): GraphNode[] {
  const sorted: GraphNode[] = [];
  const done = new Set<GraphNode>();
  const stack: { node: GraphNode; next: number }[] = [];
  const enter = (tensor: Tensor): void => {
    if ('node' in tensor.source && !done.has(tensor.source.node)) {
      done.add(tensor.source.node);
      stack.push({ node: tensor.source.node, next: 0 });
    }
  };
  for (const output of outputs) {
    enter(output);
    while (stack.length > 0) {
      const top = stack[stack.length - 1];
      if (top.next < top.node.inputs.length) enter(top.node.inputs[top.next++]);
      else sorted.push(stack.pop()!.node);
    }
  }
  return sorted;
}
