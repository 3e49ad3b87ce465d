/** @file What a policy says about responses that are finished: how likely each token was, and how many others there were. */

import type { ModelConfig } from '../config.ts';
import { GPT } from '../model.ts';
import { entropyOf, tokenLogProbabilities } from '../nn/losses.ts';
import { bindParameters } from '../nn/parameters.ts';
import { type NdArray, type Runtime, type Spec, trace } from '../tensor/index.ts';
import { actionsOf, type Episode, episodeBatch } from './sequences.ts';

/** Numbers for each token of one response. */
export interface Judgement {
  readonly logProbs: Float32Array;
  /** Entropy in nats of the distribution that each token was drawn from. */
  readonly entropies: Float32Array;
}

export interface Judge {
  /** Judge responses under weights. */
  judge(weights: Readonly<Record<string, NdArray>>, episodes: readonly Episode[]): Promise<Judgement[]>;
  release(): Promise<void>;
}

/**
 * One graph that serves policy and reference, with the weights as inputs. It is made of the very operations of the
 * training graph on the same shapes `[M, T]`, so that the ratios of the first mini-batch are 1 but for rounding: the
 * runtime fuses operations differently where there are gradients, which shows as a few millionths.
 */
export async function createJudge(options: {
  readonly runtime: Runtime;
  readonly config: ModelConfig;
  readonly weights: Readonly<Record<string, Spec>>;
  readonly batchSize: number;
  readonly length: number;
  readonly temperature: number;
}): Promise<Judge> {
  const { runtime, config, weights, batchSize: M, length: T, temperature } = options;
  const rows: Spec = { dtype: 'int32', shape: [M, T] };
  const executable = await runtime.compile(
    trace<string>({ ...weights, 'batch:ids': rows, 'batch:targets': rows }, (symbolic) => {
      const targets = symbolic['batch:targets'];
      const model = new GPT(bindParameters(symbolic), config);
      const { hidden } = model.forward(symbolic['batch:ids']);
      const logits = model.logits(hidden).mul(1 / temperature);
      return {
        logProbs: tokenLogProbabilities(logits, targets),
        entropies: entropyOf(logits, targets).reshape([M, T]),
      };
    }),
  );
  return {
    async judge(current, episodes) {
      const judgements: Judgement[] = [];
      for (let start = 0; start < episodes.length; start += M) {
        const part = episodes.slice(start, start + M);
        const { ids, targets } = episodeBatch(part, T, M);
        const { logProbs, entropies } = await executable.run({
          ...current,
          'batch:ids': ids,
          'batch:targets': targets,
        });
        part.forEach((episode, row) => {
          judgements.push({
            logProbs: actionsOf(logProbs, row, episode),
            entropies: actionsOf(entropies, row, episode),
          });
        });
      }
      return judgements;
    },
    release: () => executable.release(),
  };
}
