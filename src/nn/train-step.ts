/**
 * @file One training step as one graph: forward, backward, clipping and AdamW, compiled once and run for every batch.
 *
 * All stages train through this; what differs between them is the loss that they hand in.
 */

import {
  allocate,
  type Graph,
  gradients,
  type NdArray,
  type Runtime,
  type Spec,
  scalar,
  sizeOf,
  type Tensor,
  trace,
} from '../tensor/index.ts';
import { type Breakdown, locateBreakdown } from './breakdown.ts';
import { ADAMW_DEFAULTS, type AdamWOptions, adamW, clipCoefficient, gradientNorm } from './optimizer.ts';

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

/** Weights and optimiser state, each by weight name. */
export interface TrainState {
  readonly weights: Record<string, NdArray>;
  readonly means: Record<string, NdArray>;
  readonly variances: Record<string, NdArray>;
  /** Steps taken so far. */
  readonly step: number;
}

/** Fresh optimiser state for weights. */
export function createTrainState(weights: Readonly<Record<string, NdArray>>): TrainState {
  const zeros = (): Record<string, NdArray> =>
    Object.fromEntries(
      Object.entries(weights).map(([name, { shape }]) => [name, emptyArray({ dtype: 'float32', shape })]),
    );
  return { weights: { ...weights }, means: zeros(), variances: zeros(), step: 0 };
}

export interface StepResult {
  readonly loss: number;
  /** Norm of the gradients before clipping. */
  readonly gradientNorm: number;
  readonly metrics: Readonly<Record<string, number>>;
  /** Where loss or gradients stopped being numbers; then the step was not taken. */
  readonly breakdown?: Breakdown;
}

/** The arrays of a batch by their names. */
export type Batch = Readonly<Record<string, NdArray>>;

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
  /** Shapes and types of a batch; every batch must have them. */
  readonly batch: Readonly<Record<string, Spec>>;
  readonly state: TrainState;
  readonly optimizer?: Partial<AdamWOptions>;
}

/** Compile the training step of a loss. The given state is copied and not changed. */
export async function createTrainer({
  runtime,
  loss,
  batch,
  state,
  optimizer,
}: TrainerOptions): Promise<Trainer> {
  const options = { ...ADAMW_DEFAULTS, ...optimizer };
  const executable = await runtime.compile(traceStep(loss, batch, state.weights, options));
  const held = openState(state);
  return {
    get state() {
      return held.state;
    },
    async step(values, learningRate) {
      const feeds = { ...held.feeds(learningRate, options), ...prefixed('batch', values, batch) };
      const outputs = await executable.run(feeds, held.next);
      const result: StepResult = {
        loss: Number(outputs['loss'].data[0]),
        gradientNorm: Number(outputs['gradientNorm'].data[0]),
        metrics: readMetrics(outputs),
      };
      if (Number.isFinite(result.loss) && Number.isFinite(result.gradientNorm)) {
        held.advance();
        return result;
      }
      const { weights } = held.state;
      return { ...result, breakdown: await locateBreakdown({ runtime, loss, weights, batches: [values] }) };
    },
    release: () => executable.release(),
  };
}

/** The graph of a whole step: from a batch and a state to the next state, with loss, gradient norm and metrics. */
export function traceStep(
  loss: LossFunction,
  batch: Readonly<Record<string, Spec>>,
  weightSpecs: Readonly<Record<string, Spec>>,
  options: AdamWOptions = ADAMW_DEFAULTS,
): Graph {
  const names = Object.keys(weightSpecs);
  const inputs = { ...SCALARS, ...prefixed('batch', batch), ...stateSpecs(weightSpecs) };
  return trace<string>(inputs, (symbolic) => {
    const weights = pick(symbolic, KINDS.weights, names);
    const result = loss(weights, pick(symbolic, 'batch', Object.keys(batch)));
    const grads = gradients(
      result.loss,
      names.map((name) => weights[name]),
    );
    const { outputs, norm } = traceUpdate(symbolic, names, grads, options);
    // ONNX Runtime works backwards from the last output: with these last, the forward pass is over, and what only it needs
    // is freed, before the backward pass begins.
    outputs['gradientNorm'] = norm.reshape([]);
    for (const [name, metric] of Object.entries(result.metrics ?? {}))
      outputs[`metric:${name}`] = metric.reshape([]);
    outputs['loss'] = result.loss.reshape([]);
    return outputs;
  });
}

