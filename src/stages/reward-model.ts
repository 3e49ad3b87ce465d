/**
 * @file Lesson 4: the reward model. It learns from pairs which of two answers people prefer (Christiano et al. 2017;
 * Ouyang et al. 2022).
 *
 *     npm run train -- --skip-pretrain --skip-sft --skip-rlhf --skip-rlvf
 *
 * The body is the SFT model; in place of the vocabulary it has one number, read at the last token of the conversation,
 * when the whole answer has been seen. The loss is Bradley-Terry: `-log σ(r_chosen - r_rejected)`.
 *
 * Legend: N pairs a batch, B = 2N sequences, T length, C channels.
 */

import type { ModelConfig } from '../config.ts';
import { countParts, planBatches, splitRows } from '../data/batches.ts';
import type { PreferencePair } from '../data/formats.ts';
import { GPT } from '../model.ts';
import { createAccumulatingTrainer } from '../nn/gradient-accumulation.ts';
import { Linear } from '../nn/layers.ts';
import { logSigmoid } from '../nn/losses.ts';
import { learningRateAt } from '../nn/optimizer.ts';
import { bindParameters, initializeParameters, listParameters, type Parameters } from '../nn/parameters.ts';
import { createTrainState, type LossFunction } from '../nn/train-step.ts';
import {
  cast,
  createRandom,
  foldSeed,
  gather,
  greater,
  type NdArray,
  neg,
  type Runtime,
  type Spec,
  split,
  type Tensor,
  trace,
} from '../tensor/index.ts';
import { fittingPairs, longestOf, type PairData, type RenderedPair, renderPairs } from './pairs.ts';
import {
  checkStep,
  loadTrainState,
  STAGE_NAMES,
  type StageContext,
  type StageResult,
  saveTrainState,
} from './stage.ts';

export interface RewardOptions {
  readonly epochs: number;
  /** Pairs a batch, N. */
  readonly batchSize: number;
  /** Pairs that are computed at a time; a divisor of the batch, and all of it where not given. */
  readonly microBatchSize?: number;
  readonly learningRate: number;
}

export interface RewardData extends PairData {
  /** Further pairs for one epoch, made anew from its number alone. */
  readonly generate?: (epoch: number) => readonly PreferencePair[];
}

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
    const { hidden } = this.body.forward(ids);
    return this.head.forward(hidden).reshape(ids.shape);
  }
}

/** All weights of a reward model. */
export function rewardParameters(config: ModelConfig) {
  return listParameters((parameters) => new RewardModel(parameters, config));
}

/** Bradley-Terry loss of rewards `[2N]`, the chosen answers first, and the share of pairs in the right order. */
export function bradleyTerryLoss(rewards: Tensor): { loss: Tensor; accuracy: Tensor; margin: Tensor } {
  const N = rewards.shape[0] / 2;
  const [chosen, rejected] = split(rewards, [N, N], 0);
  const margin = chosen.sub(rejected);
  return {
    loss: neg(logSigmoid(margin)).mean(),
    accuracy: cast(greater(margin, 0), 'float32').mean(),
    margin: margin.mean(),
  };
}

export function rewardLoss(config: ModelConfig): LossFunction {
  return (weights, { ids, last }) => {
    const { loss, accuracy, margin } = bradleyTerryLoss(
      new RewardModel(bindParameters(weights), config).forward(ids, last),
    );
    return { loss, metrics: { accuracy, margin } };
  };
}

