/**
 * @file Ends a text at the first of some strings, while the text is still arriving in pieces.
 *
 * A stop string may be spread over several pieces, so the end of a text that could be the beginning of one is held back
 * until more is known: nothing of a stop string is ever shown.
 */

import { UserError } from './errors.ts';

export interface StopFilter {
  /** Add a piece; returns what can be shown now. After a stop, everything that comes is dropped. */
  push(piece: string): string;
  /** What was held back, when no more will come. */
  end(): string;
  readonly stopped: boolean;
}

/**
 * A filter that ends the text before the stop string that is complete first, the longest of those that are complete
 * together. So the result does not depend on where the text was cut into pieces.
 */
export function createStopFilter(stops: readonly string[]): StopFilter {
  let held = '';
  let stopped = false;
  return {
    get stopped() {
      return stopped;
    },
    push(piece) {
      if (stopped) return '';
      held += piece;
      const cut = findStop(held, stops);
      stopped = cut !== undefined;
      const shown = held.slice(0, cut ?? held.length - longestBeginning(held, stops));
      held = stopped ? '' : held.slice(shown.length);
      return shown;
    },
    end() {
      const rest = held;
      held = '';
      return rest;
    },
  };
}

/** Where the stop string begins that is complete first; undefined if none is. */
function findStop(text: string, stops: readonly string[]): number | undefined {
  let start: number | undefined;
  let end = Number.POSITIVE_INFINITY;
  for (const stop of stops) {
    const at = text.indexOf(stop);
    if (at < 0) continue;
    const isFirst = at + stop.length < end || (at + stop.length === end && at < (start ?? 0));
    if (isFirst) [start, end] = [at, at + stop.length];
  }
  return start;
}

/** The length of the longest end of the text with which a stop string begins. */
function longestBeginning(text: string, stops: readonly string[]): number {
  const longest = Math.max(0, ...stops.map((stop) => stop.length - 1));
  for (let length = Math.min(longest, text.length); length > 0; length--) {
    const end = text.slice(text.length - length);
    if (stops.some((stop) => stop.startsWith(end))) return length;
  }
  return 0;
}

/** Throws a UserError for a stop string without characters, at which every text would end before it began. */
export function checkStops(stops: readonly string[]): void {
  if (!stops.includes('')) return;
  throw new UserError({
    zh: '--stop 是空的；请写上遇到就停的文字，或去掉这个选项',
    en: '--stop is empty; write the text to stop at, or leave the option out',
  });
}
