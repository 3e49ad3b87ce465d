/**
 * @file Fast inference: the prompt in one pass (prefill), then one token at a time against a cache of keys and values.
 *
 * The weights are baked into the graphs, so ONNX Runtime lays them out once for its kernels. The cache lives in plain
 * arrays here: a step reads them and returns only the new row of each, which is copied in.
 *
 * Legend: B batch, T prompt length, P cache length, G key/value heads, D head width, V vocabulary.
 */

import type { ModelConfig } from './config.ts';
import { GPT, type KeysValues, MASKED } from './model.ts';
import { bindParameters } from './nn/parameters.ts';
import {
  type Executable,
  gather,
  type NdArray,
  type Runtime,
  type Spec,
  type Tensor,
  trace,
} from './tensor/index.ts';

/** Sequences that grow together, one token a step. */
export interface Decoder {
  readonly batchSize: number;
  /** Tokens that a sequence can hold. */
  readonly maxLength: number;
  /**
   * Start over with new prompts, at most `batchSize`, none empty and none longer than `maxLength`. Returns the logits
   * `[V]` that follow each prompt.
   */
  prefill(prompts: readonly ArrayLike<number>[]): Promise<Float32Array[]>;
  /**
   * Append one token to each sequence; returns the logits `[V]` that follow. A sequence given -1, or nothing, rests: it
   * stays as it is, and its logits mean nothing. Throws a RangeError when a sequence is full. The arrays are reused by
   * the next step.
   */
  step(tokens: ArrayLike<number>): Promise<Float32Array[]>;
  /**
   * Let each sequence go on as a copy of another: sequence `b` becomes what `sources[b]` was. Sequences without a source
   * stay as they are.
   */
  reorder(sources: ArrayLike<number>): void;
  /** Compile now what prompts of up to `length` tokens will need, so that none has to wait for it. */
  prepare(length: number): Promise<void>;
  release(): Promise<void>;
}

export interface DecoderOptions {
  readonly runtime: Runtime;
  readonly config: ModelConfig;
  readonly weights: Readonly<Record<string, NdArray>>;
  readonly batchSize: number;
  /** Longest sequence; the context length when not given. */
  readonly maxLength?: number;
}

/** Prompts are padded, and caches start, at so many tokens. */
const SMALLEST_PROMPT = 16;
const SMALLEST_CACHE = 64;

/** What one step runs on, with room for P cached tokens. */
interface Step {
  readonly P: number;
  readonly executable: Executable;
  readonly feeds: Readonly<Record<string, NdArray>>;
  readonly results: Readonly<Record<string, NdArray>>;
}

/**
 * Compile a decoder. Graphs for longer prompts and longer caches are compiled when they are first needed: attention costs
 * as much as the cache is long, used or not.
 */
