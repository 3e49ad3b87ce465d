/**
 * @file Where a training step broke: which tensor was the first to hold what is no number.
 *
 * One NaN spreads. The norm of all gradients is taken together, so after clipping every weight is NaN, and the loss alone
 * does not tell where it began. The backward pass runs from the loss to the embedding: of the gradients that are no
 * numbers, the one nearest to the loss was first.
 */

import { gradients, type NdArray, type Runtime, trace } from '../tensor/index.ts';
import { type Batch, type LossFunction, pick, prefixed } from './train-step.ts';

export interface Breakdown {
  /** The first weight, in the order of the backward pass, whose gradient is not finite; undefined where all are. */
  readonly gradient: string | undefined;
  /** The weight with the largest number in it; what overflows the forward pass is usually there. */
  readonly weight: string;
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
      const parameters = pick(symbolic, 'weight', names);
      const found = gradients(
        loss(parameters, pick(symbolic, 'batch', Object.keys(batches[0]))).loss,
        names.map((name) => parameters[name]),
      );
      return Object.fromEntries(names.map((name, i) => [name, found[i]]));
    }),
  );
  let gradient: string | undefined;
  for (const batch of batches) {
    const found = await executable.run(feeds(batch));
    gradient = names.findLast((name) => !Number.isFinite(largest(found[name])));
    if (gradient !== undefined) break;
  }
  await executable.release();
  const sizes = names.map((name) => largest(weights[name]));
  const broken = sizes.findIndex((size) => !Number.isFinite(size));
  const at = broken >= 0 ? broken : sizes.indexOf(Math.max(...sizes));
  return { gradient, weight: names[at], size: sizes[at] };
}

/** The largest absolute value; NaN where there is one. */
function largest({ data }: NdArray): number {
  let size = 0;
  for (let i = 0; i < data.length; i++) {
    const value = Math.abs(Number(data[i]));
    if (!(value <= size)) size = value;
    if (Number.isNaN(size)) return size;
  }
  return size;
}
