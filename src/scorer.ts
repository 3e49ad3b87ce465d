/**
 * @file What a reward model is, and how it scores texts that are finished; it is trained in `stages/reward-model.ts`.
 *
 * Legend: B rows, which several texts may share, T places a row, C channels.
 */

import type { ModelConfig } from './config.ts';
import { computeSpans, emptyLayout, packTexts, ROWS_AT_A_TIME, rowBatch } from './data/rows.ts';
import { type Context, GPT } from './model.ts';
import { Linear } from './nn/layers.ts';
import { bindParameters, listParameters, type Parameters } from './nn/parameters.ts';
import { rowContext } from './row-context.ts';
import { type NdArray, type Runtime, type Tensor, trace } from './tensor/index.ts';

/** A GPT whose output is one number a token. */
export class RewardModel {
  readonly body: GPT;
  readonly head: Linear;

  constructor(parameters: Parameters, config: ModelConfig) {
    this.body = new GPT(parameters, config);
    // The head starts as N(0, 1/(C+1)), so that first rewards are of order one (Stiennon et al. 2020).
    const std = 1 / Math.sqrt(config.hiddenSize + 1);
    this.head = new Linear(parameters.at('reward_head'), config.hiddenSize, 1, { init: { std }, bias: true });
  }

  /** What token ids `[B, T]` are worth up to each of them, `[B, T]`: a text's reward is read at its last token. */
  forward(ids: Tensor, context?: Partial<Context>): Tensor {
    return this.read(this.body.forward(ids, context).hidden);
  }

  /** The same from the body's hidden states `[B, T, C]`. */
  read(hidden: Tensor): Tensor {
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
  readonly length: number;
}): Promise<Scorer> {
  const { runtime, config, weights, length: T } = options;
  const model = new RewardModel(bindParameters(weights), config);
  const executable = await runtime.compile(
    trace(rowBatch([emptyLayout(T)], ROWS_AT_A_TIME), (rows) => ({
      rewards: model.forward(rows.ids, rowContext(rows)),
    })),
  );
  return {
    async score(sequences) {
      const { rows, spans } = packTexts(
        sequences.map((sequence) => Int32Array.from(sequence)),
        T,
      );
      const lastTokens = spans.map(({ row, end }) => ({ row, start: end - 1, end }));
      const read = await computeSpans(rows, lastTokens, (batch) => executable.run(batch));
      return read.map(({ rewards }) => rewards[0]);
    },
    release: () => executable.release(),
  };
}
