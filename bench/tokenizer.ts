/** @file How fast the tokenizer trains and encodes. `bench/peers/tokenizer_hf.py` does the same work in Rust. */

import { readFileSync } from 'node:fs';
import { UserError } from '../src/errors.ts';
import { Tokenizer } from '../src/tokenizer.ts';

export interface TokenizerBench {
  /** Size of the text, in 10^6 bytes of UTF-8. */
  readonly megabytes: number;
  readonly vocabSize: number;
  /** Fastest training run from text to vocabulary. */
  readonly trainSeconds: number;
  /** Fastest encoding of the whole text, each time by a fresh tokenizer with nothing in its cache. */
  readonly encodeMbPerSecond: number;
  readonly decodeMbPerSecond: number;
  /** How much the vocabulary shortens the text. */
  readonly bytesPerToken: number;
}

const RUNS = 3;

function bestSeconds(work: () => void): number {
  const seconds = Array.from({ length: RUNS }, () => {
    const start = performance.now();
    work();
    return (performance.now() - start) / 1000;
  });
  return Math.min(...seconds);
}

/**
 * Train on `file`, then encode and decode it. The time to read the file does not count.
 *
 * @throws UserError if there is no text in the file
 */
export async function benchTokenizer(file: string, vocabSize = 2000): Promise<TokenizerBench> {
  const text = readFileSync(file, 'utf8');
  if (text === '') {
    throw new UserError({
      zh: `${file} 是空文件，无法测速；请给出一个有文字的文件。`,
      en: `${file} is empty, there is nothing to measure; give a file with text.`,
    });
  }
  const megabytes = Buffer.byteLength(text) / 1e6;

  const trainSeconds = bestSeconds(() => Tokenizer.train([text], { vocabSize }));
  const tokenizer = Tokenizer.train([text], { vocabSize });
  const json = tokenizer.toJson();
  const fresh = Array.from({ length: RUNS }, () => Tokenizer.fromJson(json, file));
  const encodeSeconds = bestSeconds(() => fresh.pop()!.encode(text));
  const ids = tokenizer.encode(text);
  const decodeSeconds = bestSeconds(() => tokenizer.decode(ids));

  return {
    megabytes,
    vocabSize: tokenizer.vocabSize,
    trainSeconds,
    encodeMbPerSecond: megabytes / encodeSeconds,
    decodeMbPerSecond: megabytes / decodeSeconds,
    bytesPerToken: (megabytes * 1e6) / ids.length,
  };
}
