/** @file What training carries from step to step: the weights, and what the optimiser keeps for each of them. */

import { type NdArray, type Spec, scalar, zerosOf } from '../tensor/index.ts';
import type { MuonMatrices } from './muon.ts';
import type { AdamWOptions } from './optimizer.ts';

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
    Object.fromEntries(names.map((name) => [name, zerosOf('float32', ...weights[name].shape)]));
  const names = Object.keys(weights);
  const variances = zeros(names.filter((name) => !(name in matrices)));
  return { weights: { ...weights }, means: zeros(names), variances, step: 0 };
}

const KINDS = { weights: 'weight', means: 'mean', variances: 'variance' } as const;
type Kind = keyof typeof KINDS;

/** The name of a part of the state among the inputs and outputs of a graph: `mean:embedding.weight`. */
export function stateKey(kind: Kind, name: string): string {
  return `${KINDS[kind]}:${name}`;
}

/** All parts of the state of weights, as their keys in a graph. */
function stateParts(
  names: readonly string[],
  matrices: MuonMatrices,
): { readonly key: string; readonly kind: Kind; readonly name: string }[] {
  return (Object.keys(KINDS) as Kind[]).flatMap((kind) =>
    names
      .filter((name) => kind !== 'variances' || !(name in matrices))
      .map((name) => ({ key: stateKey(kind, name), kind, name })),
  );
}

const SCALAR: Spec = { dtype: 'float32', shape: [] };

/** What an update reads: the state, the learning rate, and how far from settled the running means still are. */
export function updateInputs(
  weights: Readonly<Record<string, Spec>>,
  matrices: MuonMatrices,
): Record<string, Spec> {
  const parts = stateParts(Object.keys(weights), matrices).map(({ key, name }) => [
    key,
    { dtype: 'float32', shape: weights[name].shape } as const,
  ]);
  return {
    learningRate: SCALAR,
    meanCorrection: SCALAR,
    rootVarianceCorrection: SCALAR,
    ...Object.fromEntries(parts),
  };
}

/** A training state that the steps of a trainer read and write. */
export interface StateBuffers {
  readonly state: TrainState;
  /** What `updateInputs` names, for the next step. */
  feeds(learningRate: number, options: AdamWOptions): Record<string, NdArray>;
  /** Where the next step writes its outputs. */
  readonly next: Readonly<Record<string, NdArray>>;
  /** The step is taken: what was written to `next` is the state now. */
  advance(): void;
}

/** Two copies of a state: a step reads one and writes the other, then they change places. */
export function createStateBuffers(state: TrainState, matrices: MuonMatrices): StateBuffers {
  const parts = stateParts(Object.keys(state.weights), matrices);
  let current = Object.fromEntries(parts.map(({ key, kind, name }) => [key, copyArray(state[kind][name])]));
  let next = Object.fromEntries(
    Object.entries(current).map(([key, array]) => [key, zerosOf(array.dtype, ...array.shape)]),
  );
  let steps = state.step;
  return {
    get state() {
      const view = (wanted: Kind): Record<string, NdArray> =>
        Object.fromEntries(
          parts.filter(({ kind }) => kind === wanted).map(({ key, name }) => [name, current[key]]),
        );
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

export function copyArrays(arrays: Readonly<Record<string, NdArray>>): Record<string, NdArray> {
  return Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, copyArray(array)]));
}

function copyArray({ dtype, shape, data }: NdArray): NdArray {
  return { dtype, shape, data: data.slice() };
}
