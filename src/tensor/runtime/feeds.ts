/** @file Checks of what is fed to a graph, shared by the runtimes. */

import type { NdArray } from '../ndarray.ts';
import { sameShape } from '../shape.ts';
import type { Graph } from '../trace.ts';

/** Throws a RangeError naming the first input that is missing, or has another shape or type than was traced. */
export function checkFeeds(graph: Graph, feeds: Readonly<Record<string, NdArray>>): void {
  for (const [name, input] of Object.entries(graph.inputs)) {
    const fed = feeds[name];
    if (!fed) throw new RangeError(`the graph needs an input named ${name}`);
    if (fed.dtype !== input.dtype || !sameShape(fed.shape, input.shape)) {
      throw new RangeError(
        `input ${name} is ${fed.dtype} [${fed.shape}], the graph was traced for ${input.dtype} [${input.shape}]`,
      );
    }
  }
}
