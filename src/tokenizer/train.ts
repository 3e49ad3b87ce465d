/**
 * @file Training byte-pair encoding: join the most frequent pair of neighbours, over and over.
 *
 * Sennrich, Haddow & Birch, "Neural Machine Translation of Rare Words with Subword Units" (2016), on bytes instead of
 * characters (Radford et al., "Language Models are Unsupervised Multitask Learners", 2019).
 *
 * The plain algorithm counts all pairs again after every merge. Here a merge updates only what it changes: joining
 * `b c` in `a b c d` removes one `(a, b)` and one `(c, d)`, and adds one `(a, bc)` and one `(bc, d)`. A heap hands out
 * the most frequent pair; a count in it may be out of date, so it is checked when it comes out.
 */

import { Heap } from './heap.ts';
import { BYTE_NAMES, baseNames, type Merge, pairKey, type Vocabulary } from './vocabulary.ts';

/** A pair of neighbouring tokens, and how often it occurs now. */
interface Pair {
  readonly left: number;
  readonly right: number;
  count: number;
  /** Where the pair arose since it was last put on the heap. */
  newPlaces: number[];
}

/** A pair on the heap: the count that it had then, and the places where it arose before. */
interface Candidate {
  readonly pair: Pair;
  count: number;
  readonly places: number[];
}

/** The more frequent pair first; among equals the smaller left id, then the smaller right id. */
function comesFirst(a: Candidate, b: Candidate): boolean {
  if (a.count !== b.count) return a.count > b.count;
  if (a.pair.left !== b.pair.left) return a.pair.left < b.pair.left;
  return a.pair.right < b.pair.right;
}

/** Marks the border between two pieces, and a token that was joined to its left neighbour. */
const NONE = -1;

/**
 * All different pieces one after the other, a border before and after each. A *place* is an index into these arrays;
 * a token that came from several bytes sits at the place of its first byte.
 */
interface Sequence {
  /** The token at each place. */
  readonly tokens: Int32Array;
  /** The place of the neighbour on each side. */
  readonly next: Int32Array;
  readonly previous: Int32Array;
  /** How often the piece occurs in the texts. */
  readonly weights: Int32Array;
}

function layOut(pieces: ReadonlyMap<string, number>, idOfByte: readonly number[]): Sequence {
  const encoder = new TextEncoder();
  const encoded = Array.from(pieces.keys(), (piece) => encoder.encode(piece));
  const length = encoded.reduce((sum, bytes) => sum + bytes.length + 1, 1);
  const tokens = new Int32Array(length).fill(NONE);
  const weights = new Int32Array(length);
  let place = 1;
  let index = 0;
  for (const weight of pieces.values()) {
    for (const byte of encoded[index]) {
      tokens[place] = idOfByte[byte];
      weights[place++] = weight;
    }
    index++;
    place++;
  }
  const next = new Int32Array(length).map((_, at) => at + 1);
  const previous = new Int32Array(length).map((_, at) => at - 1);
  return { tokens, next, previous, weights };
}

/**
 * Learn merges until the vocabulary has `vocabSize` tokens, or nothing is left to merge.
 *
 * @param pieces how often each piece of the texts occurs
 * @param onProgress called now and then with the merges that are done, and the merges to do
 */
export function trainMerges(
  pieces: ReadonlyMap<string, number>,
  vocabSize: number,
  onProgress?: (done: number, total: number) => void,
): Vocabulary {
  const names = baseNames();
  const idOfName = new Map(names.map((name, id) => [name, id]));
  const total = vocabSize - names.length;
  const sequence = layOut(
    pieces,
    BYTE_NAMES.map((name) => idOfName.get(name)!),
  );
  const { tokens, next, previous, weights } = sequence;

  const pairs = new Map<number, Pair>();
  const changed = new Set<Pair>(); // the pairs with new places
  const heap = new Heap<Candidate>(comesFirst);

  const pairOf = (left: number, right: number): Pair => {
    const key = pairKey(left, right, vocabSize);
    let pair = pairs.get(key);
    if (pair === undefined) {
      pair = { left, right, count: 0, newPlaces: [] };
      pairs.set(key, pair);
    }
    return pair;
  };
  const add = (left: number, right: number, place: number): void => {
    const pair = pairOf(left, right);
    pair.count += weights[place];
    if (pair.newPlaces.length === 0) changed.add(pair);
    pair.newPlaces.push(place);
  };
  const pushChanged = (): void => {
    for (const pair of changed) {
      if (pair.count > 0) heap.push({ pair, count: pair.count, places: pair.newPlaces });
      pair.newPlaces = [];
    }
    changed.clear();
  };

  for (let place = 1; place < tokens.length - 1; place++) {
    if (tokens[place] !== NONE && tokens[place + 1] !== NONE) add(tokens[place], tokens[place + 1], place);
  }
  pushChanged();

  const merges = new Map<Pair, Merge>();
  while (names.length < vocabSize) {
    const candidate = heap.pop();
    if (candidate === undefined) break;
    const { pair, places } = candidate;
    if (candidate.count !== pair.count) {
      candidate.count = pair.count;
      if (pair.count > 0) heap.push(candidate);
      continue;
    }

    const { left, right } = pair;
    const name = names[left] + names[right];
    let result = idOfName.get(name); // known already if two ways of joining lead to the same bytes
    if (result === undefined) {
      result = names.length;
      idOfName.set(name, result);
      names.push(name);
      onProgress?.(names.length - (vocabSize - total), total);
    }
    merges.delete(pair); // if it comes up again, the later turn counts, as in Hugging Face
    merges.set(pair, { left, right, result });

    for (const place of places) {
      const rightPlace = next[place];
      if (tokens[place] !== left || tokens[rightPlace] !== right) continue; // gone by an earlier merge
      const before = previous[place];
      const after = next[rightPlace];
      const weight = weights[place];
      tokens[place] = result;
      tokens[rightPlace] = NONE;
      next[place] = after;
      previous[after] = place;
      if (tokens[before] !== NONE) {
        pairOf(tokens[before], left).count -= weight;
        add(tokens[before], result, before);
      }
      if (tokens[after] !== NONE) {
        pairOf(right, tokens[after]).count -= weight;
        add(result, tokens[after], place);
      }
    }
    pushChanged();
  }
  return { names, merges: [...merges.values()] };
}
