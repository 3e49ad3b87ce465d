/**
 * @file Preference pairs as rows of one length: as many pairs as fit share a row, as conversations do in fine-tuning. Two
 * short answers beside one long one would be mostly padding otherwise.
 *
 * Legend: `B` rows a batch, `T` places a row.
 */

import { bestFit, emptyLayout, placeTokens, type RowLayout, rowBatch } from '../data/rows.ts';
import type { Spec } from '../tensor/index.ts';
import type { RenderedPair } from './pairs.ts';

/** Both conversations of some pairs. */
export interface PairRow extends RowLayout {
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
    placeTokens(row, chosen, { start, inputs: chosen.length, segment: 2 * index + 1 });
    placeTokens(row, rejected, {
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
    ...emptyLayout(T),
    share: new Float32Array(T),
    chosenEnd: new Float32Array(T),
    rejectedEnd: new Int32Array(T),
  };
}

/** The shapes of a batch of B rows. */
export function pairBatchSpec(B: number, T: number): Record<keyof PairRow, Spec> {
  return rowBatch([emptyPairRow(T)], B);
}
