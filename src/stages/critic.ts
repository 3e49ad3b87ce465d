/**
 * @file The critic of PPO: it foretells, at each token of a response, what the whole of it will earn. So a token gets credit
 * for what it changed, and not for what was decided before it.
 *
 * It is a model of its own and starts as the reward model (Ouyang et al. 2022), which tells good responses from bad ones
 * already, but only at their end: reading them half finished is what the critic learns.
 *
 * Legend: M rows a mini-batch, T places a row.
 */

import type { ModelConfig } from '../config.ts';
import { ROWS_AT_A_TIME } from '../data/rows.ts';
import { prefixed, unprefixed } from '../nn/names.ts';
import { bindParameters } from '../nn/parameters.ts';
import { createTrainer, type LossFunction, type StepResult, type TrainState } from '../nn/train-step.ts';
import { rowContext } from '../row-context.ts';
import { RewardModel } from '../scorer.ts';
import { type NdArray, type Runtime, type Tensor, trace } from '../tensor/index.ts';
import {
  type EpisodeRow,
  type EpisodeRows,
  episodeBatchSpec,
  packEpisodes,
  readActions,
  spreadActions,
} from './episode-rows.ts';
import { clippedValueLoss } from './ppo.ts';
import type { Attempt } from './practice.ts';

/** A reward model whose rewards are counted as PPO counts them: from the mean, in deviations. */
export function criticWeights(
  rewardWeights: Readonly<Record<string, NdArray>>,
  { mean, deviation }: { readonly mean: number; readonly deviation: number },
): Record<string, NdArray> {
  const scaled = (name: string, scale: (x: number) => number): NdArray => {
    const { shape, data } = rewardWeights[name];
    return { dtype: 'float32', shape, data: Float32Array.from(data as Float32Array, scale) };
  };
  return {
    ...rewardWeights,
    'reward_head.weight': scaled('reward_head.weight', (x) => x / deviation),
    'reward_head.bias': scaled('reward_head.bias', (x) => (x - mean) / deviation),
  };
}

/** The values `[B, T]` at the places of some rows. */
function valuesOf(
  weights: Readonly<Record<string, Tensor>>,
  config: ModelConfig,
  rows: Readonly<Record<string, Tensor>>,
): Tensor {
  const model = new RewardModel(bindParameters(weights), config);
  return model.forward(rows['ids'], rowContext(rows));
}

/** The value loss of a mini-batch; all inputs `[M, T]`. */
export function criticLoss(config: ModelConfig): LossFunction {
  return (weights, batch) => {
    const { mask, oldValues, returns } = batch;
    return { loss: clippedValueLoss({ values: valuesOf(weights, config, batch), oldValues, returns, mask }) };
  };
}

/** A critic in training. */
export interface CriticInTraining {
  readonly state: TrainState;
  /** The values before each token of each response. */
  values(episodes: EpisodeRows): Promise<Float32Array[]>;
  /**
   * A step on a mini-batch, towards the `returns` of each response's tokens and no further from `oldValues`, the values
   * when the responses were sampled, than `valueClip`.
   */
  step(batch: Readonly<Record<CriticInput, NdArray>>, learningRate: number): Promise<StepResult>;
  release(): Promise<void>;
}

/** What its loss reads besides the rows. */
const NUMBERS = ['oldValues', 'returns'] as const;
type CriticInput = keyof EpisodeRow | (typeof NUMBERS)[number];

/**
 * Rows on which the critic practises before the policy learns: each token is worth what its response earned in the end.
 *
 * @param normalize a reward as the critic counts it
 */
export function practiceRows(
  attempts: readonly Attempt[],
  T: number,
  normalize: (reward: number) => number,
): (EpisodeRow & Record<(typeof NUMBERS)[number], Float32Array>)[] {
  const earned = attempts.map(({ episode, reward }) =>
    Array<number>(episode.response.tokens.length).fill(normalize(reward)),
  );
  const packed = packEpisodes(
    attempts.map(({ episode }) => episode),
    T,
  );
  return spreadActions(packed, { oldValues: earned, returns: earned });
}

/** @param options.batchSize rows of a mini-batch, M */
export async function createCritic(options: {
  readonly runtime: Runtime;
  readonly config: ModelConfig;
  readonly state: TrainState;
  readonly batchSize: number;
  readonly length: number;
}): Promise<CriticInTraining> {
  const { runtime, config, state, batchSize: M, length: T } = options;
  const reader = await runtime.compile(
    trace<string>(
      { ...state.weights, ...prefixed('batch', episodeBatchSpec(ROWS_AT_A_TIME, T)) },
      (symbolic) => ({
        values: valuesOf(symbolic, config, unprefixed('batch', symbolic)),
      }),
    ),
  );
  const batch = episodeBatchSpec(M, T, NUMBERS);
  const trainer = await createTrainer({ runtime, loss: criticLoss(config), batch, state });
  return {
    get state() {
      return trainer.state;
    },
    async values(episodes) {
      const read = await readActions<'values'>(reader, trainer.state.weights, episodes);
      return read.map(({ values }) => values);
    },
    step: (batch, learningRate) => trainer.step(batch, learningRate),
    async release() {
      await trainer.release();
      await reader.release();
    },
  };
}
