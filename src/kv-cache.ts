/**
 * @file The cache of keys and values: what attention has to know of earlier tokens, kept so that a step computes only the
 * new one's.
 *
 * It lives in plain arrays, which a step reads and never writes: it returns one new row for each, which is copied in here.
 *
 * Legend: B batch, P places of a sequence, G key/value heads, D head width.
 */

import type { ModelConfig } from './config.ts';
import { type KeysValues, MASKED } from './model.ts';
import { type NdArray, type Tensor, zerosOf } from './tensor/index.ts';

/** A cache has so many places at first. */
const SMALLEST = 64;

/** The arrays that a step reads: `keys0` `[B, G, P, D]`, `values0`, `keys1`, ..., and `mask` `[B, 1, 1, P + 1]`. */
export type CacheArrays = Readonly<Record<string, NdArray>>;

interface Room {
  readonly places: number;
  readonly arrays: CacheArrays;
}

export class KvCache {
  /** Tokens that each sequence holds. */
  readonly lengths: Int32Array;
  private readonly batchSize: number;
  private readonly maxLength: number;
  private readonly heads: number;
  private readonly width: number;
  private readonly names: readonly string[];
  private readonly rooms = new Map<number, Room>();
  private current: Room | undefined;

  constructor(config: ModelConfig, batchSize: number, maxLength: number) {
    this.lengths = new Int32Array(batchSize);
    this.batchSize = batchSize;
    this.maxLength = maxLength;
    this.heads = config.numKvHeads;
    this.width = config.hiddenSize / config.numHeads;
    this.names = Array.from({ length: config.numLayers }, (_, i) => [`keys${i}`, `values${i}`]).flat();
  }

  get isEmpty(): boolean {
    return this.current === undefined;
  }

  /** How many places a cache for sequences of `length` tokens has. Attention costs as much, used or not. */
  placesFor(length: number): number {
    return paddedLength(length, SMALLEST, this.maxLength);
  }

  /** The arrays with so many places. They are the same each time, and hold something once `fit` has chosen them. */
  arraysOf(places: number): CacheArrays {
    return this.roomOf(places).arrays;
  }

  /** Move into the smallest arrays that hold `length` tokens a sequence; returns how many places they have. */
  fit(length: number): number {
    const room = this.roomOf(this.placesFor(length));
    if (room === this.current) return room.places;
    for (const name of this.current ? this.names : [])
      this.copyRows(room, name, this.current!.arrays[name], { from: () => 0, count: (b) => this.lengths[b] });
    this.current = room;
    this.openMask();
    return room.places;
  }

  /**
   * Start sequences over, from `first` on: with so many of the rows `new_keys0` `[n, G, T, D]`, `new_values0`, ... as
   * their lengths say.
   */
  fill(first: number, lengths: readonly number[], rows: Readonly<Record<string, NdArray>>): void {
    this.lengths.fill(0, first, first + lengths.length);
    this.fit(Math.max(...lengths, ...this.lengths));
    this.lengths.set(lengths, first);
    for (const name of this.names) {
      this.copyRows(this.current!, name, rows[newRow(name)], {
        first,
        from: () => 0,
        count: (b) => this.lengths[b],
      });
    }
    this.openMask();
  }

  /** Add one row to each sequence that grows, of `[n, G, 1, D]`. */
  append(rows: Readonly<Record<string, NdArray>>, grows: (sequence: number) => boolean): void {
    const room = this.current!;
    for (const name of this.names) {
      this.copyRows(room, name, rows[newRow(name)], {
        from: (b) => this.lengths[b],
        count: (b) => (grows(b) ? 1 : 0),
      });
    }
    const mask = room.arrays['mask'].data;
    for (let b = 0; b < this.batchSize; b++)
      if (grows(b)) mask[b * (room.places + 1) + this.lengths[b]++] = 0;
  }

  /** Let sequence `b` become what `sources[b]` was; those without a source stay as they are. */
  reorder(sources: ArrayLike<number>): void {
    const room = this.current!;
    const size = this.heads * room.places * this.width;
    for (const name of this.names) {
      const cache = room.arrays[name].data as Float32Array;
      const before = cache.slice();
      for (let b = 0; b < this.batchSize; b++) {
        const source = sources[b] ?? b;
        if (source !== b) cache.set(before.subarray(source * size, (source + 1) * size), b * size);
      }
    }
    this.lengths.set(
      this.lengths.map((length, b) => (b < sources.length ? this.lengths[sources[b]] : length)),
    );
    this.openMask();
  }

  /** Forget what a sequence holds. */
  empty(sequence: number): void {
    this.lengths[sequence] = 0;
    if (this.current) this.openMask();
  }

  private roomOf(places: number): Room {
    const made = this.rooms.get(places);
    if (made) return made;
    const [B, G, D] = [this.batchSize, this.heads, this.width];
    const arrays = Object.fromEntries(this.names.map((name) => [name, zerosOf('float32', B, G, places, D)]));
    const room = { places, arrays: { ...arrays, mask: zerosOf('float32', B, 1, 1, places + 1) } };
    this.rooms.set(places, room);
    return room;
  }

  /** Copy the first `count` rows of each sequence of `[n, G, rows, D]` to its place `from`. */
  private copyRows(
    { places, arrays }: Room,
    name: string,
    source: NdArray,
    to: {
      readonly first?: number;
      readonly from: (sequence: number) => number;
      readonly count: (sequence: number) => number;
    },
  ): void {
    const [G, D] = [this.heads, this.width];
    const [n, , rows] = source.shape;
    const target = arrays[name].data as Float32Array;
    const data = source.data as Float32Array;
    const first = to.first ?? 0;
    for (let b = first; b < first + n; b++) {
      const size = to.count(b) * D;
      for (let g = 0; g < G; g++) {
        const start = ((b - first) * G + g) * rows * D;
        const place = ((b * G + g) * places + to.from(b)) * D;
        for (let i = 0; i < size; i++) target[place + i] = data[start + i];
      }
    }
  }

  /** Let each sequence see its cached tokens and the new one, which stands at the end. */
  private openMask(): void {
    const { places, arrays } = this.current!;
    const mask = arrays['mask'].data as Float32Array;
    mask.fill(MASKED);
    for (let b = 0; b < this.batchSize; b++) {
      mask.fill(0, b * (places + 1), b * (places + 1) + this.lengths[b]);
      mask[b * (places + 1) + places] = 0;
    }
  }
}

const newRow = (name: string): string => `new_${name}`;

/** In a graph: the keys and values of each layer, of the inputs that stand for the cache. */
export function cachedIn(inputs: Readonly<Record<string, Tensor>>, numLayers: number): KeysValues[] {
  return Array.from({ length: numLayers }, (_, i) => ({
    keys: inputs[`keys${i}`],
    values: inputs[`values${i}`],
  }));
}

/** What each layer adds, under the names by which `fill` and `append` take it. */
export function newRows<T>(layers: readonly { readonly keys: T; readonly values: T }[]): Record<string, T> {
  return Object.fromEntries(
    layers.flatMap(({ keys, values }, i) => [
      [newRow(`keys${i}`), keys],
      [newRow(`values${i}`), values],
    ]),
  );
}

/** Lengths are rounded up to a few sizes, so that few graphs are compiled. */
export function paddedLength(length: number, smallest: number, largest: number): number {
  let padded = smallest;
  while (padded < length) padded *= 2;
  return Math.min(padded, largest);
}
