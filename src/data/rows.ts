/**
 * @file Rows that several texts share: a graph has one shape, and a short text in a row of its own would be mostly padding.
 *
 * Legend: `B` rows in a batch, `T` places in a row.
 */

import type { NdArray } from '../tensor/index.ts';

/** Rows that are computed at a time where nothing depends on how many: few, so that hardly any of them stay empty. */
export const ROWS_AT_A_TIME = 4;

/** Texts in the `T` places of a row. Places that none takes are 0 in every array. */
export interface RowLayout {
  readonly ids: Int32Array; // [T]
  /** The next token of the same text. */
  readonly targets: Int32Array; // [T]
  /** The place in the text, from 0 for each. */
  readonly positions: Int32Array; // [T]
  /** 1, 2, ... by text, 0 for padding. Attention stays within equal numbers. */
  readonly segments: Int32Array; // [T]
}

export function emptyLayout(T: number): RowLayout {
  return {
    ids: new Int32Array(T),
    targets: new Int32Array(T),
    positions: new Int32Array(T),
    segments: new Int32Array(T),
  };
}

/** Where a text stands: in which row, from which place to before which. */
export interface Span {
  readonly row: number;
  readonly start: number;
  readonly end: number;
}

/** Texts in rows of T places, each whole in one of them, and where each of them is. None may be longer than a row. */
export function packTexts(
  texts: readonly Int32Array[],
  T: number,
): { rows: RowLayout[]; spans: readonly Span[] } {
  const spans: Span[] = Array(texts.length);
  const bins = bestFit([...texts.keys()], { capacity: T, lengthOf: (i) => texts[i].length });
  const rows = bins.map((bin, row) => {
    const layout = emptyLayout(T);
    let start = 0;
    bin.forEach((i, index) => {
      const { length } = texts[i];
      placeTokens(layout, texts[i], { start, inputs: length, segment: index + 1 });
      spans[i] = { row, start, end: start + length };
      start += length;
    });
    return layout;
  });
  return { rows, spans };
}

/**
 * What is computed for every place of some rows, read back span by span.
 *
 * @param compute from a batch of `ROWS_AT_A_TIME` rows to arrays `[B, T]`
 */
export async function computeSpans<Row extends Arrays<Row>, Name extends string>(
  rows: readonly Row[],
  spans: readonly Span[],
  compute: (batch: Record<keyof Row, NdArray>) => Promise<Record<Name, NdArray>>,
): Promise<Record<Name, Float32Array>[]> {
  const B = ROWS_AT_A_TIME;
  const outputs: Record<Name, NdArray>[] = [];
  for (let start = 0; start < rows.length; start += B)
    outputs.push(await compute(rowBatch(rows.slice(start, start + B), B)));
  return spans.map(({ row, start, end }) => {
    const read = ({ data, shape: [, T] }: NdArray): Float32Array => {
      const before = (row % B) * T;
      return (data as Float32Array).slice(before + start, before + end);
    };
    const arrays = Object.entries<NdArray>(outputs[Math.floor(row / B)]);
    return Object.fromEntries(arrays.map(([name, array]) => [name, read(array)])) as Record<
      Name,
      Float32Array
    >;
  });
}

/**
 * Items in as few bins as best-fit decreasing makes of them: the longest first, each into the fullest bin that has room.
 *
 * @param options.capacity of a bin; no item may be longer
 */
export function bestFit<Item>(
  items: readonly Item[],
  { capacity, lengthOf }: { readonly capacity: number; readonly lengthOf: (item: Item) => number },
): Item[][] {
  const bins: Item[][] = [];
  /** The bins by the room that is left in them. */
  const withRoom: Item[][][] = Array.from({ length: capacity + 1 }, () => []);
  for (const item of [...items].sort((a, b) => lengthOf(b) - lengthOf(a))) {
    let room = lengthOf(item);
    while (room <= capacity && withRoom[room].length === 0) room++;
    let bin = withRoom[room]?.pop();
    if (bin === undefined) {
      bin = [];
      bins.push(bin);
      room = capacity;
    }
    bin.push(item);
    withRoom[room - lengthOf(item)].push(bin);
  }
  return bins;
}

/** Put the first `inputs` of some tokens into a row, as a segment of their own. */
export function placeTokens(
  row: RowLayout,
  ids: Int32Array,
  { start, inputs, segment }: { readonly start: number; readonly inputs: number; readonly segment: number },
): void {
  row.ids.set(ids.subarray(0, inputs), start);
  row.targets.set(ids.subarray(1, inputs + 1), start);
  for (let i = 0; i < inputs; i++) row.positions[start + i] = i;
  row.segments.fill(segment, start, start + inputs);
}

type Arrays<Row> = { readonly [Name in keyof Row]: Int32Array | Float32Array };

/** The arrays of some rows, one row after the other: every array is [B, T]. */
export function stackRows<Row extends Arrays<Row>>(rows: readonly Row[]): Row {
  const stack = (name: keyof Row): Int32Array | Float32Array => {
    const numbers = rows.flatMap((row) => [...row[name]]);
    return rows[0][name] instanceof Float32Array ? Float32Array.from(numbers) : Int32Array.from(numbers);
  };
  const names = Object.keys(rows[0]) as (keyof Row)[];
  return Object.fromEntries(names.map((name) => [name, stack(name)])) as unknown as Row;
}

/** Rows as a batch that a loss reads: B of them, filled up with rows in which everything is 0. */
export function rowBatch<Row extends Arrays<Row>>(
  rows: readonly Row[],
  B = rows.length,
): Record<keyof Row, NdArray> {
  const names = Object.keys(rows[0]) as (keyof Row)[];
  const shape = [B, rows[0][names[0]].length];
  const empty = Object.fromEntries(names.map((name) => [name, rows[0][name].slice().fill(0)])) as Row;
  const stacked = stackRows([...rows, ...Array<Row>(B - rows.length).fill(empty)]);
  const arrays = names.map((name): [keyof Row, NdArray] => {
    const data = stacked[name];
    return [name, { dtype: data instanceof Float32Array ? 'float32' : 'int32', shape, data }];
  });
  return Object.fromEntries(arrays) as Record<keyof Row, NdArray>;
}
