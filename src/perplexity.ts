/**
 * @file Perplexity: how surprised a model is by a text. If it is 20, the model was as unsure of every next token as if
 * 20 had been equally likely.
 *
 *     npm run perplexity -- book.txt --checkpoint checkpoints/pretrain_final
 *
 * A text is longer than the context, so it is read through windows. Windows that lie side by side are cheap, but the
 * first tokens of each are guessed from almost nothing, and the model looks worse than it is. So windows overlap here:
 * each begins `stride` tokens after the one before, and only its tokens that are new are counted, every one of which
 * (but those at the beginning of a text) has seen at least `contextLength - stride` tokens before it.
 *
 * Tokens of different tokenizers differ in length, and so do their perplexities: to compare models, use bits per byte.
 *
 * Legend: B windows at a time, T length of a window.
 */

import type { ModelConfig } from './config.ts';
import { GPT } from './model.ts';
import { tokenLogProbabilities } from './nn/losses.ts';
import { bindParameters } from './nn/parameters.ts';
import { type NdArray, type Runtime, trace } from './tensor/index.ts';
import { SPECIAL, type Tokenizer } from './tokenizer.ts';

/** A part of a text: tokens, the tokens that follow them, and from which position on they are counted. */
export interface Window {
  readonly ids: Int32Array;
  readonly targets: Int32Array;
  readonly countedFrom: number;
}

/**
 * Windows of at most `length` tokens in which every token but the first of `ids` is counted exactly once.
 * @param stride tokens from the beginning of a window to that of the next, from 1 to `length`
 */
export function slideWindows(ids: Int32Array, length: number, stride: number): Window[] {
  const windows: Window[] = [];
  const total = ids.length - 1;
  for (let start = 0, counted = 0; counted < total; start += stride) {
    const end = Math.min(start + length, total);
    windows.push({
      ids: ids.subarray(start, end),
      targets: ids.subarray(start + 1, end + 1),
      countedFrom: counted - start,
    });
    counted = end;
  }
  return windows;
}

export interface Perplexity {
  readonly tokens: number;
  readonly bytes: number;
  /** Negative log-probability of the whole text. */
  readonly nats: number;
  /** e to the nats a token. */
  readonly perToken: number;
  /** e to the nats a byte. */
  readonly perByte: number;
  readonly bitsPerByte: number;
}

/** Windows at a time. */
const B = 8;

/** What is measured of one document. */
export type Surprise = Pick<Perplexity, 'tokens' | 'bytes' | 'nats'>;

export interface PerplexityOptions {
  readonly runtime: Runtime;
  readonly config: ModelConfig;
  readonly weights: Readonly<Record<string, NdArray>>;
  readonly tokenizer: Tokenizer;
  readonly documents: readonly string[];
  readonly stride: number;
  /** Is told how many of all windows are done. */
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Perplexity of documents, each of which follows an `<eos>`, as in pretraining. That token is not counted, and neither
 * is the end of a document: the figures are about the text alone.
 */
export async function measurePerplexity(options: PerplexityOptions): Promise<Perplexity> {
  const all = await measureDocuments(options);
  const sum = (of: keyof Surprise): number => all.reduce((total, each) => total + each[of], 0);
  const [tokens, bytes, nats] = [sum('tokens'), sum('bytes'), sum('nats')];
  return {
    tokens,
    bytes,
    nats,
    perToken: Math.exp(nats / tokens),
    perByte: Math.exp(nats / bytes),
    bitsPerByte: nats / Math.LN2 / bytes,
  };
}

/** The same document by document. */
export async function measureDocuments(options: PerplexityOptions): Promise<Surprise[]> {
  const { config, tokenizer, documents, stride } = options;
  const texts = documents.map((document) => tokenizer.encode(document));
  const windows = texts.map((text) =>
    slideWindows(Int32Array.from([SPECIAL.eos, ...text]), config.contextLength, stride),
  );
  const nats = await nextTokenNats(options, windows.flat());
  let first = 0;
  return documents.map((document, i) => {
    let total = 0;
    for (const { countedFrom } of windows[i])
      for (const each of nats[first++].subarray(countedFrom)) total += each;
    return { tokens: texts[i].length, bytes: new TextEncoder().encode(document).length, nats: total };
  });
}

/** Negative log-probability in nats of each target of each window, of which none is longer than the context. */
export async function nextTokenNats(
  options: Pick<PerplexityOptions, 'runtime' | 'config' | 'weights' | 'onProgress'>,
  windows: readonly Pick<Window, 'ids' | 'targets'>[],
): Promise<Float32Array[]> {
  const { runtime, config, weights, onProgress } = options;
  const T = windows.reduce((longest, { ids }) => Math.max(longest, ids.length), 1);
  const model = new GPT(bindParameters(weights), config);
  const spec = { dtype: 'int32', shape: [B, T] } as const;
  const executable = await runtime.compile(
    trace({ ids: spec, targets: spec }, ({ ids, targets }) => ({
      logProbabilities: tokenLogProbabilities(model.logits(model.forward(ids).hidden), targets), // [B, T]
    })),
  );
  const nats: Float32Array[] = [];
  for (let first = 0; first < windows.length; first += B) {
    const part = windows.slice(first, first + B);
    const ids = new Int32Array(B * T);
    const targets = new Int32Array(B * T);
    part.forEach((window, row) => {
      ids.set(window.ids, row * T);
      targets.set(window.targets, row * T);
    });
    const { logProbabilities } = await executable.run({
      ids: { ...spec, data: ids },
      targets: { ...spec, data: targets },
    });
    const rows = logProbabilities.data as Float32Array;
    part.forEach(({ targets: { length } }, row) => {
      nats.push(rows.slice(row * T, row * T + length).map((logProbability) => -logProbability));
    });
    onProgress?.(Math.min(first + B, windows.length), windows.length);
  }
  await executable.release();
  return nats;
}
