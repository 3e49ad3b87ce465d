/**
 * @file Gradient accumulation: the step of a large batch in the memory of a small one.
 *
 *     npm run train -- --micro-batch-size 2
 *
 * The activations that the backward pass needs grow with the batch; the gradients do not. So the batch is cut into parts
 * whose gradients are added up before the optimiser moves. A loss is a mean, of as many things as the part has (all its
 * tokens, or the answered ones), so each part counts by that number `w`:
 *
 *     g = Σ wᵢ gᵢ / Σ wᵢ
 *
 * which is the gradient of the whole batch, but for rounding (where there are experts, they are balanced within each part).
 * One graph adds a part's gradients to the sums, and another
 * takes the step; where the batch is one part, it is the ordinary step of `train-step.ts`.
 */

import { type Graph, gradients, type NdArray, type Spec, scalar, trace, zerosOf } from '../tensor/index.ts';
import { locateBreakdown } from './breakdown.ts';
import { prefixed, unprefixed } from './names.ts';
import { ADAMW_DEFAULTS } from './optimizer.ts';
import { createStateBuffers, updateInputs } from './train-state.ts';
import {
  type Batch,
  canBeTaken,
  createTrainer,
  type LossFunction,
  readResult,
  reportOf,
  type StepResult,
  type Trainer,
  type TrainerOptions,
  traceUpdate,
  type UpdateOptions,
} from './train-step.ts';

/** A trainer whose step takes its batch in parts. */
export interface AccumulatingTrainer extends Omit<Trainer, 'step'> {
  /** As `Trainer.step`; loss and metrics are those of the whole batch. */
  step(parts: readonly Batch[], learningRate: number): Promise<StepResult>;
}

/**
 * @param options.batch shapes and types of one part
 * @param options.parts how many parts a batch has at most
 */
export async function createAccumulatingTrainer(
  options: TrainerOptions & { readonly parts: number },
): Promise<AccumulatingTrainer> {
  if (options.parts > 1) return accumulate(options);
  const trainer = await createTrainer(options);
  return {
    get state() {
      return trainer.state;
    },
    step: ([whole], learningRate) => trainer.step(whole, learningRate),
    release: trainer.release,
  };
}

type Specs = Readonly<Record<string, Spec>>;

/** From the sums of gradients to the sums with a part's gradients added, with the part's weight and figures. */
export function traceAddition(loss: LossFunction, batch: Specs, weightSpecs: Specs): Graph {
  const names = Object.keys(weightSpecs);
  const sums = prefixed('sum', weightSpecs);
  const inputs = { ...prefixed('batch', batch), ...prefixed('weight', weightSpecs), ...sums };
  return trace<string>(inputs, (symbolic) => {
    const weights = unprefixed('weight', symbolic);
    const result = loss(weights, unprefixed('batch', symbolic));
    const count = (result.weight ?? scalar(1)).reshape([]);
    const found = gradients(
      result.loss,
      names.map((name) => weights[name]),
    );
    const added = names.map((name, i) => [name, symbolic[`sum:${name}`].add(found[i].mul(count))] as const);
    return { ...prefixed('sum', Object.fromEntries(added)), count, ...reportOf(result) };
  });
}

/** From the sums and their total weight to the next state. */
function traceStepFromSums(weightSpecs: Specs, options: UpdateOptions): Graph {
  const names = Object.keys(weightSpecs);
  const total: Spec = { dtype: 'float32', shape: [] };
  const inputs = { ...updateInputs(weightSpecs, options.matrices), ...prefixed('sum', weightSpecs), total };
  return trace<string>(inputs, (symbolic) => {
    const means = names.map((name) => symbolic[`sum:${name}`].div(symbolic['total']));
    const { next, norm } = traceUpdate(symbolic, names, means, options);
    return { ...next, gradientNorm: norm.reshape([]) };
  });
}

async function accumulate({
  runtime,
  loss,
  batch,
  state,
  optimizer,
  matrices = {},
}: TrainerOptions): Promise<AccumulatingTrainer> {
  const options = { ...ADAMW_DEFAULTS, ...optimizer, matrices };
  const addition = await runtime.compile(traceAddition(loss, batch, state.weights));
  const update = await runtime.compile(traceStepFromSums(state.weights, options));
  const buffers = createStateBuffers(state, matrices);
  const zeros = (): Record<string, NdArray> =>
    Object.fromEntries(
      Object.entries(state.weights).map(([name, spec]) => [
        `sum:${name}`,
        zerosOf(spec.dtype, ...spec.shape),
      ]),
    );
  // An output must not be one of the inputs: the sums, too, are read here and written there.
  let sums = zeros();
  let nextSums = zeros();

  return {
    get state() {
      return buffers.state;
    },
    async step(parts, learningRate) {
      const { weights } = buffers.state;
      for (const { data } of Object.values(sums)) data.fill(0 as never);
      const readings: Reading[] = [];
      for (const part of parts) {
        const values = Object.fromEntries(Object.keys(batch).map((name) => [name, part[name]]));
        const feeds = { ...sums, ...prefixed('weight', weights), ...prefixed('batch', values) };
        const outputs = await addition.run(feeds, nextSums);
        [sums, nextSums] = [nextSums, sums];
        readings.push({ ...readResult(outputs), count: Number(outputs['count'].data[0]) });
      }
      const total = sumOf(readings, ({ count }) => count);
      const mean = (of: (reading: Reading) => number): number =>
        // Where there is nothing to learn in any part the sums are zero, and so are their means.
        total === 0 ? 0 : sumOf(readings, (reading) => reading.count * of(reading)) / total;
      const feeds = { ...buffers.feeds(learningRate, options), ...sums, total: scalar(total || 1).value };
      const { gradientNorm } = readResult(await update.run(feeds, buffers.next));
      const metrics = Object.keys(readings[0].metrics).map((name) => [
        name,
        mean((one) => one.metrics[name]),
      ]);
      const result = { loss: mean((one) => one.loss), gradientNorm, metrics: Object.fromEntries(metrics) };
      if (canBeTaken(result)) {
        buffers.advance();
        return result;
      }
      return { ...result, breakdown: await locateBreakdown({ runtime, loss, weights, batches: parts }) };
    },
    async release() {
      await addition.release();
      await update.release();
    },
  };
}

/** What a part of a batch reports, and what it counts for. */
interface Reading extends Pick<StepResult, 'loss' | 'metrics'> {
  readonly count: number;
}

function sumOf<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
