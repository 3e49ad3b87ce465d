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
   * stays as it is, and its logits mean nothing, or are left out where no sequence after it grows. Throws a RangeError
   * when a sequence is full. The arrays are reused by the next step.
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

/** A decoder whose sequences come and go one by one. */
export interface SharedDecoder extends Decoder {
  /** Start one sequence over with a new prompt, and leave the others as they are. Returns the logits `[V]` that follow. */
  admit(sequence: number, prompt: ArrayLike<number>): Promise<Float32Array>;
  /** Empty a sequence: until the next prompt it takes no room in the cache. */
  dismiss(sequence: number): void;
}

export interface DecoderOptions {
  readonly runtime: Runtime;
  readonly config: ModelConfig;
  readonly weights: Readonly<Record<string, NdArray>>;
  readonly batchSize: number;
  /**
   * Smaller batches to compile steps for as well: a step runs on the smallest that holds all sequences that grow, so that
   * few of them do not wait for the work of many.
   */
  readonly smallerBatches?: readonly number[];
  /** Longest sequence; the context length when not given. */
  readonly maxLength?: number;
}

/** Prompts are padded, and caches start, at so many tokens. */
const SMALLEST_PROMPT = 16;
const SMALLEST_CACHE = 64;

/** What one step runs on, with room for P cached tokens. */
interface Step {
  readonly P: number;
  readonly feeds: Readonly<Record<string, NdArray>>;
  readonly results: Readonly<Record<string, NdArray>>;
  /** By batch size: a graph, and the first rows of feeds and results. */
  readonly graphs: Map<number, StepGraph>;
}

interface StepGraph extends Omit<Step, 'P' | 'graphs'> {
  readonly executable: Executable;
}

/**
 * Compile a decoder. Graphs for longer prompts and longer caches are compiled when they are first needed: attention costs
 * as much as the cache is long, used or not.
 */
