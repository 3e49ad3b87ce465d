/**
 * @file Preference pairs as rows of one length: as many pairs as fit share a row, as conversations do in fine-tuning. Two
 * short answers beside one long one would be mostly padding otherwise.
 *
 * Legend: `B` rows a batch, `T` places a row.
 */

import { bestFit, type PackedRow, placeConversation } from '../data/pack.ts';
import type { NdArray, Spec } from '../tensor/index.ts';
import type { RenderedPair } from './pairs.ts';

/** Both conversations of some pairs, in `T` places. Places that no conversation takes are 0 in every array. */
export interface PairRow extends Omit<PackedRow, 'lossMask'> {
  /** 1/n at the n places whose targets are the tokens of a chosen answer, else 0. */
  readonly share: Float32Array; // [T]
  /** 1 at the last token of each chosen conversation, else 0. */
  readonly chosenEnd: Float32Array; // [T]
  /** There: the place in the row where the rejected one of the same pair ends. Elsewhere 0. */
  readonly rejectedEnd: Int32Array; // [T]
}

/** Places that a pair takes. */
export function pairLength({ chosen, rejected }: RenderedPair): number {
  return chosen.length + rejected.length;
}

/** Places of a row: those of the context, and more only where a pair takes more. */
export function rowLengthFor(pairs: readonly RenderedPair[], contextLength: number): number {
  return pairs.reduce((longest, pair) => Math.max(longest, pairLength(pair)), contextLength);
}

/** Rows of `T` places, each pair whole in one of them. None may be longer than a row. */
export function packPairs(pairs: readonly RenderedPair[], T: number): PairRow[] {
  return bestFit(pairs, { capacity: T, lengthOf: pairLength }).map((some) => fillPairRow(some, T));
}

function fillPairRow(pairs: readonly RenderedPair[], T: number): PairRow {
  const row = emptyPairRow(T);
  let start = 0;
  pairs.forEach(({ chosen, rejected, promptLength }, index) => {
    const rejectedStart = start + chosen.length;
    const end = rejectedStart + rejected.length;
    placeConversation(row, chosen, { start, inputs: chosen.length, segment: 2 * index + 1 });
    placeConversation(row, rejected, {
      start: rejectedStart,
      inputs: rejected.length,
      segment: 2 * index + 2,
    });
    row.share.fill(1 / (chosen.length - promptLength), start + promptLength - 1, rejectedStart - 1);
    row.chosenEnd[rejectedStart - 1] = 1;
    row.rejectedEnd[rejectedStart - 1] = end - 1;
    start = end;
  });
  return row;
}

function emptyPairRow(T: number): PairRow {
  return {
    ids: new Int32Array(T),
    targets: new Int32Array(T),
    positions: new Int32Array(T),
    segments: new Int32Array(T),
    share: new Float32Array(T),
    chosenEnd: new Float32Array(T),
    rejectedEnd: new Int32Array(T),
  };
}

/** Rows as what the loss reads: each array `[B, T]`. */
export function pairBatch(rows: readonly PairRow[]): Record<keyof PairRow, NdArray> {
  const shape = [rows.length, rows[0].ids.length];
  const integers = (name: 'ids' | 'targets' | 'positions' | 'segments' | 'rejectedEnd'): NdArray => ({
    dtype: 'int32',
    shape,
    data: Int32Array.from(rows.flatMap((row) => [...row[name]])),
  });
  const floats = (name: 'share' | 'chosenEnd'): NdArray => ({
    dtype: 'float32',
    shape,
    data: Float32Array.from(rows.flatMap((row) => [...row[name]])),
  });
  return {
    ids: integers('ids'),
    targets: integers('targets'),
    positions: integers('positions'),
    segments: integers('segments'),
    share: floats('share'),
    chosenEnd: floats('chosenEnd'),
    rejectedEnd: integers('rejectedEnd'),
  };
}

/** The shapes of a batch of B rows. */
export function pairBatchSpec(B: number, T: number): Record<keyof PairRow, Spec> {
  return pairBatch(Array.from({ length: B }, () => emptyPairRow(T)));
}