/** The part of a step after the gradients: clipping and AdamW. The outputs are the next state. */
export function traceUpdate(
  symbolic: Readonly<Record<string, Tensor>>,
  names: readonly string[],
  grads: readonly Tensor[],
  options: AdamWOptions,
): { outputs: Record<string, Tensor>; norm: Tensor } {
  const norm = gradientNorm(grads);
  const scalars = {
    learningRate: symbolic['learningRate'],
    meanCorrection: symbolic['meanCorrection'],
    rootVarianceCorrection: symbolic['rootVarianceCorrection'],
    coefficient: clipCoefficient(norm, options.maxGradientNorm),
  };
  const outputs: Record<string, Tensor> = {};
  names.forEach((name, i) => {
    const before = {
      parameter: symbolic[key('weights', name)],
      mean: symbolic[key('means', name)],
      variance: symbolic[key('variances', name)],
    };
    const after = adamW(before, grads[i], scalars, options);
    outputs[key('weights', name)] = after.parameter;
    outputs[key('means', name)] = after.mean;
    outputs[key('variances', name)] = after.variance;
  });
  return { outputs, norm };
}

const KINDS = { weights: 'weight', means: 'mean', variances: 'variance' } as const;
type Kind = keyof typeof KINDS;
const KIND_NAMES = Object.keys(KINDS) as Kind[];

const key = (kind: Kind, name: string): string => `${KINDS[kind]}:${name}`;

const SCALAR: Spec = { dtype: 'float32', shape: [] };
/** What an update reads beside gradients and state. */
export const SCALARS = {
  learningRate: SCALAR,
  meanCorrection: SCALAR,
  rootVarianceCorrection: SCALAR,
} as const;

/** The inputs of an update that hold the state. */
export function stateSpecs(weights: Readonly<Record<string, Spec>>): Record<string, Spec> {
  return Object.fromEntries(
    KIND_NAMES.flatMap((kind) =>
      Object.entries(weights).map(([name, { shape }]) => [key(kind, name), { dtype: 'float32', shape }]),
    ),
  );
}

/** A training state that steps read and write. */
export interface HeldState {
  readonly state: TrainState;
  /** Arrays for the outputs of the next step. */
  readonly next: Readonly<Record<string, NdArray>>;
  /** The inputs of the next step: the state as it is, and the scalars. */
  feeds(learningRate: number, options: AdamWOptions): Record<string, NdArray>;
  /** What was written to `next` is the state now. */
  advance(): void;
}

/** Two copies of a state: a step reads one and writes the other, then they change places. */
export function openState(state: TrainState): HeldState {
  const names = Object.keys(state.weights);
  let current = Object.fromEntries(
    KIND_NAMES.flatMap((kind) => names.map((name) => [key(kind, name), copyArray(state[kind][name])])),
  );
  let next = Object.fromEntries(Object.entries(current).map(([name, array]) => [name, emptyArray(array)]));
  let steps = state.step;
  return {
    get state() {
      const view = (kind: Kind): Record<string, NdArray> =>
        Object.fromEntries(names.map((name) => [name, current[key(kind, name)]]));
      return { weights: view('weights'), means: view('means'), variances: view('variances'), step: steps };
    },
    get next() {
      return next;
    },
    feeds(learningRate, { beta1, beta2 }) {
      const t = steps + 1;
      return {
        ...current,
        learningRate: scalar(learningRate).value,
        meanCorrection: scalar(1 - beta1 ** t).value,
        rootVarianceCorrection: scalar(Math.sqrt(1 - beta2 ** t)).value,
      };
    },
    advance() {
      [current, next] = [next, current];
      steps++;
    },
  };
}

/** The metrics among the outputs of a graph. */
export function readMetrics(outputs: Readonly<Record<string, NdArray>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(outputs)
      .filter(([name]) => name.startsWith('metric:'))
      .map(([name, { data }]) => [name.slice('metric:'.length), Number(data[0])]),
  );
}

/** Entries as `prefix:name`; only those that `known` has, where it is given. */
export function prefixed<T>(
  prefix: string,
  entries: Readonly<Record<string, T>>,
  known: Readonly<Record<string, unknown>> = entries,
): Record<string, T> {
  return Object.fromEntries(Object.keys(known).map((name) => [`${prefix}:${name}`, entries[name]]));
}

/** The inverse: the entries of a prefix, by their names. */
export function pick<T>(
  entries: Readonly<Record<string, T>>,
  prefix: string,
  names: readonly string[],
): Record<string, T> {
  return Object.fromEntries(names.map((name) => [name, entries[`${prefix}:${name}`]]));
}

export function emptyArray({ dtype, shape }: Spec): NdArray {
  return { dtype, shape, data: allocate(dtype, sizeOf(shape)) };
}

function copyArray({ dtype, shape, data }: NdArray): NdArray {
  return { dtype, shape, data: data.slice() };
}
