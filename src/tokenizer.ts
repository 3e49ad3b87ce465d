/**
 * @file Lesson 0: the tokenizer. A model computes with numbers; this turns text into numbers and back.
 *
 * Byte-level byte-pair encoding (BPE), from the bottom up:
 *
 * 1. Text is bytes (UTF-8), so 256 tokens can already write everything and nothing is ever unknown. But one Chinese
 *    character is three bytes: sequences are long, and the model would have to learn to spell.
 * 2. So `train` looks at what is frequent: the pair of neighbours that occurs most often becomes a new token, again and
 *    again (`tokenizer/train.ts`). Soon there are characters, then words.
 * 3. `encode` starts from bytes too and applies the same merges, in the order in which they were learned.
 * 4. Before any of that, text is cut into pieces that merges never cross (`tokenizer/pre-tokenize.ts`).
 *
 *     npm run tokenizer -- train --input data/pretrain_data.txt --vocab-size 2000 --output my-tokenizer
 *     npm run tokenizer -- show --tokenizer my-tokenizer --text 你好   # the merges, step by step
 */

import { UserError } from './errors.ts';
import { vocabularyFromJson, vocabularyToJson } from './tokenizer/json.ts';
import { createMerger } from './tokenizer/merge.ts';
import { preTokenize } from './tokenizer/pre-tokenize.ts';
import { trainMerges } from './tokenizer/train.ts';
import {
  BASE_SIZE,
  BYTE_NAMES,
  bytesOfName,
  displayBytes,
  MAX_SIZE,
  type Merge,
  SPECIAL_TOKENS,
  type Vocabulary,
} from './tokenizer/vocabulary.ts';

export { SPECIAL, SPECIAL_TOKENS } from './tokenizer/vocabulary.ts';

/** How one piece of a text becomes tokens. */
export interface PieceTrace {
  readonly piece: string;
  /** The bytes of the piece, as tokens. */
  readonly start: readonly number[];
  readonly steps: readonly MergeStep[];
}

/** One merge: `left` and `right`, at index `at` of the tokens before it, became `result`. */
export interface MergeStep extends Merge {
  /** The place of the rule in the order of learning: the smallest goes first. */
  readonly rank: number;
  readonly at: number;
  /** The tokens of the piece after this merge. */
  readonly ids: readonly number[];
}

/** Turns ids into text as they come; a character whose bytes are not all there yet is held back. */
export interface DecodeStream {
  push(id: number): string;
  /** What was held back; an unfinished character becomes U+FFFD. */
  end(): string;
}

/**
 * Pieces of a text recur all the time, so the ids of this many are remembered. Short ones only: long ones seldom recur,
 * and V8 makes a piece of 13 characters or more a view of the text that it was cut from, which would keep all of that
 * text in memory.
 */
const CACHE_PIECES = 16_384;
const CACHE_PIECE_LENGTH = 12;

/** Finds special tokens; the group keeps them when a text is split at them. */
const SPECIAL_TEXT = new RegExp(`(${SPECIAL_TOKENS.map((token) => token.replaceAll('|', '\\|')).join('|')})`);
const NO_BYTES = new Uint8Array(0);

export class Tokenizer {
  private readonly vocabulary: Vocabulary;
  private readonly bytesOfToken: readonly Uint8Array[];
  private readonly idOfByte: readonly number[];
  private readonly idOfSpecial: ReadonlyMap<string, number>;
  private readonly mergePiece: ReturnType<typeof createMerger>;
  private readonly cache = new Map<string, readonly number[]>();
  private readonly utf8 = new TextEncoder();

  private constructor(vocabulary: Vocabulary) {
    const { names, merges } = vocabulary;
    this.vocabulary = vocabulary;
    this.idOfSpecial = new Map(SPECIAL_TOKENS.map((token, id) => [token, id]));
    this.bytesOfToken = names.map((name, id) =>
      id < SPECIAL_TOKENS.length ? this.utf8.encode(name) : bytesOfName(name)!,
    );
    const idOfName = new Map(names.map((name, id) => [name, id]));
    this.idOfByte = BYTE_NAMES.map((name) => idOfName.get(name)!);
    this.mergePiece = createMerger(merges, names.length);
  }

  /**
   * Learn a vocabulary of `vocabSize` tokens (fewer if the texts run out of pairs).
   *
   * The merges are those of Hugging Face's `BpeTrainer` with the same pieces: the most frequent pair first, among equals
   * the one with the smaller (left id, right id).
   *
   * @throws UserError if `vocabSize` is not an integer from 262 (six special tokens and 256 bytes) to a million
   */
  static train(
    texts: Iterable<string>,
    options: { vocabSize: number; onProgress?: (done: number, total: number) => void },
  ): Tokenizer {
    const { vocabSize, onProgress } = options;
    if (!Number.isInteger(vocabSize) || vocabSize < BASE_SIZE || vocabSize > MAX_SIZE) {
      throw new UserError({
        zh: `词表大小 ${vocabSize} 不可用：请给出 ${BASE_SIZE}（${SPECIAL_TOKENS.length} 个特殊词元加 256 个字节）到 ${MAX_SIZE} 之间的整数。`,
        en: `A vocabulary size of ${vocabSize} does not work: give an integer from ${BASE_SIZE} (${SPECIAL_TOKENS.length} special tokens and 256 bytes) to ${MAX_SIZE}.`,
      });
    }
    const pieces = new Map<string, number>();
    for (const text of texts) {
      for (const piece of preTokenize(text)) pieces.set(piece, (pieces.get(piece) ?? 0) + 1);
    }
    return new Tokenizer(trainMerges(pieces, vocabSize, onProgress));
  }