export async function createDecoder(options: DecoderOptions): Promise<Decoder> {
  const { runtime, config, weights, batchSize: B } = options;
  const maxLength = Math.min(options.maxLength ?? config.contextLength, config.contextLength);
  const { numLayers, numKvHeads: G, vocabSize: V } = config;
  const D = config.hiddenSize / config.numHeads;
  const layers = Array.from({ length: numLayers }, (_, i) => i);

  const model = new GPT(bindParameters(weights), config);
  const float = (...shape: number[]): NdArray => ({
    dtype: 'float32',
    shape,
    data: new Float32Array(shape.reduce((a, b) => a * b, 1)),
  });
  const int = (...shape: number[]): NdArray => ({
    dtype: 'int32',
    shape,
    data: new Int32Array(shape.reduce((a, b) => a * b, 1)),
  });

  /** The graph of one step with room for P cached tokens, and its inputs and outputs, reused from token to token. */
  const createStep = async (P: number): Promise<Step> => {
    const feeds: Record<string, NdArray> = {
      tokens: int(B, 1),
      positions: int(B, 1),
      mask: float(B, 1, 1, P + 1),
    };
    const results: Record<string, NdArray> = { logits: float(B, V) };
    for (const i of layers) {
      for (const kind of ['keys', 'values']) {
        feeds[`${kind}${i}`] = float(B, G, P, D);
        results[`new_${kind}${i}`] = float(B, G, 1, D);
      }
    }
    const graph = trace(feeds as Record<string, Spec>, (inputs) => {
      const past = layers.map((i) => ({ keys: inputs[`keys${i}`], values: inputs[`values${i}`] }));
      const { hidden, cache } = model.forward(inputs['tokens'], {
        positions: inputs['positions'],
        mask: inputs['mask'],
        past,
      });
      return { logits: model.logits(hidden), ...namedCache(cache) };
    });
    return { P, executable: await runtime.compile(graph), feeds, results };
  };
  const steps = new Map<number, Step>();
  const stepFor = async (length: number): Promise<Step> => {
    const P = paddedLength(length, SMALLEST_CACHE, maxLength);
    const step = steps.get(P) ?? (await createStep(P));
    steps.set(P, step);
    return step;
  };
  let current: Step | undefined;

  const prefills = new Map<number, Executable>();
  const prefillOf = async (length: number): Promise<Executable> => {
    let executable = prefills.get(length);
    if (!executable) {
      const specs: Record<string, Spec> = {
        tokens: { dtype: 'int32', shape: [B, length] },
        last: { dtype: 'int32', shape: [B] },
      };
      const graph = trace(specs, ({ tokens, last }) => {
        const { hidden, cache } = model.forward(tokens);
        // Padding comes after the prompt, where the causal mask hides it: only the last real position is scored.
        const ends = gather(hidden.reshape([B * length, config.hiddenSize]), last);
        return { logits: model.logits(ends), ...namedCache(cache) };
      });
      executable = await runtime.compile(graph);
      prefills.set(length, executable);
    }
    return executable;
  };

  const lengths = new Int32Array(B);

  /** Copy the first `counts` of rows `[B, G, rows, D]` into a cache of the step, each sequence's from its place on. */
  const store = (
    { feeds, P }: Step,
    name: string,
    source: NdArray,
    from: (sequence: number) => number,
    counts: (sequence: number) => number,
  ): void => {
    const target = feeds[name].data as Float32Array;
    const data = source.data as Float32Array;
    const rows = source.shape[2];
    for (let b = 0; b < B; b++) {
      const size = counts(b) * D;
      for (let g = 0; g < G; g++) {
        const start = (b * G + g) * rows * D;
        const to = ((b * G + g) * P + from(b)) * D;
        for (let i = 0; i < size; i++) target[to + i] = data[start + i];
      }
    }
  };
  const cacheNames = layers.flatMap((i) => [`keys${i}`, `values${i}`]);
  /** Let each sequence see its cached tokens and the new one, which stands at the end. */
  const openMask = ({ feeds, P }: Step): void => {
    const mask = feeds['mask'].data as Float32Array;
    mask.fill(MASKED);
    for (let b = 0; b < B; b++) {
      mask.fill(0, b * (P + 1), b * (P + 1) + lengths[b]);
      mask[b * (P + 1) + P] = 0;
    }
  };
  /** The same cache in a larger place. */
  const grow = async (smaller: Step): Promise<Step> => {
    const larger = await stepFor(smaller.P + 1);
    for (const name of cacheNames) {
      store(
        larger,
        name,
        smaller.feeds[name],
        () => 0,
        (b) => lengths[b],
      );
    }
    openMask(larger);
    return larger;
  };
  const rowsOf = (logits: NdArray): Float32Array[] =>
    Array.from({ length: B }, (_, b) => (logits.data as Float32Array).subarray(b * V, (b + 1) * V));

  return {
    batchSize: B,
    maxLength,
    async prefill(prompts) {
      const longest = Math.max(...prompts.map((prompt) => prompt.length));
      if (prompts.length > B || prompts.some(({ length }) => length === 0) || longest > maxLength) {
        throw new RangeError(
          `${prompts.length} prompts of up to ${longest} tokens do not fit ${B} x ${maxLength}`,
        );
      }
      const T = paddedLength(longest, SMALLEST_PROMPT, config.contextLength);
      const tokens = int(B, T);
      const last = int(B);
      for (let b = 0; b < B; b++) {
        // Unused places repeat the first prompt.
        const prompt = prompts[b] ?? prompts[0];
        (tokens.data as Int32Array).set(prompt, b * T);
        last.data[b] = b * T + prompt.length - 1;
        lengths[b] = prompt.length;
      }
      const outputs = await (await prefillOf(T)).run({ tokens, last });
      const start = await stepFor(longest);
      for (const name of cacheNames) {
        store(
          start,
          name,
          outputs[`new_${name}`],
          () => 0,
          (b) => lengths[b],
        );
      }
      openMask(start);
      current = start;
      return rowsOf(outputs['logits']).slice(0, prompts.length);
    },
    async step(tokens) {
      if (!current) throw new RangeError('a step needs a prefill before it');
      const grows = (b: number): boolean => (tokens[b] ?? -1) >= 0;
      for (let b = 0; b < B; b++) {
        if (!grows(b)) continue;
        if (lengths[b] >= maxLength) throw new RangeError(`sequence ${b} is full: ${maxLength} tokens`);
        if (lengths[b] >= current.P) current = await grow(current);
      }
      const { executable, feeds, results, P } = current;
      for (let b = 0; b < B; b++) {
        feeds['tokens'].data[b] = grows(b) ? tokens[b] : 0;
        feeds['positions'].data[b] = grows(b) ? lengths[b] : 0;
      }
      const outputs = await executable.run(feeds, results);
      for (const name of cacheNames) {
        store(
          current,
          name,
          outputs[`new_${name}`],
          (b) => lengths[b],
          (b) => (grows(b) ? 1 : 0),
        );
      }
      const mask = feeds['mask'].data as Float32Array;
      for (let b = 0; b < B; b++) if (grows(b)) mask[b * (P + 1) + lengths[b]++] = 0;
      return rowsOf(outputs['logits']);
    },
    async prepare(length) {
      let prepared = 0;
      for (let size = SMALLEST_PROMPT; prepared < Math.min(length, maxLength); size *= 2) {
        prepared = Math.min(size, maxLength);
        await prefillOf(paddedLength(prepared, SMALLEST_PROMPT, config.contextLength));
        await stepFor(prepared);
      }
    },
    reorder(sources) {
      if (!current) throw new RangeError('reordering needs a prefill before it');
      const size = G * current.P * D;
      for (const name of cacheNames) {
        const cache = current.feeds[name].data as Float32Array;
        const before = cache.slice();
        for (let b = 0; b < B; b++) {
          const source = sources[b] ?? b;
          if (source !== b) cache.set(before.subarray(source * size, (source + 1) * size), b * size);
        }
      }
      lengths.set(lengths.map((length, b) => (b < sources.length ? lengths[sources[b]] : length)));
      openMask(current);
    },
    async release() {
      for (const { executable } of steps.values()) await executable.release();
      for (const executable of prefills.values()) await executable.release();
    },
  };
}

function namedCache(cache: readonly KeysValues[]): Record<string, Tensor> {
  const named: Record<string, Tensor> = {};
  cache.forEach(({ keys, values }, i) => {
    named[`new_keys${i}`] = keys;
    named[`new_values${i}`] = values;
  });
  return named;
}

/** Lengths are rounded up to a few sizes, so that few graphs are compiled. */
function paddedLength(length: number, smallest: number, largest: number): number {
  let padded = smallest;
  while (padded < length) padded *= 2;
  return Math.min(padded, largest);
}
