/**
 * @file One training step as one graph: forward, backward, clipping and AdamW (or Muon), compiled once and run for every
 * batch.
 *
 * All stages train through this; what differs between them is the loss that they hand in.
 */

import {
  type Graph,
  gradients,
  type NdArray,
  type Runtime,
  type Spec,
  type Tensor,
  trace,
} from '../tensor/index.ts';
import { type Breakdown, locateBreakdown } from './breakdown.ts';
import { type MuonMatrices, muon } from './muon.ts';
import { prefixed, unprefixed } from './names.ts';
import { ADAMW_DEFAULTS, type AdamWOptions, adamW, clipCoefficient, gradientNorm } from './optimizer.ts';
import { createStateBuffers, stateKey, type TrainState, updateInputs } from './train-state.ts';

export { createTrainState, type TrainState } from './train-state.ts';

/** A scalar to minimise, and scalars to report beside it. */
export interface LossAndMetrics {
  readonly loss: Tensor;
  /**
   * How many things the loss is a mean of, a scalar: what a part of a batch counts for beside the others (see
   * `gradient-accumulation.ts`). Parts count the same where it is not given.
   */
  readonly weight?: Tensor;
  readonly metrics?: Readonly<Record<string, Tensor>>;
}

/** The loss of a batch under weights; both are symbolic. */
export type LossFunction = (
  weights: Readonly<Record<string, Tensor>>,
  batch: Readonly<Record<string, Tensor>>,
) => LossAndMetrics;

/** The arrays of a batch by their names. */
export type Batch = Readonly<Record<string, NdArray>>;

export interface StepResult {
  readonly loss: number;
  /** Norm of the gradients before clipping. */
  readonly gradientNorm: number;
  readonly metrics: Readonly<Record<string, number>>;
  /** Where loss or gradients stopped being numbers; the step was not taken then. */
  readonly breakdown?: Breakdown;
}

export interface Trainer {
  /** The state after the last step. The next but one overwrites its arrays; after the very last step they stay. */
  readonly state: TrainState;
  /** Move the weights, unless loss or gradients are no numbers: then the state stays as it is. */
  step(batch: Batch, learningRate: number): Promise<StepResult>;
  release(): Promise<void>;
}

export interface TrainerOptions {
  readonly runtime: Runtime;
  readonly loss: LossFunction;
  /** Shapes of a batch; every batch must have them. */
  readonly batch: Readonly<Record<string, Spec>>;
  readonly state: TrainState;
  readonly optimizer?: Partial<AdamWOptions>;
  /** The weights that Muon updates in the place of AdamW; their variances are not in `state`. */
  readonly matrices?: MuonMatrices;
}

/** Compile the training step of a loss. The given state is copied and not changed. */
export async function createTrainer({
  runtime,
  loss,
  batch,
  state,
  optimizer,
  matrices = {},
}: TrainerOptions): Promise<Trainer> {
  const options = { ...ADAMW_DEFAULTS, ...optimizer };
  const executable = await runtime.compile(traceStep(loss, batch, state.weights, { ...options, matrices }));
  const buffers = createStateBuffers(state, matrices);
  return {
    get state() {
      return buffers.state;
    },
    async step(given, learningRate) {
      const values = Object.fromEntries(Object.keys(batch).map((name) => [name, given[name]]));
      const feeds = { ...buffers.feeds(learningRate, options), ...prefixed('batch', values) };
      const outputs = await executable.run(feeds, buffers.next);
      const result = readResult(outputs);
      if (canBeTaken(result)) {
        buffers.advance();
        return result;
      }
      const { weights } = buffers.state;
      return { ...result, breakdown: await locateBreakdown({ runtime, loss, weights, batches: [values] }) };
    },
    release: () => executable.release(),
  };
}

/** Whether a step can be taken. One infinite gradient is enough: after clipping it would spoil every weight. */
export function canBeTaken({ loss, gradientNorm }: Omit<StepResult, 'breakdown'>): boolean {
  return Number.isFinite(loss) && Number.isFinite(gradientNorm);
}

/** How an update is made: the settings of AdamW, and the weights that are Muon's. */
export type UpdateOptions = AdamWOptions & { readonly matrices: MuonMatrices };

/** The graph of a whole step: from a batch and a state to the next state, with loss, gradient norm and metrics. */
export function traceStep(
  loss: LossFunction,
  batch: Readonly<Record<string, Spec>>,
  weightSpecs: Readonly<Record<string, Spec>>,
  options: UpdateOptions,
): Graph {
  const names = Object.keys(weightSpecs);
  const inputs = { ...updateInputs(weightSpecs, options.matrices), ...prefixed('batch', batch) };
  return trace<string>(inputs, (symbolic) => {
    const weights = unprefixed('weight', symbolic);
    const result = loss(weights, unprefixed('batch', symbolic));
    const found = gradients(
      result.loss,
      names.map((name) => weights[name]),
    );
    const { next, norm } = traceUpdate(symbolic, names, found, options);
    return { ...next, gradientNorm: norm.reshape([]), ...reportOf(result) };
  });
}

/** The part of a step after the gradients: clipping, and the update. */
export function traceUpdate(
  symbolic: Readonly<Record<string, Tensor>>,
  names: readonly string[],
  grads: readonly Tensor[],
  { matrices, ...options }: UpdateOptions,
): { readonly next: Record<string, Tensor>; readonly norm: Tensor } {
  const norm = gradientNorm(grads);
  const scalars = {
    learningRate: symbolic['learningRate'],
    meanCorrection: symbolic['meanCorrection'],
    rootVarianceCorrection: symbolic['rootVarianceCorrection'],
    coefficient: clipCoefficient(norm, options.maxGradientNorm),
  };
  const next: Record<string, Tensor> = {};
  names.forEach((name, i) => {
    const [weightKey, meanKey, varianceKey] = (['weights', 'means', 'variances'] as const).map((kind) =>
      stateKey(kind, name),
    );
    const parameter = symbolic[weightKey];
    if (name in matrices) {
      const before = { parameter, momentum: symbolic[meanKey] };
      const { weightDecay } = options;
      const after = muon(before, grads[i], scalars, { widths: matrices[name], weightDecay });
      next[weightKey] = after.parameter;
      next[meanKey] = after.momentum;
      return;
    }
    const before = { parameter, mean: symbolic[meanKey], variance: symbolic[varianceKey] };
    const after = adamW(before, grads[i], scalars, options);
    next[weightKey] = after.parameter;
    next[meanKey] = after.mean;
    next[varianceKey] = after.variance;
  });
  return { next, norm };
}

/**
 * Loss and metrics as outputs, which belong at the end: ONNX Runtime works backwards from the last output, so that the
 * forward pass is over, and what only it needs is freed, before the backward pass begins.
 */
export function reportOf({ loss, metrics = {} }: LossAndMetrics): Record<string, Tensor> {
  const scalars = Object.entries(metrics).map(([name, metric]) => [name, metric.reshape([])] as const);
  return { ...prefixed('metric', Object.fromEntries(scalars)), loss: loss.reshape([]) };
}

/** The inverse, of what a run put out; `gradientNorm` is NaN where it put out none. */
export function readResult(outputs: Readonly<Record<string, NdArray>>): StepResult {
  const read = (array: NdArray | undefined): number => Number(array?.data[0]);
  const metrics = Object.entries(unprefixed('metric', outputs));
  return {
    loss: read(outputs['loss']),
    gradientNorm: read(outputs['gradientNorm']),
    metrics: Object.fromEntries(metrics.map(([name, array]) => [name, read(array)])),
  };
}
