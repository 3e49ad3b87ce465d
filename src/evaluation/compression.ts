/**
 * @file The other baseline of a language model: a compressor. To predict is to compress (Shannon 1948): a model that gives
 * each text a probability `p` can store it in `-log2 p` bits, so bits per byte compare it with any program that makes
 * files small. A general one has not been trained, but here it has seen the training text too: what counts is by how
 * much the compressed file grows when the held-out text is added at its end.
 */

import zlib from 'node:zlib';

/** What a compressor makes of a held-out text. */
export interface Compression {
  readonly compressor: string;
  readonly bitsPerByte: number;
  /** Whether it had the training text before it; else the held-out text alone came out smaller. */
  readonly withContext: boolean;
}

type Compressor = (bytes: Uint8Array) => Uint8Array;

/** Brotli at its highest level, with a window as large as the text. */
function brotli(bytes: Uint8Array): Uint8Array {
  const { constants } = zlib;
  return zlib.brotliCompressSync(bytes, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
      [constants.BROTLI_PARAM_LARGE_WINDOW]: 1,
      [constants.BROTLI_PARAM_LGWIN]: Math.min(30, Math.max(16, Math.ceil(Math.log2(bytes.length + 16)) + 1)),
      [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT,
      [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
    },
  });
}

/** Zstandard at its highest level, where this version of Node has it (22.15 and later). */
function findZstd(): Compressor | undefined {
  const { zstdCompressSync, constants } = zlib as unknown as {
    readonly zstdCompressSync?: (bytes: Uint8Array, options: object) => Uint8Array;
    readonly constants: Readonly<Record<string, number>>;
  };
  if (!zstdCompressSync) return undefined;
  const params = { [constants['ZSTD_c_compressionLevel']]: 22, [constants['ZSTD_c_windowLog']]: 27 };
  return (bytes) => zstdCompressSync(bytes, { params });
}

/**
 * The best that a compressor of this version of Node makes of a held-out text.
 *
 * The documents are laid end to end without separators, so that exactly the bytes are counted that the model predicts.
 */
export function bestCompression(train: readonly string[], heldOut: readonly string[]): Compression {
  const context = Buffer.from(train.join(''));
  const text = Buffer.from(heldOut.join(''));
  if (text.length === 0) throw new RangeError('there is no held-out text to compress');
  const zstd = findZstd();
  const compressors: [string, Compressor][] = [['brotli -q 11', brotli]];
  if (zstd) compressors.push(['zstd -22', zstd]);
  const results = compressors.flatMap(([compressor, compress]): Compression[] => {
    const bits = (bytes: number): number => (8 * bytes) / text.length;
    const grown = compress(Buffer.concat([context, text])).length - compress(context).length;
    return [
      { compressor, bitsPerByte: bits(grown), withContext: true },
      { compressor, bitsPerByte: bits(compress(text).length), withContext: false },
    ];
  });
  return results.reduce((best, each) => (each.bitsPerByte < best.bitsPerByte ? each : best));
}
