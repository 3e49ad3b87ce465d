/** @file Which records are held out: decided by each record's own content, so that it stays decided. */

/** FNV-1a over UTF-16 units, then the final mix of MurmurHash3 so that every bit depends on every unit; [0, 2^32). */
export function hashText(value: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < value.length; index++) {
    hash = Math.imul(hash ^ value.charCodeAt(index), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/**
 * Split records into training and held-out ones.
 *
 * A record is held out when the hash of its key falls into the first `fraction` of the hash's range. Order and
 * repetition do not matter, and adding, removing or editing a record never moves another one, so a model trained on
 * an earlier version of the data has not seen today's held-out records. The share is therefore only about
 * `fraction`; where it would leave one side empty, the key nearest the border changes sides.
 *
 * @param options.fraction share to hold out; 0 holds out nothing
 * @param options.key what makes a record itself; equal keys go to the same side
 * @returns both sides in the order of `records`; neither is empty when there are two different keys
 */
export function splitHeldOut<T>(
  records: readonly T[],
  options: { fraction: number; key: (record: T) => string },
): { train: T[]; heldOut: T[] } {
  const { fraction, key } = options;
  if (!(fraction >= 0 && fraction < 1)) throw new Error(`fraction must be in [0, 1), it is ${fraction}`);
  const hashes = records.map((record) => hashText(key(record)));
  let smallest = Number.POSITIVE_INFINITY;
  let largest = 0;
  for (const hash of hashes) {
    smallest = Math.min(smallest, hash);
    largest = Math.max(largest, hash);
  }
  // Hashes below the border are held out.
  let border = fraction * 2 ** 32;
  if (smallest === largest) border = 0;
  else if (fraction > 0) border = Math.min(Math.max(border, smallest + 1), largest);
  const train: T[] = [];
  const heldOut: T[] = [];
  for (const [index, record] of records.entries()) (hashes[index] < border ? heldOut : train).push(record);
  return { train, heldOut };
}
