/**
 * @file Where a training step broke: which tensor was the first to hold what is no number.
 *
 * One NaN spreads. The norm of all gradients is taken together, so after clipping every weight would be NaN, and the loss
 * alone does not tell where it began. The backward pass runs from the loss to the embedding: of the gradients that are no
 * numbers, the one nearest to the loss was first.
 */

import { gradients, type NdArray, type Runtime, trace } from '../tensor/index.ts';
import { prefixed, unprefixed } from './names.ts';
import type { Batch, LossFunction } from './train-step.ts';

export interface Breakdown {
  /** The first weight, in the order of the backward pass, whose gradient is not finite; undefined where all are. */
  readonly gradient: string | undefined;
  /** What overflows the forward pass is usually a large weight, or what it was multiplied with. */
  readonly largest: LargestWeight;
}

/** The weight with the largest number in it. */
export interface LargestWeight {
  readonly name: string;
  /** That number's size; NaN or infinite where the weight itself is broken. */
  readonly size: number;
}

/**
 * Compute the gradients once more, each by itself, for the parts of a batch until one shows where the step broke.
 *
 * @param options.weights the weights before the step, in the order of the forward pass
 */
export async function locateBreakdown(options: {
  readonly runtime: Runtime;
  readonly loss: LossFunction;
  readonly weights: Readonly<Record<string, NdArray>>;
  readonly batches: readonly Batch[];
}): Promise<Breakdown> {
  const { runtime, loss, weights, batches } = options;
  const names = Object.keys(weights);
  const feeds = (batch: Batch) => ({ ...prefixed('weight', weights), ...prefixed('batch', batch) });
  const executable = await runtime.compile(
    trace<string>(feeds(batches[0]), (symbolic) => {
      const parameters = unprefixed('weight', symbolic);
      const found = gradients(
        loss(parameters, unprefixed('batch', symbolic)).loss,
        names.map((name) => parameters[name]),
      );
      return Object.fromEntries(names.map((name, i) => [name, found[i]]));
    }),
  );
  let gradient: string | undefined;
  for (const batch of batches) {
    const found = await executable.run(feeds(batch));
    gradient = names.findLast((name) => !Number.isFinite(sizeOf(found[name])));
    if (gradient !== undefined) break;
  }
  await executable.release();
  return { gradient, largest: largestWeight(weights) };
}

/** The first broken weight, or else the largest one. */
export function largestWeight(weights: Readonly<Record<string, NdArray>>): LargestWeight {
  const sizes = Object.entries(weights).map(([name, array]) => ({ name, size: sizeOf(array) }));
  const broken = sizes.find(({ size }) => !Number.isFinite(size));
  return broken ?? sizes.reduce((largest, each) => (each.size > largest.size ? each : largest));
}

/** The largest absolute value; NaN where there is one. */
function sizeOf({ data }: NdArray): number {
  let size = 0;
  for (let i = 0; i < data.length; i++) {
    const value = Math.abs(Number(data[i]));
    if (Number.isNaN(value)) return value;
    size = Math.max(size, value);
  }
  return size;
}