export async function createDecoder(options: DecoderOptions): Promise<SharedDecoder> {
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

  /** The inputs and outputs of a step with room for P cached tokens, reused from token to token. */
  const createStep = (P: number): Step => {
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
    return { P, feeds, results, graphs: new Map() };
  };
  const batchSizes = [...(options.smallerBatches ?? []), B].sort((a, b) => a - b);
  /** The graph of a step for the first `count` sequences at least. */
  const graphFor = async (step: Step, count: number): Promise<StepGraph> => {
    const size = batchSizes.find((each) => each >= count)!;
    const compiled = step.graphs.get(size);
    if (compiled) return compiled;
    const feeds = firstRows(step.feeds, size);
    const results = firstRows(step.results, size);
    const graph = trace(feeds as Record<string, Spec>, (inputs) => {
      const past = layers.map((i) => ({ keys: inputs[`keys${i}`], values: inputs[`values${i}`] }));
      const { hidden, cache } = model.forward(inputs['tokens'], {
        positions: inputs['positions'],
        mask: inputs['mask'],
        past,
      });
      return { logits: model.logits(hidden), ...namedCache(cache) };
    });
    const stepGraph = { executable: await runtime.compile(graph), feeds, results };
    step.graphs.set(size, stepGraph);
    return stepGraph;
  };
  const steps = new Map<number, Step>();
  const stepFor = (length: number): Step => {
    const P = paddedLength(length, SMALLEST_CACHE, maxLength);
    const step = steps.get(P) ?? createStep(P);
    steps.set(P, step);
    return step;
  };
  let current: Step | undefined;

  const prefills = new Map<string, Executable>();
  const prefillOf = async (count: number, length: number): Promise<Executable> => {
    const key = `${count} x ${length}`;
    let executable = prefills.get(key);
    if (!executable) {
      const specs: Record<string, Spec> = {
        tokens: { dtype: 'int32', shape: [count, length] },
        last: { dtype: 'int32', shape: [count] },
      };
      const graph = trace(specs, ({ tokens, last }) => {
        const { hidden, cache } = model.forward(tokens);
        // Padding comes after the prompt, where the causal mask hides it: only the last real position is scored.
        const ends = gather(hidden.reshape([count * length, config.hiddenSize]), last);
        return { logits: model.logits(ends), ...namedCache(cache) };
      });
      executable = await runtime.compile(graph);
      prefills.set(key, executable);
    }
    return executable;
  };

  const lengths = new Int32Array(B);

  /**
   * Copy the first `counts` of rows `[n, G, rows, D]` into a cache of the step, each sequence's from its place on, the
   * first of them being that of sequence `first`.
   */
  const store = (
    { feeds, P }: Step,
    name: string,
    source: NdArray,
    from: (sequence: number) => number,
    counts: (sequence: number) => number,
    first = 0,
  ): void => {
    const target = feeds[name].data as Float32Array;
    const data = source.data as Float32Array;
    const [n, , rows] = source.shape;
    for (let b = first; b < first + n; b++) {
      const size = counts(b) * D;
      for (let g = 0; g < G; g++) {
        const start = ((b - first) * G + g) * rows * D;
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
  /** The cache of the size for sequences of up to `length` tokens, with what the current one holds. */
  const cacheFor = (length: number): Step => {
    const step = stepFor(length);
    if (step === current) return step;
    for (const name of current ? cacheNames : []) {
      store(
        step,
        name,
        current!.feeds[name],
        () => 0,
        (b) => lengths[b],
      );
    }
    openMask(step);
    return step;
  };
  const rowsOf = (logits: NdArray): Float32Array[] =>
    Array.from({ length: logits.shape[0] }, (_, b) =>
      (logits.data as Float32Array).subarray(b * V, (b + 1) * V),
    );

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
      const outputs = await (await prefillOf(B, T)).run({ tokens, last });
      const start = stepFor(longest);
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
      let longest = 1;
      let count = 1;
      for (let b = 0; b < B; b++) {
        if (grows(b)) count = b + 1;
        if (grows(b) && lengths[b] >= maxLength)
          throw new RangeError(`sequence ${b} is full: ${maxLength} tokens`);
        longest = Math.max(longest, grows(b) ? lengths[b] + 1 : lengths[b]);
      }
      current = cacheFor(longest);
      const { executable, feeds, results } = await graphFor(current, count);
      const { P } = current;
      for (let b = 0; b < feeds['tokens'].data.length; b++) {
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
        await prefillOf(B, paddedLength(prepared, SMALLEST_PROMPT, config.contextLength));
        await graphFor(stepFor(prepared), B);
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
    async admit(sequence, prompt) {
      if (!(sequence >= 0 && sequence < B) || prompt.length === 0 || prompt.length > maxLength) {
        throw new RangeError(
          `a prompt of ${prompt.length} tokens for sequence ${sequence} does not fit ${B} x ${maxLength}`,
        );
      }
      const T = paddedLength(prompt.length, SMALLEST_PROMPT, config.contextLength);
      const tokens = int(1, T);
      (tokens.data as Int32Array).set(prompt);
      const last = int(1);
      last.data[0] = prompt.length - 1;
      const outputs = await (await prefillOf(1, T)).run({ tokens, last });
      lengths[sequence] = 0;
      current = cacheFor(Math.max(prompt.length, ...lengths));
      lengths[sequence] = prompt.length;
      for (const name of cacheNames) {
        store(
          current,
          name,
          outputs[`new_${name}`],
          () => 0,
          () => prompt.length,
          sequence,
        );
      }
      openMask(current);
      return rowsOf(outputs['logits'])[0];
    },
    dismiss(sequence) {
      lengths[sequence] = 0;
      if (current) openMask(current);
    },
    async release() {
      for (const { graphs } of steps.values())
        for (const { executable } of graphs.values()) await executable.release();
      for (const executable of prefills.values()) await executable.release();
    },
  };
}

/** The same arrays, as far as their first `count` rows. */
function firstRows(
  arrays: Readonly<Record<string, NdArray>>,
  count: number,
): Readonly<Record<string, NdArray>> {
  const first = ({ dtype, shape: [rows, ...rest], data }: NdArray): NdArray => ({
    dtype,
    shape: [count, ...rest],
    data: data.subarray(0, (data.length / rows) * count),
  });
  return Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, first(array)]));
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
export function paddedLength(length: number, smallest: number, largest: number): number {
  let padded = smallest;
  while (padded < length) padded *= 2;
  return Math.min(padded, largest);
}
