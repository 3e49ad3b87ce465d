/**
 * @file Fast inference: the prompt in one pass (prefill), then one token at a time against a cache of keys and values.
 *
 * The weights are baked into the graphs, so ONNX Runtime lays them out once for its kernels.
 *
 * Legend: B batch, T prompt length, P places of the cache, V vocabulary.
 */

import type { ModelConfig } from './config.ts';
import { cachedIn, KvCache, newRows, paddedLength } from './kv-cache.ts';
import { GPT } from './model.ts';
import { bindParameters } from './nn/parameters.ts';
import {
  type Executable,
  gather,
  type NdArray,
  type Runtime,
  type Spec,
  trace,
  zerosOf,
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

/** Prompts are padded to so many tokens at least. */
const SMALLEST_PROMPT = 16;

/** A step for the first sequences of the batch: the arrays are the first rows of those of all. */
interface Step {
  readonly executable: Executable;
  readonly feeds: Readonly<Record<string, NdArray>>;
  readonly results: Readonly<Record<string, NdArray>>;
}

/**
 * Compile a decoder. Graphs for longer prompts and longer caches are compiled when they are first needed: attention costs
 * as much as the cache is long, used or not.
 */
export async function createDecoder(options: DecoderOptions): Promise<SharedDecoder> {
  const { runtime, config, weights, batchSize: B } = options;
  const maxLength = Math.min(options.maxLength ?? config.contextLength, config.contextLength);
  const { numLayers, numKvHeads, vocabSize: V } = config;
  const model = new GPT(bindParameters(weights), config);
  const cache = new KvCache(config, B, maxLength);

  const prefills = new Map<string, Executable>();
  const prefillFor = async (count: number, length: number): Promise<Executable> => {
    const key = `${count} x ${length}`;
    const compiled = prefills.get(key);
    if (compiled) return compiled;
    const specs: Record<string, Spec> = {
      tokens: { dtype: 'int32', shape: [count, length] },
      last: { dtype: 'int32', shape: [count] },
    };
    const graph = trace(specs, ({ tokens, last }) => {
      const { hidden, cache: rows } = model.forward(tokens);
      // Padding comes after the prompt, where the causal mask hides it: only the last real position is scored.
      const ends = gather(hidden.reshape([count * length, config.hiddenSize]), last);
      return { logits: model.logits(ends), ...newRows(rows) };
    });
    const executable = await runtime.compile(graph);
    prefills.set(key, executable);
    return executable;
  };

  // Reused from token to token.
  const growing = { tokens: zerosOf('int32', B, 1), positions: zerosOf('int32', B, 1) };
  const newRow = [B, numKvHeads, 1, config.hiddenSize / config.numHeads];
  const results = {
    logits: zerosOf('float32', B, V),
    ...newRows(
      Array.from({ length: numLayers }, () => ({
        keys: zerosOf('float32', ...newRow),
        values: zerosOf('float32', ...newRow),
      })),
    ),
  };
  const batchSizes = [...(options.smallerBatches ?? []), B].sort((a, b) => a - b);
  const steps = new Map<string, Step>();
  /** The step for the first `count` sequences at least, with P places in the cache. */
  const stepFor = async (count: number, P: number): Promise<Step> => {
    const size = batchSizes.find((each) => each >= count)!;
    const key = `${size} x ${P}`;
    const compiled = steps.get(key);
    if (compiled) return compiled;
    const feeds = firstRows({ ...growing, ...cache.arraysOf(P) }, size);
    const graph = trace(feeds as Record<string, Spec>, (inputs) => {
      const { tokens, positions, mask } = inputs;
      const past = cachedIn(inputs, numLayers);
      const { hidden, cache: rows } = model.forward(tokens, { positions, mask, past });
      return { logits: model.logits(hidden), ...newRows(rows) };
    });
    const step = { executable: await runtime.compile(graph), feeds, results: firstRows(results, size) };
    steps.set(key, step);
    return step;
  };

  /** Read prompts into the sequences from `first` on; returns the logits `[n, V]`. */
  const read = async (prompts: readonly ArrayLike<number>[], first: number): Promise<Float32Array[]> => {
    const n = prompts.length;
    const lengths = prompts.map(({ length }) => length);
    const T = paddedLength(Math.max(...lengths), SMALLEST_PROMPT, config.contextLength);
    const tokens = zerosOf('int32', n, T);
    const last = zerosOf('int32', n);
    prompts.forEach((prompt, b) => {
      (tokens.data as Int32Array).set(prompt, b * T);
      last.data[b] = b * T + lengths[b] - 1;
    });
    const outputs = await (await prefillFor(n, T)).run({ tokens, last });
    cache.fill(first, lengths, outputs);
    return rowsOf(outputs['logits']);
  };

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
      // Unused places repeat the first prompt.
      const all = Array.from({ length: B }, (_, b) => prompts[b] ?? prompts[0]);
      return (await read(all, 0)).slice(0, prompts.length);
    },
    async step(tokens) {
      if (cache.isEmpty) throw new RangeError('a step needs a prefill before it');
      const grows = (b: number): boolean => (tokens[b] ?? -1) >= 0;
      let longest = 1;
      let count = 1;
      for (let b = 0; b < B; b++) {
        const length = cache.lengths[b];
        if (grows(b)) count = b + 1;
        if (grows(b) && length >= maxLength)
          throw new RangeError(`sequence ${b} is full: ${maxLength} tokens`);
        longest = Math.max(longest, grows(b) ? length + 1 : length);
      }
      const step = await stepFor(count, cache.fit(longest));
      for (let b = 0; b < step.feeds['tokens'].data.length; b++) {
        growing.tokens.data[b] = grows(b) ? tokens[b] : 0;
        growing.positions.data[b] = grows(b) ? cache.lengths[b] : 0;
      }
      const outputs = await step.executable.run(step.feeds, step.results);
      cache.append(outputs, grows);
      return rowsOf(outputs['logits']);
    },
    async prepare(length) {
      let prepared = 0;
      for (let size = SMALLEST_PROMPT; prepared < Math.min(length, maxLength); size *= 2) {
        prepared = Math.min(size, maxLength);
        await prefillFor(B, paddedLength(prepared, SMALLEST_PROMPT, config.contextLength));
        await stepFor(B, cache.placesFor(prepared));
      }
    },
    reorder(sources) {
      if (cache.isEmpty) throw new RangeError('reordering needs a prefill before it');
      cache.reorder(sources);
    },
    async admit(sequence, prompt) {
      if (!(sequence >= 0 && sequence < B) || prompt.length === 0 || prompt.length > maxLength) {
        throw new RangeError(
          `a prompt of ${prompt.length} tokens for sequence ${sequence} does not fit ${B} x ${maxLength}`,
        );
      }
      return (await read([prompt], sequence))[0];
    },
    dismiss(sequence) {
      cache.empty(sequence);
    },
    async release() {
      for (const { executable } of steps.values()) await executable.release();
      for (const executable of prefills.values()) await executable.release();
    },
  };
}

function rowsOf({ shape: [rows, width], data }: NdArray): Float32Array[] {
  return Array.from({ length: rows }, (_, b) => (data as Float32Array).subarray(b * width, (b + 1) * width));
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
