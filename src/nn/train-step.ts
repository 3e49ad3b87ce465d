/**
 * @file One training step as one graph: forward, backward, clipping and AdamW (or Muon), compiled once and run for every
 * batch.
 *
 * All stages train through this; what differs between them is the loss that they hand in.
 */

import {
  allocate,
  gradients,
  type NdArray,
  type Runtime,
  type Spec,
  scalar,
  sizeOf,
  type Tensor,
  trace,
} from '../tensor/index.ts';
import { type MuonMatrices, muon } from './muon.ts';
import { ADAMW_DEFAULTS, type AdamWOptions, adamW, clipCoefficient, gradientNorm } from './optimizer.ts';

/** A scalar to minimise, and scalars to report beside it. */
export interface LossAndMetrics {
  readonly loss: Tensor;
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
  /** Running means of gradients; the momentum of what Muon updates. */
  readonly means: Record<string, NdArray>;
  /** Running means of squared gradients; none for what Muon updates. */
  readonly variances: Record<string, NdArray>;
  /** Steps taken so far. */
  readonly step: number;
}

/** Fresh optimiser state for weights, of which `matrices` are Muon's. */
export function createTrainState(
  weights: Readonly<Record<string, NdArray>>,
  matrices: MuonMatrices = {},
): TrainState {
  const zeros = (names: readonly string[]): Record<string, NdArray> =>
    Object.fromEntries(
      names.map((name) => [name, emptyArray({ dtype: 'float32', shape: weights[name].shape })]),
    );
  const names = Object.keys(weights);
  const variances = zeros(names.filter((name) => !(name in matrices)));
  return { weights: { ...weights }, means: zeros(names), variances, step: 0 };
}

export interface StepResult {
  readonly loss: number;
  /** Norm of the gradients before clipping. */
  readonly gradientNorm: number;
  readonly metrics: Readonly<Record<string, number>>;
}

export interface Trainer {
  /** The state after the last step. The next but one overwrites its arrays; after the very last step they stay. */
  readonly state: TrainState;
  step(batch: Readonly<Record<string, NdArray>>, learningRate: number): Promise<StepResult>;
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

const KINDS = { weights: 'weight', means: 'mean', variances: 'variance' } as const;
type Kind = keyof typeof KINDS;

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
  const names = Object.keys(state.weights);
  const kinds = Object.keys(KINDS) as Kind[];
  const key = (kind: Kind, name: string): string => `${KINDS[kind]}:${name}`;
  const namesOf = (kind: Kind): string[] =>
    names.filter((name) => kind !== 'variances' || !(name in matrices));

  const inputs: Record<string, Spec> = {
    learningRate: SCALAR,
    meanCorrection: SCALAR,
    rootVarianceCorrection: SCALAR,
  };
  for (const [name, { dtype, shape }] of Object.entries(batch)) inputs[`batch:${name}`] = { dtype, shape };
  for (const kind of kinds)
    for (const name of namesOf(kind))
      inputs[key(kind, name)] = { dtype: 'float32', shape: state[kind][name].shape };

  const graph = trace(inputs, (symbolic) => {
    const pick = (prefix: string, of: readonly string[]): Record<string, Tensor> =>
      Object.fromEntries(of.map((name) => [name, symbolic[`${prefix}:${name}`]]));
    const weights = pick(KINDS.weights, names);
    const result = loss(weights, pick('batch', Object.keys(batch)));
    const grads = gradients(
      result.loss,
      names.map((name) => weights[name]),
    );
    const norm = gradientNorm(grads);
    const scalars = {
      learningRate: symbolic['learningRate'],
      meanCorrection: symbolic['meanCorrection'],
      rootVarianceCorrection: symbolic['rootVarianceCorrection'],
      coefficient: clipCoefficient(norm, options.maxGradientNorm),
    };
    const outputs: Record<string, Tensor> = {};
    names.forEach((name, i) => {
      if (name in matrices) {
        const before = { parameter: weights[name], momentum: symbolic[key('means', name)] };
        const { weightDecay } = options;
        const after = muon(before, grads[i], scalars, { widths: matrices[name], weightDecay });
        outputs[key('weights', name)] = after.parameter;
        outputs[key('means', name)] = after.momentum;
        return;
      }
      const before = {
        parameter: weights[name],
        mean: symbolic[key('means', name)],
        variance: symbolic[key('variances', name)],
      };
      const after = adamW(before, grads[i], scalars, options);
      outputs[key('weights', name)] = after.parameter;
      outputs[key('means', name)] = after.mean;
      outputs[key('variances', name)] = after.variance;
    });
    // ONNX Runtime works backwards from the last output: with these last, the forward pass is over, and what only it needs
    // is freed, before the backward pass begins.
    outputs['gradientNorm'] = norm.reshape([]);
    for (const [name, metric] of Object.entries(result.metrics ?? {}))
      outputs[`metric:${name}`] = metric.reshape([]);
    outputs['loss'] = result.loss.reshape([]);
    return outputs;
  });
  const executable = await runtime.compile(graph);

  // Two copies of the state: a step reads one and writes the other, then they change places.
  const copy = (from: TrainState): Record<string, NdArray> =>
    Object.fromEntries(
      kinds.flatMap((kind) => namesOf(kind).map((name) => [key(kind, name), copyArray(from[kind][name])])),
    );
  let current = copy(state);
  let next = Object.fromEntries(Object.entries(current).map(([name, array]) => [name, emptyArray(array)]));
  let steps = state.step;

  return {
    get state() {
      const view = (kind: Kind): Record<string, NdArray> =>
        Object.fromEntries(namesOf(kind).map((name) => [name, current[key(kind, name)]]));
      return { weights: view('weights'), means: view('means'), variances: view('variances'), step: steps };
    },
    async step(values, learningRate) {
      const t = steps + 1;
      const feeds: Record<string, NdArray> = {
        ...current,
        learningRate: scalar(learningRate).value,
        meanCorrection: scalar(1 - options.beta1 ** t).value,
        rootVarianceCorrection: scalar(Math.sqrt(1 - options.beta2 ** t)).value,
      };
      for (const name of Object.keys(batch)) feeds[`batch:${name}`] = values[name];
      const outputs = await executable.run(feeds, next);
      [current, next] = [next, current];
      steps = t;
      const metrics: Record<string, number> = {};
      for (const [name, { data }] of Object.entries(outputs)) {
        if (name.startsWith('metric:')) metrics[name.slice('metric:'.length)] = Number(data[0]);
      }
      return {
        loss: Number(outputs['loss'].data[0]),
        gradientNorm: Number(outputs['gradientNorm'].data[0]),
        metrics,
      };
    },
    release: () => executable.release(),
  };
}

const SCALAR: Spec = { dtype: 'float32', shape: [] };

function emptyArray({ dtype, shape }: Spec): NdArray {
  return { dtype, shape, data: allocate(dtype, sizeOf(shape)) };
}

function copyArray({ dtype, shape, data }: NdArray): NdArray {
  return { dtype, shape, data: data.slice() };
}
