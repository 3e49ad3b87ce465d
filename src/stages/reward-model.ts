/**
 * @file Lesson 4: the reward model. It learns from pairs which of two answers people prefer (Christiano et al. 2017;
 * Ouyang et al. 2022).
 *
 *     npm run train -- --skip-pretrain --skip-sft --skip-rlhf --skip-rlvf
 *
 * The body is the SFT model; in place of the vocabulary it has one number, read at the last token of the conversation,
 * when the whole answer has been seen. The loss is Bradley-Terry: `-log σ(r_chosen - r_rejected)`. So few pairs would
 * make the body forget what it knows of language and of the world, which is what tells a right answer from a wrong one:
 * beside it, the body rehearses the chosen answers as a language model (Yang et al. 2024, "Regularizing Hidden States
 * Enables Learning Generalizable Reward Model for LLMs").
 *
 * Legend: B rows, each of several pairs; T places a row, C channels.
 */

import type { ModelConfig } from '../config.ts';
import { countParts, planBatches, splitRows } from '../data/batches.ts';
import type { PreferencePair } from '../data/formats.ts';
import { rowBatch } from '../data/rows.ts';
import { createAccumulatingTrainer } from '../nn/gradient-accumulation.ts';
import { logSigmoid, maskedMean, tokenLogProbabilities } from '../nn/losses.ts';
import { learningRateAt } from '../nn/optimizer.ts';
import { bindParameters, initializeParameters } from '../nn/parameters.ts';
import { createTrainState, type LossAndMetrics, type LossFunction } from '../nn/train-step.ts';
import { rowContext } from '../row-context.ts';
import { createScorer, RewardModel, rewardParameters } from '../scorer.ts';
import {
  cast,
  createRandom,
  foldSeed,
  full,
  gatherElements,
  greater,
  type NdArray,
  neg,
  type Runtime,
  type Tensor,
} from '../tensor/index.ts';
import { type PairRow, packPairs, pairBatchSpec, pairLength, rowLengthFor } from './pair-rows.ts';
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
  /** Rows of a batch, B. */
  readonly batchSize: number;
  /** Rows that are computed at a time; a divisor of the batch, and all of it where not given. */
  readonly microBatchSize?: number;
  readonly learningRate: number;
  /** Weight of the language model's loss on the chosen answers; 0 does without. */
  readonly rehearsalCoefficient: number;
}

export interface RewardData extends PairData {
  /** Further pairs for one epoch, made anew from its number alone. */
  readonly generate?: (epoch: number) => readonly PreferencePair[];
}

/**
 * Bradley-Terry loss of margins, each a chosen reward minus a rejected one, and the share of them in the right order.
 *
 * @param isPair 1 where there is a margin, else 0, of the same shape; everywhere, where not given
 */
export function bradleyTerryLoss(
  margins: Tensor,
  isPair: Tensor = full(margins.shape, 1),
): { loss: Tensor; accuracy: Tensor; margin: Tensor } {
  return {
    loss: maskedMean(neg(logSigmoid(margins)), isPair),
    accuracy: maskedMean(cast(greater(margins, 0), 'float32'), isPair),
    margin: maskedMean(margins, isPair),
  };
}

/**
 * The loss of some rows of pairs: Bradley-Terry, and `rehearsalCoefficient` times the mean cross entropy of the chosen
 * answers, each of which counts the same, whatever its length.
 */
export function rewardLoss(config: ModelConfig, rehearsalCoefficient: number): LossFunction {
  return (weights, batch): LossAndMetrics => {
    const { ids, targets, share, chosenEnd, rejectedEnd } = batch;
    // A row may be wider than the context, though no conversation in it is; the rotary tables must be as wide as the row.
    const model = new RewardModel(bindParameters(weights), { ...config, contextLength: ids.shape[1] });
    const { hidden } = model.body.forward(ids, rowContext(batch));
    const rewards = model.read(hidden);
    const margins = rewards.sub(gatherElements(rewards, rejectedEnd, 1));
    const { loss, accuracy, margin } = bradleyTerryLoss(margins, chosenEnd);
    const weight = chosenEnd.sum();
    if (rehearsalCoefficient === 0) return { loss, weight, metrics: { accuracy, margin } };
    const logProbabilities = tokenLogProbabilities(model.body.logits(hidden), targets);
    const rehearsalLoss = neg(logProbabilities.mul(share).sum().div(weight));
    return {
      loss: loss.add(rehearsalLoss.mul(rehearsalCoefficient)),
      weight,
      metrics: { accuracy, margin, rehearsalLoss },
    };
  };
}

export async function trainRewardModel(
  context: StageContext,
  sftWeights: Readonly<Record<string, NdArray>>,
  data: RewardData,
  options: RewardOptions,
): Promise<StageResult> {
  const { runtime, config, seed, io } = context;
  const { batchSize: B } = options;
  const { pairs, heldOut } = fittingPairs(context, data);
  const T = rowLengthFor(pairs, config.contextLength);
  const readEpoch = (epoch: number): { rows: readonly PairRow[] } => {
    const { rendered } = renderPairs(context.tokenizer, data.generate?.(epoch) ?? [], config.contextLength);
    const generated = rendered.filter((pair) => pairLength(pair) <= T);
    const random = createRandom(foldSeed(foldSeed(seed, 'reward'), epoch));
    const rows = packPairs(random.shuffle([...pairs, ...generated]), T);
    return { rows: random.shuffle(rows) };
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
  const parts = countParts(B, options.microBatchSize, STAGE_NAMES.reward);
  const trainer = await createAccumulatingTrainer({
    runtime,
    loss: rewardLoss(config, options.rehearsalCoefficient),
    batch: pairBatchSpec(B / parts, T),
    parts,
    state,
  });

  for (let step = state.step; step < totalSteps; step++) {
    const { rows } = batches.at(step);
    const lr = learningRateAt(step, schedule);
    const result = await trainer.step(
      splitRows(rows, parts).map((some) => rowBatch(some)),
      lr,
    );
    checkStep('reward', step + 1, result);
    io.log({ step: step + 1, total: totalSteps, tokens: B * T, lr, ...result, figures: result.metrics });
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
  const scorer = await createScorer({ runtime, config, weights, length: longestOf(pairs) });
  const chosen = await scorer.score(pairs.map((pair) => pair.chosen));
  const rejected = await scorer.score(pairs.map((pair) => pair.rejected));
  await scorer.release();
  const margins = chosen.map((reward, i) => reward - rejected[i]);
  return {
    accuracy: margins.filter((margin) => margin > 0).length / margins.length,
    margin: margins.reduce((a, b) => a + b, 0) / margins.length,
  };
}

/** The weights that both have, from the first. */
function pickKnown(
  from: Readonly<Record<string, NdArray>>,
  known: Readonly<Record<string, unknown>>,
): Record<string, NdArray> {
  return Object.fromEntries(Object.entries(from).filter(([name]) => name in known));
}
