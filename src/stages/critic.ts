/**
 * @file The critic of PPO: it foretells, at each token of a response, what the whole of it will earn. So a token gets credit
 * for what it changed, and not for what was decided before it.
 *
 * It is a model of its own and starts as the reward model (Ouyang et al. 2022), which tells good responses from bad ones
 * already, but only at their end: reading them half finished is what the critic learns.
 *
 * Legend: B sequences, M episodes a mini-batch, T length.
 */

import type { ModelConfig } from '../config.ts';
import { bindParameters } from '../nn/parameters.ts';
import { createTrainer, type LossFunction, type StepResult, type TrainState } from '../nn/train-step.ts';
import { RewardModel } from '../scorer.ts';
import { type NdArray, type Runtime, type Spec, trace } from '../tensor/index.ts';
import { clippedValueLoss } from './ppo.ts';
import { actionsOf, type Episode, episodeBatch, spreadActions } from './sequences.ts';

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

/** The value loss of a mini-batch; all inputs `[B, T]`. */
export function criticLoss(config: ModelConfig): LossFunction {
  return (weights, { ids, mask, oldValues, returns }) => {
    const values = new RewardModel(bindParameters(weights), config).forwardEverywhere(ids);
    return { loss: clippedValueLoss({ values, oldValues, returns, mask }) };
  };
}

/** A critic in training. */
export interface CriticInTraining {
  readonly state: TrainState;
  /** The values before each token of each response. */
  values(episodes: readonly Episode[]): Promise<Float32Array[]>;
  /**
   * A step on a mini-batch, towards the returns of each response's tokens.
   * @param oldValues the values when the responses were sampled: a step goes no further from them than `valueClip`
   */
  step(
    episodes: readonly Episode[],
    oldValues: readonly ArrayLike<number>[],
    returns: readonly ArrayLike<number>[],
    learningRate: number,
  ): Promise<StepResult>;
  release(): Promise<void>;
}

/** @param options.batchSize episodes of a mini-batch, M */
export async function createCritic(options: {
  readonly runtime: Runtime;
  readonly config: ModelConfig;
  readonly state: TrainState;
  readonly batchSize: number;
  readonly length: number;
}): Promise<CriticInTraining> {
  const { runtime, config, state, batchSize: M, length: T } = options;
  const ids: Spec = { dtype: 'int32', shape: [M, T] };
  const numbers: Spec = { dtype: 'float32', shape: [M, T] };
  const reader = await runtime.compile(
    trace<string>({ ...state.weights, 'batch:ids': ids }, (symbolic) => ({
      values: new RewardModel(bindParameters(symbolic), config).forwardEverywhere(symbolic['batch:ids']),
    })),
  );
  const batch = { ids, mask: numbers, oldValues: numbers, returns: numbers };
  const trainer = await createTrainer({ runtime, loss: criticLoss(config), batch, state });
  return {
    get state() {
      return trainer.state;
    },
    async values(episodes) {
      const all: Float32Array[] = [];
      for (let start = 0; start < episodes.length; start += M) {
        const part = episodes.slice(start, start + M);
        const { ids } = episodeBatch(part, T, M);
        const { values } = await reader.run({ ...trainer.state.weights, 'batch:ids': ids });
        part.forEach((episode, row) => {
          all.push(actionsOf(values, row, episode));
        });
      }
      return all;
    },
    step(episodes, oldValues, returns, learningRate) {
      const { ids, mask } = episodeBatch(episodes, T);
      const spread = (numbers: readonly ArrayLike<number>[]): NdArray => spreadActions(episodes, numbers, T);
      return trainer.step(
        { ids, mask, oldValues: spread(oldValues), returns: spread(returns) },
        learningRate,
      );
    },
    async release() {
      await trainer.release();
      await reader.release();
    },
  };
}
