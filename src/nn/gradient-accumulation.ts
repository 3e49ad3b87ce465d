/**
 * @file Gradient accumulation: the step of a large batch in the memory of a small one.
 *
 * The activations that the backward pass needs grow with the batch; the gradients do not. So the batch is cut into parts
 * whose gradients are added up before the optimiser moves. A loss is a mean, of as many things as the part has (all its
 * tokens, or the answered ones), so each part counts by that number `w`:
 *
 *     g = Σ wᵢ gᵢ / Σ wᵢ
 *
 * which is the gradient of the whole batch, but for rounding. One graph adds a part's gradients to the sums, and another
 * takes the step; where the batch is one part, it is the ordinary step of `train-step.ts`.
 */

import { gradients, type NdArray, scalar, type Tensor, trace } from '../tensor/index.ts';
import { locateBreakdown } from './breakdown.ts';
import { ADAMW_DEFAULTS } from './optimizer.ts';
import {
  type Batch,
  createTrainer,
  emptyArray,
  openState,
  pick,
  prefixed,
  readMetrics,
  SCALARS,
  type StepResult,
  stateSpecs,
  type Trainer,
  type TrainerOptions,
  traceUpdate,
} from './train-step.ts';

/** A trainer whose step takes its batch in parts. */
export interface AccumulatingTrainer extends Omit<Trainer, 'step'> {
  /** As `Trainer.step`; loss and metrics are those of the whole batch. */
  step(parts: readonly Batch[], learningRate: number): Promise<StepResult>;
}

/** @param options.batch shapes and types of one part */
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

async function accumulate({
  runtime,
  loss,
  batch,
  state,
  optimizer,
}: TrainerOptions): Promise<AccumulatingTrainer> {
  const options = { ...ADAMW_DEFAULTS, ...optimizer };
  const { weights: specs } = state;
  const names = Object.keys(specs);

  const addPart = await runtime.compile(
    trace<string>(
      { ...prefixed('batch', batch), ...prefixed('weight', specs), ...prefixed('sum', specs) },
      (symbolic) => {
        const weights = pick(symbolic, 'weight', names);
        const result = loss(weights, pick(symbolic, 'batch', Object.keys(batch)));
        const weight = (result.weight ?? scalar(1)).reshape([]);
        const found = gradients(
          result.loss,
          names.map((name) => weights[name]),
        );
        const outputs: Record<string, Tensor> = {};
        names.forEach((name, i) => {
          outputs[`sum:${name}`] = symbolic[`sum:${name}`].add(found[i].mul(weight));
        });
        for (const [name, metric] of Object.entries(result.metrics ?? {}))
          outputs[`metric:${name}`] = metric.reshape([]);
        outputs['partWeight'] = weight;
        outputs['loss'] = result.loss.reshape([]);
        return outputs;
      },
    ),
  );
  const takeStep = await runtime.compile(
    trace<string>(
      { ...SCALARS, total: SCALARS.learningRate, ...stateSpecs(specs), ...prefixed('sum', specs) },
      (symbolic) => {
        const found = names.map((name) => symbolic[`sum:${name}`].div(symbolic['total']));
        const { outputs, norm } = traceUpdate(symbolic, names, found, options);
        return { ...outputs, gradientNorm: norm.reshape([]) };
      },
    ),
  );

  const held = openState(state);
  const zeros = (): Record<string, NdArray> =>
    prefixed('sum', Object.fromEntries(names.map((name) => [name, emptyArray(specs[name])])));
  // An output must not be one of the inputs: the sums, too, are read here and written there.
  let sums = zeros();
  let nextSums = zeros();

  return {
    get state() {
      return held.state;
    },
    async step(parts, learningRate) {
      for (const { data } of Object.values(sums)) (data as Float32Array).fill(0);
      const { weights } = held.state;
      const readings: Reading[] = [];
      for (const part of parts) {
        const feeds = { ...sums, ...prefixed('weight', weights), ...prefixed('batch', part, batch) };
        const outputs = await addPart.run(feeds, nextSums);
        [sums, nextSums] = [nextSums, sums];
        const number = (name: string): number => Number(outputs[name].data[0]);
        readings.push({ weight: number('partWeight'), loss: number('loss'), metrics: readMetrics(outputs) });
      }
      // Nothing to learn from in any part: the sums are zero, and so is their mean.
      const total = Math.max(1, sumOf(readings, ({ weight }) => weight));
      const mean = (of: (reading: Reading) => number): number =>
        sumOf(readings, (reading) => reading.weight * of(reading)) / total;
      const feeds = { ...held.feeds(learningRate, options), ...sums, total: scalar(total).value };
      const outputs = await takeStep.run(feeds, held.next);
      const metrics = Object.keys(readings[0].metrics);
      const result: StepResult = {
        loss: mean((reading) => reading.loss),
        gradientNorm: Number(outputs['gradientNorm'].data[0]),
        metrics: Object.fromEntries(metrics.map((name) => [name, mean((reading) => reading.metrics[name])])),
      };
      if (Number.isFinite(result.loss) && Number.isFinite(result.gradientNorm)) {
        held.advance();
        return result;
      }
      return { ...result, breakdown: await locateBreakdown({ runtime, loss, weights, batches: parts }) };
    },
    async release() {
      await addPart.release();
      await takeStep.release();
    },
  };
}

/** What a part of a batch reports. */
interface Reading extends Omit<StepResult, 'gradientNorm' | 'breakdown'> {
  readonly weight: number;
}

function sumOf<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
