/**
 * @file What a reward model is, and how it scores texts that are finished; it is trained in `stages/reward-model.ts`.
 *
 * Legend: B sequences, T length, C channels.
 */

import type { ModelConfig } from './config.ts';
import { GPT } from './model.ts';
import { Linear } from './nn/layers.ts';
import { bindParameters, listParameters, type Parameters } from './nn/parameters.ts';
import { gather, type NdArray, type Runtime, type Tensor, trace } from './tensor/index.ts';

/** A GPT whose output is one number a sequence. */
export class RewardModel {
  readonly body: GPT;
  readonly head: Linear;

  constructor(parameters: Parameters, config: ModelConfig) {
    this.body = new GPT(parameters, config);
    // The head starts as N(0, 1/(C+1)), so that first rewards are of order one (Stiennon et al. 2020).
    const std = 1 / Math.sqrt(config.hiddenSize + 1);
    this.head = new Linear(parameters.at('reward_head'), config.hiddenSize, 1, { init: { std }, bias: true });
  }

  /** Rewards `[B]` of token ids `[B, T]`, read at flat positions `last [B]` (row · T + index of the last real token). */
  forward(ids: Tensor, last: Tensor): Tensor {
    const [B, T] = ids.shape;
    const { hidden } = this.body.forward(ids);
    return this.head.forward(gather(hidden.reshape([B * T, hidden.shape[2]]), last)).reshape([B]);
  }

  /** The same number read at every token, `[B, T]`: what a critic is made of. */
  forwardEverywhere(ids: Tensor): Tensor {
    return this.readEverywhere(this.body.forward(ids).hidden);
  }

  /** The same from the body's hidden states `[B, T, C]`. */
  readEverywhere(hidden: Tensor): Tensor {
    const [B, T] = hidden.shape;
    return this.head.forward(hidden).reshape([B, T]);
  }
}

/** All weights of a reward model. */
export function rewardParameters(config: ModelConfig) {
  return listParameters((parameters) => new RewardModel(parameters, config));
}

/** Rewards of finished sequences. */
export interface Scorer {
  score(sequences: readonly ArrayLike<number>[]): Promise<number[]>;
  release(): Promise<void>;
}

/** A reward model with its weights baked in; sequences may be up to `length` tokens long. */
export async function createScorer(options: {
  readonly runtime: Runtime;
  readonly config: ModelConfig;
  readonly weights: Readonly<Record<string, NdArray>>;
  readonly batchSize: number;
  readonly length: number;
}): Promise<Scorer> {
  const { runtime, config, weights, batchSize: B, length: T } = options;
  const model = new RewardModel(bindParameters(weights), config);
  const executable = await runtime.compile(
    trace(
      { ids: { dtype: 'int32', shape: [B, T] }, last: { dtype: 'int32', shape: [B] } },
      ({ ids, last }) => ({
        rewards: model.forward(ids, last),
      }),
    ),
  );
  return {
    async score(sequences) {
      const rewards: number[] = [];
      for (let start = 0; start < sequences.length; start += B) {
        const part = sequences.slice(start, start + B);
        const full = Array.from({ length: B }, (_, i) => part[i] ?? part[0]);
        const { rewards: scores } = await executable.run(rewardBatch(full, T));
        rewards.push(...Array.from(scores.data.subarray(0, part.length) as Float32Array));
      }
      return rewards;
    },
    release: () => executable.release(),
  };
}

/** Sequences as a right-padded batch with the flat position of each last token. */
function rewardBatch(sequences: readonly ArrayLike<number>[], T: number): Record<'ids' | 'last', NdArray> {
  const ids = new Int32Array(sequences.length * T);
  const last = Int32Array.from(sequences, ({ length }, row) => row * T + length - 1);
  sequences.forEach((sequence, row) => {
    ids.set(sequence, row * T);
  });
  return {
    ids: { dtype: 'int32', shape: [sequences.length, T], data: ids },
    last: { dtype: 'int32', shape: [sequences.length], data: last },
  };
}
