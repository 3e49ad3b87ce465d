/** @file The reference interpreter: runs a graph node by node in plain loops. The definition, and the oracle in tests. */

import type { NdArray } from '../ndarray.ts';
import type { Tensor } from '../tensor.ts';
import type { Graph } from '../trace.ts';
import { checkFeeds } from './feeds.ts';

/** Run a graph on concrete inputs. Throws a RangeError when an input is missing or has another shape or type. */
export function interpret(graph: Graph, feeds: Readonly<Record<string, NdArray>>): Record<string, NdArray> {
  checkFeeds(graph, feeds);
  const values = new Map<Tensor, NdArray>();
  const lookUp = (tensor: Tensor): NdArray => {
    if ('inputName' in tensor.source) return feeds[tensor.source.inputName];
    return tensor.isConcrete ? tensor.value : values.get(tensor)!;
  };
  for (const { primitive, attributes, inputs, outputs } of graph.nodes) {
    const data = primitive.reference(inputs.map(lookUp), attributes, outputs);
    outputs.forEach((output, i) => {
      values.set(output, { dtype: output.dtype, shape: output.shape, data: data[i] });
    });
  }
  return Object.fromEntries(Object.entries(graph.outputs).map(([name, output]) => [name, lookUp(output)]));
}
