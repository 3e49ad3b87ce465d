/**
 * @file Lesson 5, continued: DPO, direct preference optimisation (Rafailov et al. 2023). The pairs that train a reward
 * model train the policy itself: no reward model, no sampling, no critic.
 *
 *     npm run train -- --skip-pretrain --skip-sft --skip-reward --skip-rlvf --rlhf-algorithm dpo
 *
 * The policy that gains the most reward while it pays β for every nat of KL to the reference is known in closed form:
 * `π(y|x) ∝ π_ref(y|x) exp(r(x, y) / β)`. Solved for the reward, `r(x, y) = β log(π(y|x) / π_ref(y|x)) + c(x)`: every policy
 * is the best one under some reward, its implicit reward. Put into the loss of the reward model (Bradley-Terry), where
 * only differences count and `c(x)` cancels, that is a loss for the policy.
 *
 * Legend: N pairs a batch, the N chosen answers first, then the N rejected ones; T length.
 */

import type { ModelConfig } from '../config.ts';
import { planBatches } from '../data/batches.ts';
import { rowBatch } from '../data/rows.ts';
import { tokenLogProbabilities } from '../nn/losses.ts';
import { learningRateAt } from '../nn/optimizer.ts';
import { createTrainer, createTrainState, type LossFunction } from '../nn/train-step.ts';
import { createRandom, foldSeed, type NdArray, split, type Tensor } from '../tensor/index.ts';
import { type Episode, episodeBatchSpec, packEpisodes } from './episode-rows.ts';
import { fittingPairs, longestOf, type PairData, type RenderedPair } from './pairs.ts';
import { createJudge, policyLogits } from './policy-judge.ts';
import { mean, REINFORCEMENT_ADAMW } from './practice.ts';
import { bradleyTerryLoss } from './reward-model.ts';
import { checkStep, loadTrainState, type StageContext, type StageResult, saveTrainState } from './stage.ts';

export interface DpoOptions {
  /** Passes over the pairs. */
  readonly epochs: number;
  /** Pairs a batch, N. */
  readonly batchSize: number;
  readonly learningRate: number;
  /** What a nat of distance from the reference costs: the smaller, the further the policy may go. */
  readonly beta: number;
}

/** Nothing is sampled: the answers are judged by the model as it is. */
const TEMPERATURE = 1;

/**
 * Loss of a batch, from log-probabilities of whole answers `[2N]` under the policy and under the reference:
 * `-log σ(β (log π/π_ref)(chosen) - β (log π/π_ref)(rejected))`.
 */
export function dpoObjective(logProbs: Tensor, referenceLogProbs: Tensor, beta: number) {
  const implicitRewards = logProbs.sub(referenceLogProbs).mul(beta);
  const [chosen, rejected] = halves(implicitRewards);
  const { loss, accuracy, margin } = bradleyTerryLoss(chosen.sub(rejected));
  const metrics = { accuracy, margin, chosenReward: chosen.mean(), rejectedReward: rejected.mean() };
  return { loss, metrics };
}

/** The DPO loss of a batch; ids, targets and the mask of the answers' tokens `[2N, T]`, `referenceLogProbs [2N]`. */
export function dpoLoss(config: ModelConfig, beta: number): LossFunction {
  return (weights, batch) => {
    const { targets, mask, referenceLogProbs } = batch;
    const perToken = tokenLogProbabilities(policyLogits(weights, config, batch, TEMPERATURE), targets);
    const logProbs = perToken.mul(mask).sum(-1); // [2N]
    const { loss, metrics } = dpoObjective(logProbs, referenceLogProbs, beta);
    // DPO only widens the gap; where both sides sink, the policy unlearns good answers too. Worth watching.
    return { loss, metrics: { ...metrics, chosenLogProb: halves(logProbs)[0].mean() } };
  };
}