export async function trainRewardModel(
  context: StageContext,
  sftWeights: Readonly<Record<string, NdArray>>,
  data: RewardData,
  options: RewardOptions,
): Promise<StageResult> {
  const { runtime, config, seed, io } = context;
  const N = options.batchSize;
  const { pairs, heldOut } = fittingPairs(context, data);
  const T = longestOf([...pairs, ...heldOut]);
  const readEpoch = (epoch: number): { rows: readonly RenderedPair[] } => {
    const generated = renderPairs(context.tokenizer, data.generate?.(epoch) ?? [], T).rendered;
    const random = createRandom(foldSeed(foldSeed(seed, 'reward'), epoch));
    return { rows: random.shuffle([...pairs, ...generated]) };
  };
  const batches = planBatches(readEpoch, options);
  const { totalSteps } = batches;
  const schedule = {
    peak: options.learningRate,
    warmupSteps: Math.ceil(totalSteps * 0.1),
    totalSteps,
    finalFraction: 0,
  };

  const fresh = initializeParameters(rewardParameters(config), foldSeed(seed, 'reward'));
  const state = io.resumed
    ? loadTrainState(io.resumed)
    : createTrainState({ ...fresh, ...pickKnown(sftWeights, fresh) });
  const before = io.resumed
    ? (io.resumed.state['before'] as RewardEvaluation | undefined)
    : await evaluateRewardModel({ runtime, config, weights: state.weights, pairs: heldOut });
  const parts = countParts(N, options.microBatchSize, STAGE_NAMES.reward);
  const batch = rewardBatchSpec(N / parts, T);
  const trainer = await createAccumulatingTrainer({ runtime, loss: rewardLoss(config), batch, parts, state });

  for (let step = state.step; step < totalSteps; step++) {
    const { rows } = batches.at(step);
    const lr = learningRateAt(step, schedule);
    const result = await trainer.step(
      splitRows(rows, parts).map((some) =>
        rewardBatch([...some.map((pair) => pair.chosen), ...some.map((pair) => pair.rejected)], T),
      ),
      lr,
    );
    checkStep('reward', step + 1, result);
    io.log({ step: step + 1, total: totalSteps, tokens: 2 * N * T, lr, ...result, figures: result.metrics });
    io.offer(() => saveTrainState(trainer.state, { before }));
  }

  const { weights } = trainer.state;
  await trainer.release();
  const after = await evaluateRewardModel({ runtime, config, weights, pairs: heldOut });
  if (!after) return { weights, evaluations: [] };
  return {
    weights,
    evaluations: [
      {
        name: { zh: '留出偏好对 判断正确率', en: 'held-out pair accuracy' },
        before: before?.accuracy,
        after: after.accuracy,
        unit: 'share',
      },
      {
        name: { zh: '留出偏好对 奖励差', en: 'held-out reward margin' },
        before: before?.margin,
        after: after.margin,
        unit: 'number',
      },
    ],
  };
}

export interface RewardEvaluation {
  /** Share of pairs whose chosen answer gets the higher reward. */
  readonly accuracy: number;
  /** Mean of chosen minus rejected. */
  readonly margin: number;
}

/** Accuracy and margin over pairs; undefined where there are none. */
export async function evaluateRewardModel(options: {
  readonly runtime: Runtime;
  readonly config: ModelConfig;
  readonly weights: Readonly<Record<string, NdArray>>;
  readonly pairs: readonly RenderedPair[];
}): Promise<RewardEvaluation | undefined> {
  const { runtime, config, weights, pairs } = options;
  if (pairs.length === 0) return undefined;
  const scorer = await createScorer({ runtime, config, weights, batchSize: 16, length: longestOf(pairs) });
  const chosen = await scorer.score(pairs.map((pair) => pair.chosen));
  const rejected = await scorer.score(pairs.map((pair) => pair.rejected));
  await scorer.release();
  const margins = chosen.map((reward, i) => reward - rejected[i]);
  return {
    accuracy: margins.filter((margin) => margin > 0).length / margins.length,
    margin: margins.reduce((a, b) => a + b, 0) / margins.length,
  };
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

/** The shapes of a batch of N pairs of at most T tokens. */
export function rewardBatchSpec(N: number, T: number): Record<'ids' | 'last', Spec> {
  return { ids: { dtype: 'int32', shape: [2 * N, T] }, last: { dtype: 'int32', shape: [2 * N] } };
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

/** The weights that both have, from the first. */
function pickKnown(
  from: Readonly<Record<string, NdArray>>,
  known: Readonly<Record<string, unknown>>,
): Record<string, NdArray> {
  return Object.fromEntries(Object.entries(from).filter(([name]) => name in known));
}