  /** Read a `tokenizer.json`; `source` is what messages call it. @throws UserError if it cannot be used */
  static fromJson(json: string, source: string): Tokenizer {
    return new Tokenizer(vocabularyFromJson(json, source));
  }

  /** The content of a Hugging Face `tokenizer.json`. */
  toJson(): string {
    return vocabularyToJson(this.vocabulary);
  }

  get vocabSize(): number {
    return this.vocabulary.names.length;
  }

  /** The learned merges, in the order of learning. */
  get merges(): readonly Merge[] {
    return this.vocabulary.merges;
  }

  /**
   * Text to ids. Half of a surrogate pair is no character: it is encoded as U+FFFD, as everywhere on the web.
   *
   * @param options.allowSpecial turn the texts of special tokens into those tokens. Leave it off for text from outside:
   *   a user who types `<|im_end|>` must not be able to end a turn.
   */
  encode(text: string, options: { allowSpecial?: boolean } = {}): Int32Array {
    const ids: number[] = [];
    if (!options.allowSpecial) {
      this.encodeOrdinary(text, ids);
    } else {
      for (const part of text.split(SPECIAL_TEXT)) {
        const special = this.idOfSpecial.get(part);
        if (special === undefined) this.encodeOrdinary(part, ids);
        else ids.push(special);
      }
    }
    return Int32Array.from(ids);
  }

  private encodeOrdinary(text: string, ids: number[]): void {
    for (const piece of preTokenize(text)) {
      let pieceIds = this.cache.get(piece);
      if (pieceIds === undefined) {
        pieceIds = this.mergePiece(this.bytesToIds(piece));
        if (piece.length <= CACHE_PIECE_LENGTH) {
          if (this.cache.size >= CACHE_PIECES) this.cache.clear();
          this.cache.set(piece, pieceIds);
        }
      }
      for (const id of pieceIds) ids.push(id);
    }
  }

  /** The bytes of a piece, each as the token of that byte. */
  private bytesToIds(piece: string): number[] {
    const ids: number[] = [];
    for (const byte of this.utf8.encode(piece)) ids.push(this.idOfByte[byte]);
    return ids;
  }

  /** Every merge that `encode` makes, step by step, for a person to follow. */
  trace(text: string): PieceTrace[] {
    return preTokenize(text).map((piece) => {
      const start = this.bytesToIds(piece);
      const steps: MergeStep[] = [];
      this.mergePiece(start, (rank, at, ids) => steps.push({ ...this.merges[rank], rank, at, ids }));
      return { piece, start, steps };
    });
  }

  /**
   * Ids to text. Bytes that are no UTF-8 (a model may stop in the middle of a character) become U+FFFD.
   *
   * @param options.skipSpecial leave special tokens out instead of writing their texts
   * @throws UserError if an id is not in the vocabulary
   */
  decode(ids: ArrayLike<number>, options: { skipSpecial?: boolean } = {}): string {
    return textDecoder().decode(this.decodeBytes(ids, options));
  }

  /** Ids to the bytes that they stand for. @throws UserError if an id is not in the vocabulary */
  decodeBytes(ids: ArrayLike<number>, options: { skipSpecial?: boolean } = {}): Uint8Array {
    const parts = Array.from(ids, (id) => this.bytesOf(id, options.skipSpecial));
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      bytes.set(part, at);
      at += part.length;
    }
    return bytes;
  }

  /** Decode ids one by one as a model produces them: the texts joined are `decode` of all ids. */
  stream(options: { skipSpecial?: boolean } = {}): DecodeStream {
    const decoder = textDecoder();
    return {
      push: (id) => decoder.decode(this.bytesOf(id, options.skipSpecial), { stream: true }),
      end: () => decoder.decode(),
    };
  }

  /** How many bytes of text a token stands for; 0 for a special token, which is no part of any text. */
  tokenLength(id: number): number {
    return this.bytesOf(id, true).length;
  }

  /** A token as a person can read it: `你好`, `␠the`, `\n`, or `<E4>` for a byte that is only a part of a character. */
  display(id: number): string {
    return displayBytes(this.bytesOf(id));
  }

  private bytesOf(id: number, skipSpecial = false): Uint8Array {
    const bytes = this.bytesOfToken[id];
    if (bytes === undefined) {
      throw new UserError({
        zh: `词元编号 ${id} 不在词表中：编号应为 0 到 ${this.vocabSize - 1} 的整数，请检查模型与分词器是否配套。`,
        en: `Token id ${id} is not in the vocabulary: ids are integers from 0 to ${this.vocabSize - 1}; check that model and tokenizer belong together.`,
      });
    }
    return skipSpecial && id < SPECIAL_TOKENS.length ? NO_BYTES : bytes;
  }
}

/** A byte order mark is a character like any other here: it must survive. */
function textDecoder(): TextDecoder {
  return new TextDecoder('utf-8', { ignoreBOM: true });
}
