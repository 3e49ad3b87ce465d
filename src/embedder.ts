/**
 * @file A text as one vector: the mean of the last hidden states of its tokens, made as long as 1.
 *
 * The cosine of two such vectors, here their inner product, says how alike two texts are to the model.
 *
 * Legend: T text length in tokens, C channels.
 */

import type { ModelConfig } from './config.ts';
import { paddedLength } from './kv-cache.ts';
import { GPT } from './model.ts';
import { bindParameters } from './nn/parameters.ts';
import { type Executable, matmul, type NdArray, type Runtime, trace } from './tensor/index.ts';

export interface Embedder {
  /** Longest text in tokens. */
  readonly maxLength: number;
  /** Length of a vector. */
  readonly dimensions: number;
  /** The vector `[C]` of a text, given as tokens. Throws a RangeError if it has none, or more than `maxLength`. */
  embed(tokens: ArrayLike<number>): Promise<Float32Array>;
  release(): Promise<void>;
}

const SMALLEST = 16;

/** Graphs for longer texts are compiled when they are first needed. */
export function createEmbedder(options: {
  readonly runtime: Runtime;
  readonly config: ModelConfig;
  readonly weights: Readonly<Record<string, NdArray>>;
}): Embedder {
  const { runtime, config, weights } = options;
  const { contextLength: maxLength, hiddenSize: C } = config;
  const model = new GPT(bindParameters(weights), config);

  const graphs = new Map<number, Executable>();
  const graphFor = async (T: number): Promise<Executable> => {
    const compiled = graphs.get(T);
    if (compiled) return compiled;
    const graph = trace(
      { tokens: { dtype: 'int32', shape: [1, T] }, shares: { dtype: 'float32', shape: [1, 1, T] } },
      ({ tokens, shares }) => ({ mean: matmul(shares, model.forward(tokens).hidden) }), // [1, 1, C]
    );
    const executable = await runtime.compile(graph);
    graphs.set(T, executable);
    return executable;
  };

  return {
    maxLength,
    dimensions: C,
    async embed(tokens) {
      const { length } = tokens;
      if (length === 0 || length > maxLength)
        throw new RangeError(`a text of ${length} tokens cannot be embedded; 1 to ${maxLength} can`);
      const T = paddedLength(length, SMALLEST, maxLength);
      const ids = new Int32Array(T);
      ids.set(tokens);
      // Padding comes last, where no token of the text sees it, and has no share in the mean.
      const shares = new Float32Array(T).fill(1 / length, 0, length);
      const { mean } = await (await graphFor(T)).run({
        tokens: { dtype: 'int32', shape: [1, T], data: ids },
        shares: { dtype: 'float32', shape: [1, 1, T], data: shares },
      });
      const vector = mean.data as Float32Array;
      const norm = Math.sqrt(vector.reduce((sum, x) => sum + x * x, 0));
      return vector.map((x) => x / (norm || 1));
    },
    async release() {
      for (const executable of graphs.values()) await executable.release();
    },
  };
}