export async function trainDpo(
  context: StageContext,
  sftWeights: Readonly<Record<string, NdArray>>,
  data: PairData,
  options: DpoOptions,
): Promise<StageResult> {
  const { runtime, config, seed, io } = context;
  const { batchSize: N, beta } = options;
  const { pairs, heldOut } = fittingPairs(context, data);
  const T = longestOf([...pairs, ...heldOut]);

  // What the reference thinks of every answer never changes: computed once, and it can be forgotten.
  const judge = await createJudge({
    runtime,
    config,
    weights: sftWeights,
    length: T,
    temperature: TEMPERATURE,
  });
  const logProbsOf = async (
    weights: Readonly<Record<string, NdArray>>,
    episodes: readonly Episode[],
  ): Promise<number[]> => {
    const judgements = await judge.judge(weights, packEpisodes(episodes, T));
    return judgements.map(({ logProbs }) => logProbs.reduce((total, x) => total + x, 0));
  };
  const chosen = pairs.map((pair) => episodeOf(pair, pair.chosen));
  const rejected = pairs.map((pair) => episodeOf(pair, pair.rejected));
  const chosenReference = await logProbsOf(sftWeights, chosen);
  const rejectedReference = await logProbsOf(sftWeights, rejected);

  const batches = planBatches((epoch) => {
    const random = createRandom(foldSeed(foldSeed(seed, 'dpo'), epoch));
    return { rows: random.shuffle(pairs.map((_, i) => i)) };
  }, options);
  const { totalSteps } = batches;
  const schedule = {
    peak: options.learningRate,
    warmupSteps: Math.ceil(totalSteps * 0.1),
    totalSteps,
    finalFraction: 0,
  };
  const state = io.resumed ? loadTrainState(io.resumed) : createTrainState(sftWeights);
  const trainer = await createTrainer({
    runtime,
    loss: dpoLoss(config, beta),
    batch: {
      ...episodeBatchSpec(2 * N, T),
      referenceLogProbs: { dtype: 'float32', shape: [2 * N] },
    },
    state,
    optimizer: REINFORCEMENT_ADAMW,
  });

  for (let step = state.step; step < totalSteps; step++) {
    const { epoch, rows } = batches.at(step);
    const both = <X>(better: readonly X[], worse: readonly X[]): X[] =>
      [better, worse].flatMap((side) => rows.map((row) => side[row]));
    const ofReference = Float32Array.from(both(chosenReference, rejectedReference));
    const referenceLogProbs: NdArray = { dtype: 'float32', shape: [2 * N], data: ofReference };
    const lr = learningRateAt(step, schedule);
    // An answer a row.
    const answers = both(chosen, rejected).flatMap((episode) => packEpisodes([episode], T).rows);
    const result = await trainer.step({ ...rowBatch(answers), referenceLogProbs }, lr);
    checkStep('rlhf', step + 1, result);
    const figures = { epoch: epoch + 1, ...result.metrics };
    io.log({ step: step + 1, total: totalSteps, tokens: 2 * N * T, lr, ...result, figures });
    io.offer(() => saveTrainState(trainer.state));
  }

  const { weights } = trainer.state;
  await trainer.release();

  /** The implicit reward of answers: how much likelier they have become. */
  const rewardsOf = async (answers: readonly Episode[]): Promise<number[]> => {
    const [after, before] = [await logProbsOf(weights, answers), await logProbsOf(sftWeights, answers)];
    return after.map((logProb, i) => beta * (logProb - before[i]));
  };
  const better = await rewardsOf(heldOut.map((pair) => episodeOf(pair, pair.chosen)));
  const worse = await rewardsOf(heldOut.map((pair) => episodeOf(pair, pair.rejected)));
  await judge.release();
  if (heldOut.length === 0) return { weights, evaluations: [] };
  const margins = better.map((reward, i) => reward - worse[i]);
  return {
    weights,
    evaluations: [
      {
        // Before, all rewards are zero, and no pair is in any order.
        name: { zh: '留出偏好对 隐式奖励正确率', en: 'held-out accuracy of the implicit reward' },
        after: mean(margins.map((margin) => Number(margin > 0))),
        unit: 'share',
      },
      {
        name: { zh: '留出偏好对 隐式奖励差', en: 'held-out margin of the implicit reward' },
        before: 0,
        after: mean(margins),
        unit: 'number',
      },
    ],
  };
}

/** The answer of one side, as if the model had given it. */
function episodeOf({ promptLength }: RenderedPair, conversation: Int32Array): Episode {
  const tokens = Array.from(conversation.subarray(promptLength));
  return { prompt: conversation.subarray(0, promptLength), response: { tokens, ended: true } };
}

function halves(values: Tensor): readonly Tensor[] {
  const N = values.shape[0] / 2;
  return split(values, [N, N], 0);
}
