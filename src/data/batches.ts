/** @file Which rows each training step reads: epoch after epoch, each in an order of its own. */

import { UserError } from '../errors.ts';
import type { Text } from '../i18n.ts';
import { createRandom, foldSeed } from '../tensor/random.ts';

/** The order of `rowCount` rows in an epoch: a function of (seed, epoch) alone, so that a resumed run needs no history. */
export function epochOrder(rowCount: number, seed: number, epoch: number): number[] {
  const rows = Array.from({ length: rowCount }, (_, row) => row);
  return createRandom(foldSeed(foldSeed(seed, 'row order'), epoch)).shuffle(rows);
}

/** Some rows of the data, and whatever is needed to read them. */
interface Rows {
  readonly rows: readonly unknown[];
}

/** The batches of a run. */
export interface Batches<Epoch extends Rows> {
  readonly totalSteps: number;
  /** The epoch that a step (counted from 0) belongs to, with only the step's own rows. */
  at(step: number): Epoch & { readonly epoch: number };
}

/**
 * Batches of `batchSize` rows, epoch after epoch. The last rows of an epoch are left out where they fill no batch: the
 * next epoch has another order. Where an epoch has too few rows for its batches, it begins again from its first.
 *
 * @param readEpoch the rows of an epoch in the order in which they are read, from its number alone
 */
export function planBatches<Epoch extends Rows>(
  readEpoch: (epoch: number) => Epoch,
  { epochs, batchSize }: { readonly epochs: number; readonly batchSize: number },
): Batches<Epoch> {
  let epoch = 0;
  let current = readEpoch(epoch);
  // Epochs differ a little in length where texts are made anew: the first one sets the number of steps.
  const stepsPerEpoch = Math.max(1, Math.floor(current.rows.length / batchSize));
  return {
    totalSteps: stepsPerEpoch * epochs,
    at(step) {
      const wanted = Math.floor(step / stepsPerEpoch);
      if (wanted !== epoch) current = readEpoch(wanted);
      epoch = wanted;
      const { rows } = current;
      const first = (step % stepsPerEpoch) * batchSize;
      const batch = Array.from({ length: batchSize }, (_, i) => rows[(first + i) % rows.length]);
      return { ...current, epoch, rows: batch };
    },
  };
}

/**
 * How many micro-batches a batch is cut into: 1 where none are asked for, or where the batch is no larger.
 *
 * @param name whose batch it is, for messages
 * @throws UserError where the micro-batches do not come out even
 */
export function countParts(batchSize: number, microBatchSize: number | undefined, name: Text): number {
  if (microBatchSize === undefined || microBatchSize >= batchSize) return 1;
  if (batchSize % microBatchSize === 0) return batchSize / microBatchSize;
  const divisors = Array.from({ length: batchSize - 1 }, (_, i) => i + 1).filter((n) => batchSize % n === 0);
  throw new UserError({
    zh: `--micro-batch-size ${microBatchSize} 不能整除${name.zh}的批大小 ${batchSize}；请改用 ${divisors.join('、')}，或修改 --batch-size。`,
    en: `--micro-batch-size ${microBatchSize} does not divide the batch of ${batchSize} of ${name.en}; give ${divisors.join(', ')}, or change --batch-size.`,
  });
}

/** Cut rows into so many parts of the same length, in order. */
export function splitRows<Row>(rows: readonly Row[], parts: number): Row[][] {
  const length = rows.length / parts;
  return Array.from({ length: parts }, (_, part) => rows.slice(part * length, (part + 1) * length));
}

/** A list in as few parts as do not exceed `size`, as equal as can be: 9 in parts of at most 8 are 5 and 4. */
export function evenParts<T>(items: readonly T[], size: number): T[][] {
  const count = Math.ceil(items.length / size);
  const start = (part: number): number => Math.ceil((part * items.length) / count);
  return Array.from({ length: count }, (_, part) => items.slice(start(part), start(part + 1)));
}
