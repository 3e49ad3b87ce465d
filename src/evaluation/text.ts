/** @file How well a model predicts held-out text, beside what counting and compressing make of the same text. */

import type { Checkpoint } from '../checkpoint.ts';
import type { Split } from '../data/datasets.ts';
import { measureDocuments } from '../perplexity.ts';
import type { Runtime } from '../tensor/index.ts';
import { SPECIAL, type Tokenizer } from '../tokenizer.ts';
import { bestCompression } from './compression.ts';
import { type Baseline, type Figure, figure } from './figures.ts';
import { bootstrap, ratioOf } from './intervals.ts';
import { ngramNats, trainNgram } from './ngram.ts';

/** Tokens of the longest n-gram of the baseline. */
const ORDER = 5;
const PAGE_LENGTH = 500;

/** Bits per byte and perplexity per token of what cannot be trained to predict better. */
export interface TextBaselines {
  readonly bitsPerByte: readonly Baseline[];
  readonly perplexity: readonly Baseline[];
}

/** The held-out documents; a single long one (a book) is cut into pages, so that there is something to compare. */
export function heldOutPages(documents: readonly string[]): string[] {
  if (documents.length > 1) return [...documents];
  return documents.flatMap((text) => {
    const pages = Math.max(1, Math.floor(text.length / PAGE_LENGTH));
    const edge = (page: number): number => Math.floor((page * text.length) / pages);
    return Array.from({ length: pages }, (_, page) => text.slice(edge(page), edge(page + 1)));
  });
}

/** The n-gram model over the model's own tokens, and the compressor over the bytes; both read the training text first. */
export function textBaselines(
  tokenizer: Tokenizer,
  { train, heldOut }: Split<string>,
  seed: number,
): TextBaselines {
  const begin = (text: string): number[] => [SPECIAL.eos, ...tokenizer.encode(text)];
  const model = trainNgram(train.map(begin), { order: ORDER, vocabSize: tokenizer.vocabSize });
  const measured = heldOut.map((text) => {
    const nats = ngramNats(model, begin(text));
    return { tokens: nats.length, bytes: Buffer.byteLength(text), nats: nats.reduce((a, b) => a + b, 0) };
  });
  const ngram = { zh: `${ORDER} 元 Kneser-Ney`, en: `${ORDER}-gram Kneser-Ney` };
  const { compressor, bitsPerByte, withContext } = bestCompression(train, heldOut);
  const { bits, perplexity } = summarize(measured, seed);
  return {
    bitsPerByte: [
      { name: ngram, ...bits },
      {
        name: withContext
          ? { zh: `${compressor}（接在训练文本后）`, en: `${compressor} after the training text` }
          : { zh: compressor, en: compressor },
        value: bitsPerByte,
      },
    ],
    perplexity: [{ name: ngram, ...perplexity }],
  };
}

/** Bits per byte and perplexity per token of held-out documents. */
export async function evaluateText(options: {
  readonly runtime: Runtime;
  readonly checkpoint: Checkpoint;
  readonly documents: readonly string[];
  readonly baselines: TextBaselines;
  readonly seed: number;
}): Promise<Figure[]> {
  const { runtime, checkpoint, documents, baselines, seed } = options;
  const { config, params: weights, tokenizer } = checkpoint;
  const stride = Math.ceil(config.contextLength / 2);
  const measured = await measureDocuments({ runtime, config, weights, tokenizer, documents, stride });
  const { bits, perplexity } = summarize(measured, seed);
  return [
    figure('bits-per-byte', { zh: '每字节比特', en: 'bits per byte' }, 'bits/byte', bits, {
      better: 'lower',
      baselines: baselines.bitsPerByte,
    }),
    figure('perplexity', { zh: '每词元困惑度', en: 'perplexity per token' }, 'perplexity', perplexity, {
      better: 'lower',
      baselines: baselines.perplexity,
    }),
  ];
}

interface Measured {
  readonly tokens: number;
  readonly bytes: number;
  readonly nats: number;
}

/** Documents are what is resampled: what one is about makes all of it easy or hard. */
function summarize(measured: readonly Measured[], seed: number) {
  const sum = (sample: readonly Measured[], of: keyof Measured): number =>
    sample.reduce((total, each) => total + each[of], 0);
  return {
    bits: ratioOf(
      measured.map(({ nats, bytes }) => [nats / Math.LN2, bytes] as const),
      seed,
    ),
    perplexity: bootstrap(measured, (sample) => Math.exp(sum(sample, 'nats') / sum(sample, 'tokens')), seed),
  };
}
