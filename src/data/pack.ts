/**
 * @file Packing: texts of every length become rows of one length, because a graph has one shape.
 *
 * Pretraining text is one long stream that is cut wherever a row ends. Conversations stay whole: as many as fit share a
 * row, and `segments` and `positions` keep them apart, so that none of them can attend to another (Krell et al. 2021,
 * "Efficient Sequence Packing without Cross-contamination").
 *
 * Legend: `B` rows in a batch, `T` context length.
 */

import type { Rendered } from '../chat-format.ts';
import { UserError } from '../errors.ts';
import { bestFit, emptyLayout, placeTokens, type RowLayout } from './rows.ts';

/**
 * One stream of tokens: every document followed by the separator.
 *
 * @throws UserError if the stream is too short for a single row of `contextLength` tokens and their targets
 */
export function packDocuments(
  documents: readonly Int32Array[],
  options: { contextLength: number; separator: number },
): Int32Array {
  const { contextLength, separator } = options;
  const stream = new Int32Array(documents.reduce((sum, document) => sum + document.length + 1, 0));
  let at = 0;
  for (const document of documents) {
    stream.set(document, at);
    stream[at + document.length] = separator;
    at += document.length + 1;
  }
  if (stream.length < contextLength + 1) {
    throw new UserError({
      zh: `预训练文本太短：只有 ${stream.length} 个词元，一行就要 ${contextLength + 1} 个；请用 --data 提供更多文本。`,
      en: `The pretraining text is too short: ${stream.length} tokens, and one row takes ${contextLength + 1}; give more text with --data.`,
    });
  }
  return stream;
}

/** How many rows of `contextLength` inputs a stream holds; only what is left after the last whole row is not used. */
export function countRows(streamLength: number, contextLength: number): number {
  return Math.floor((streamLength - 1) / contextLength);
}

/** Inputs and next-token targets of a batch of stream rows, row after row. */
export interface PretrainBatch {
  readonly ids: Int32Array; // [B, T]
  readonly targets: Int32Array; // [B, T]
}

/**
 * Cut rows out of a stream. A row holds `contextLength + 1` tokens: the last one is only a target here, and the first
 * input of the next row. So every token of the stream but the first is a target exactly once.
 */
export function cutRows(
  stream: Int32Array,
  options: { contextLength: number; rows: readonly number[] },
): PretrainBatch {
  const { contextLength, rows } = options;
  const ids = new Int32Array(rows.length * contextLength);
  const targets = new Int32Array(rows.length * contextLength);
  rows.forEach((row, i) => {
    const start = row * contextLength;
    ids.set(stream.subarray(start, start + contextLength), i * contextLength);
    targets.set(stream.subarray(start + 1, start + contextLength + 1), i * contextLength);
  });
  return { ids, targets };
}

/** Some conversations, and what of them is learned. */
export interface PackedRow extends RowLayout {
  /** 1 where the target is to be learned, else 0. */
  readonly lossMask: Float32Array; // [T]
}

/** A row in which nothing is learned. */
export function emptyRow(T: number): PackedRow {
  return { ...emptyLayout(T), lossMask: new Float32Array(T) };
}

/** What became of the conversations. */
export interface PackReport {
  readonly conversations: number;
  readonly packed: number;
  /** Longer than the context: those in `cut` kept their beginning, the others had no assistant's token in it. */
  readonly tooLong: number;
  /** Without any token to learn. */
  readonly fullyMasked: number;
  /** Indices of the conversations that were cut. */
  readonly cut: readonly number[];
  /** Indices of the conversations that were left out, for being too long or fully masked. */
  readonly skipped: readonly number[];
  readonly rows: number;
  /** Tokens to learn. */
  readonly trainedTokens: number;
  /** The share of places that are no padding. */
  readonly fill: number;
}

/** A conversation that goes into a row: its first `inputs` tokens, each with the one after it as target. */
interface Item {
  readonly rendered: Rendered;
  readonly inputs: number;
}

/**
 * How many inputs are worth computing: up to the one that predicts the last token to learn within `limit` inputs.
 * What comes after it (the newline after `<|im_end|>`, a question without an answer) could teach nothing.
 */
function usefulInputs({ mask }: Rendered, limit: number): number {
  let inputs = Math.min(mask.length - 1, limit);
  while (inputs > 0 && mask[inputs] === 0) inputs--;
  return Math.max(inputs, 0);
}

/**
 * Pack conversations into rows of `contextLength` tokens, each into the fullest row that still has room, the longest
 * first (best-fit decreasing).
 *
 * One that does not fit into a row keeps its beginning if that holds anything to learn; one without anything to learn is
 * left out. So every row has a target, and a mean over the targets is never 0/0. The rows do not depend on the machine.
 */
export function packConversations(
  rendered: readonly Rendered[],
  options: { contextLength: number },
): { rows: PackedRow[]; report: PackReport } {
  const { contextLength } = options;
  const items: Item[] = [];
  const [cut, skipped]: number[][] = [[], []];
  let fullyMasked = 0;
  let tooLong = 0;
  rendered.forEach((conversation, index) => {
    const wanted = usefulInputs(conversation, Number.POSITIVE_INFINITY);
    const inputs = usefulInputs(conversation, contextLength);
    if (wanted === 0) fullyMasked++;
    else if (wanted > contextLength) tooLong++;
    if (inputs === 0) {
      skipped.push(index);
      return;
    }
    if (inputs < wanted) cut.push(index);
    items.push({ rendered: conversation, inputs });
  });

  const bins = bestFit(items, { capacity: contextLength, lengthOf: ({ inputs }) => inputs });
  const rows = bins.map((bin) => fillRow(bin, contextLength));
  const used = items.reduce((sum, { inputs }) => sum + inputs, 0);
  const trainedTokens = rows.reduce((sum, { lossMask }) => sum + lossMask.reduce((a, b) => a + b, 0), 0);
  const report = {
    conversations: rendered.length,
    packed: items.length,
    tooLong,
    fullyMasked,
    cut,
    skipped,
    rows: rows.length,
    trainedTokens,
    fill: rows.length === 0 ? 0 : used / (rows.length * contextLength),
  };
  return { rows, report };
}

function fillRow(items: readonly Item[], contextLength: number): PackedRow {
  const row = emptyRow(contextLength);
  let start = 0;
  items.forEach(({ rendered: { ids, mask }, inputs }, index) => {
    placeTokens(row, ids, { start, inputs, segment: index + 1 });
    row.lossMask.set(mask.subarray(1, inputs + 1), start);
    start += inputs;
  });
  return row;
}
