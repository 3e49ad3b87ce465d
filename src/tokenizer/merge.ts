/**
 * @file Applying learned merges to one piece of text: what `encode` does once the text is cut and written as bytes.
 *
 * Always the merge that was learned first goes first, and of several places the leftmost. Looking for it again after
 * every merge would take quadratic time; here the possible merges wait on a heap, and the tokens are a linked list, so
 * that joining two of them moves nothing else: O(n log n).
 */

import { Heap } from './heap.ts';
import { type Merge, pairKey } from './vocabulary.ts';

/** Marks a token that was joined to its left neighbour. */
const GONE = -1;

/**
 * Called after each merge.
 *
 * @param rank the merge: its place in the order of learning
 * @param at where `result` is now in the tokens of the piece
 * @param ids the tokens of the piece now
 */
export type OnMerge = (rank: number, at: number, ids: number[]) => void;

/** Make the function that merges the tokens of a piece (`start`: its bytes, as ids) as far as `merges` go. */
export function createMerger(
  merges: readonly Merge[],
  vocabSize: number,
): (start: readonly number[], onMerge?: OnMerge) => number[] {
  const ranks = new Map(merges.map(({ left, right }, rank) => [pairKey(left, right, vocabSize), rank]));

  // The piece at hand: made anew for each piece, but the functions that work on it are made only once.
  let end = 0;
  let tokens: number[] = []; // a token sits at the place of its first byte
  let next: number[] = []; // the place of the token after it
  let previous: number[] = [];
  // One number stands for (rank, place): numbers made this way compare as the pairs do.
  const waiting = new Heap<number>((a, b) => a < b);

  const wait = (place: number): void => {
    if (next[place] === end) return;
    const rank = ranks.get(pairKey(tokens[place], tokens[next[place]], vocabSize));
    if (rank !== undefined) waiting.push(rank * end + place);
  };

  return (start, onMerge) => {
    end = start.length;
    tokens = [];
    next = [];
    previous = [];
    for (let place = 0; place < end; place++) {
      tokens.push(start[place]);
      next.push(place + 1);
      previous.push(place - 1);
    }
    for (let place = 0; place < end; place++) wait(place);

    for (let first = waiting.pop(); first !== undefined; first = waiting.pop()) {
      const place = first % end;
      const { left, right, result } = merges[(first - place) / end];
      const gone = next[place];
      // Since it was put on the heap, one of its tokens may have become part of another.
      if (tokens[place] !== left || tokens[gone] !== right) continue;

      tokens[place] = result;
      tokens[gone] = GONE;
      next[place] = next[gone];
      if (next[gone] < end) previous[next[gone]] = place;
      wait(place);
      if (place > 0) wait(previous[place]);
      onMerge?.((first - place) / end, remaining(tokens.slice(0, place)).length, remaining(tokens));
    }
    return remaining(tokens);
  };
}

function remaining(tokens: readonly number[]): number[] {
  const ids: number[] = [];
  for (const token of tokens) if (token !== GONE) ids.push(token);
  return ids;
}
