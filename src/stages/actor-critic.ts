/** @file The policy with its critic, and what a frozen copy of it says about finished responses. */

import type { ModelConfig } from '../config.ts';
import { GPT } from '../model.ts';
import { Linear } from '../nn/layers.ts';
import { entropyOf, tokenLogProbabilities } from '../nn/losses.ts';
import { bindParameters, listParameters, type Parameters } from '../nn/parameters.ts';
import { type NdArray, type Runtime, type Spec, sizeOf, type Tensor, trace } from '../tensor/index.ts';
import { actionsOf, type Episode, episodeBatch } from './sequences.ts';

/** A GPT with a second head on the same body: one value a position, the reward still to be expected from there. */
export class ActorCritic {
  readonly body: GPT;
  readonly valueHead: Linear;

  constructor(parameters: Parameters, config: ModelConfig) {
    this.body = new GPT(parameters, config);
    // Zero, so that training does not begin with random values.
    this.valueHead = new Linear(parameters.at('value_head'), config.hiddenSize, 1, {
      init: { constant: 0 },
      bias: true,
    });
  }

  /** Logits `[B*T, V]`, divided by the temperature, and values `[B, T]`. */
  forward(ids: Tensor, temperature: number): { logits: Tensor; values: Tensor } {
    const { hidden } = this.body.forward(ids);
    return {
      logits: this.body.logits(hidden).mul(1 / temperature),
      values: this.valueHead.forward(hidden).reshape(ids.shape),
    };
  }
}

/** Weights of an actor-critic that starts from a language model. */
export function withValueHead(
  weights: Readonly<Record<string, NdArray>>,
  config: ModelConfig,
): Record<string, NdArray> {
  const specs = listParameters((parameters) => new ActorCritic(parameters, config));
  const isNew = (name: string): boolean => !(name in weights);
  const zeros = Object.entries(specs)
    .filter(([name]) => isNew(name))
    .map(([name, { shape }]) => [
      name,
      { dtype: 'float32', shape, data: new Float32Array(sizeOf(shape)) } as NdArray,
    ]);
  return { ...weights, ...Object.fromEntries(zeros) };
}

/** The language model inside an actor-critic. */
export function withoutValueHead(weights: Readonly<Record<string, NdArray>>): Record<string, NdArray> {
  return Object.fromEntries(Object.entries(weights).filter(([name]) => !name.startsWith('value_head.')));
}

/** Numbers for each token of one response. */
export interface Judgement {
  readonly logProbs: Float32Array;
  readonly values: Float32Array;
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
      const model = new ActorCritic(bindParameters(symbolic), config);
      const { logits, values } = model.forward(symbolic['batch:ids'], temperature);
      return {
        logProbs: tokenLogProbabilities(logits, targets),
        values,
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
        const { logProbs, values, entropies } = await executable.run({
          ...current,
          'batch:ids': ids,
          'batch:targets': targets,
        });
        part.forEach((episode, row) => {
          judgements.push({
            logProbs: actionsOf(logProbs, row, episode),
            values: actionsOf(values, row, episode),
            entropies: actionsOf(entropies, row, episode),
          });
        });
      }
      return judgements;
    },
    release: () => executable.release(),
  };
}
