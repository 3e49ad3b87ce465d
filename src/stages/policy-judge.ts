/** @file What a policy says about responses that are finished: how likely each token was, and how many others there were. */

import type { ModelConfig } from '../config.ts';
import { ROWS_AT_A_TIME } from '../data/rows.ts';
import { GPT } from '../model.ts';
import { entropyOf, tokenLogProbabilities } from '../nn/losses.ts';
import { prefixed, unprefixed } from '../nn/names.ts';
import { bindParameters } from '../nn/parameters.ts';
import { rowContext } from '../row-context.ts';
import { type NdArray, type Runtime, type Spec, type Tensor, trace } from '../tensor/index.ts';
import { type EpisodeRows, episodeBatchSpec, readActions } from './episode-rows.ts';

/** Scores `[B * T, V]` of every next token in some rows, as they are sampled from: divided by the temperature. */
export function policyLogits(
  weights: Readonly<Record<string, Tensor>>,
  config: ModelConfig,
  rows: Readonly<Record<string, Tensor>>,
  temperature: number,
): Tensor {
  const model = new GPT(bindParameters(weights), config);
  const { hidden } = model.forward(rows['ids'], rowContext(rows));
  return model.logits(hidden).mul(1 / temperature);
}

/** Numbers for each token of one response. */
export interface Judgement {
  readonly logProbs: Float32Array;
  /** Entropy in nats of the distribution that each token was drawn from. */
  readonly entropies: Float32Array;
}

export interface Judge {
  /** Judge responses under weights. */
  judge(weights: Readonly<Record<string, NdArray>>, episodes: EpisodeRows): Promise<Judgement[]>;
  release(): Promise<void>;
}

/**
 * One graph that serves policy and reference, with the weights as inputs. It is made of the very operations of the
 * training graph, so that the ratios of the first mini-batch are 1 but for rounding: the runtime fuses operations
 * differently where there are gradients, which shows as a few millionths.
 */
export async function createJudge(options: {
  readonly runtime: Runtime;
  readonly config: ModelConfig;
  readonly weights: Readonly<Record<string, Spec>>;
  readonly length: number;
  readonly temperature: number;
}): Promise<Judge> {
  const { runtime, config, weights, length: T, temperature } = options;
  const executable = await runtime.compile(
    trace<string>({ ...weights, ...prefixed('batch', episodeBatchSpec(ROWS_AT_A_TIME, T)) }, (symbolic) => {
      const batch = unprefixed('batch', symbolic);
      const { targets } = batch;
      const logits = policyLogits(symbolic, config, batch, temperature);
      return {
        logProbs: tokenLogProbabilities(logits, targets),
        entropies: entropyOf(logits, targets).reshape(targets.shape),
      };
    }),
  );
  return {
    judge: (current, episodes) => readActions<keyof Judgement>(executable, current, episodes),
    release: () => executable.release(),
  };
}
