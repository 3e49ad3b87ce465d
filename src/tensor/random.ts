/**
 * @file Counter-based random numbers: number `i` of a stream is a hash of (seed, i).
 *
 * So a stream is two integers, resumes exactly from where it stopped, and gives the same numbers in Node, in a
 * browser, and (the same hash, in integer operations) inside a graph for dropout.
 */

/** Mix 32 bits so that each input bit changes half of the output bits (a multiply-xorshift finaliser). */
export function mix32(value: number): number {
  let x = value >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

/** A new seed from a seed and a label (a stage name, an epoch number): streams with different labels are unrelated. */
export function foldSeed(seed: number, label: number | string): number {
  let hash = mix32((seed ^ 0x9e3779b9) >>> 0);
  for (const part of typeof label === 'number' ? [label] : Array.from(label, (c) => c.codePointAt(0) ?? 0)) {
    hash = mix32((Math.imul(hash, 31) + part) >>> 0);
  }
  return hash;
}

/** What must be saved to go on with a stream. */
export interface RandomState {
  readonly seed: number;
  readonly counter: number;
}

export interface Random {
  /** The stream so far; `createRandom(state.seed, state.counter)` goes on from here. */
  readonly state: RandomState;
  /** Uniform in [0, 1), a multiple of 2^-32. */
  uniform(): number;
  /** Uniform whole number in [0, limit). */
  integer(limit: number): number;
  /** Standard normal (Box-Muller). */
  normal(): number;
  /** A uniformly random element. */
  pick<T>(items: readonly T[]): T;
  /** A new array in random order (Fisher-Yates). */
  shuffle<T>(items: readonly T[]): T[];
}

/** Start a stream, or go on with one. */
export function createRandom(seed: number, counter = 0): Random {
  const key = mix32(seed >>> 0);
  let position = counter;
  const uniform = (): number => {
    const high = Math.floor(position / 2 ** 32);
    const bits = mix32((mix32((position ^ key) >>> 0) + Math.imul(high, 0x9e3779b9) + key) >>> 0);
    position++;
    return bits / 2 ** 32;
  };
  const integer = (limit: number): number => Math.floor(uniform() * limit);
  return {
    get state() {
      return { seed, counter: position };
    },
    uniform,
    integer,
    normal: () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()),
    pick: (items) => items[integer(items.length)],
    shuffle(items) {
      const shuffled = [...items];
      for (let i = shuffled.length - 1; i > 0; i--) {
        const j = integer(i + 1);
        [shuffled[i], shuffled[j]] = [shuffled[j], shuffled[i]];
      }
      return shuffled;
    },
  };
}
