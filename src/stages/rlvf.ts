/**
 * @file Lesson 6: RLVF, reinforcement learning from verifiable feedback. No reward model: a program checks the answer
 * (Lambert et al. 2024; Shao et al. 2024).
 *
 *     npm run train -- --skip-pretrain --skip-sft --skip-reward --skip-rlhf
 *
 * Each question is answered several times. An answer is as good as it is better than its group's average, so the group
 * is the baseline and no critic is needed: REINFORCE with `A = r - mean(group)`. Groups that agree teach nothing, so more
 * questions are asked than are learned from (Yu et al. 2025, "DAPO": dynamic sampling). A small KL term to the model at
 * the start keeps the language in shape, and exercises that are rehearsed beside the answers keep the craft, of which a
 * verifier sees the outcome only (`rehearsal.ts`).
 *
 * Legend: Q questions that an iteration learns from, K answers a question (the group), B rows at a time, T places a row.
 */

import type { ModelConfig } from '../config.ts';
import { evenParts } from '../data/batches.ts';
import { ROWS_AT_A_TIME, rowBatch } from '../data/rows.ts';
import { createAccumulatingTrainer } from '../nn/gradient-accumulation.ts';
import { maskedMean, tokenLogProbabilities } from '../nn/losses.ts';
import { createTrainState, type LossFunction } from '../nn/train-step.ts';
import { foldSeed, type NdArray, neg } from '../tensor/index.ts';
import { episodeBatchSpec, packEpisodes, spreadActions } from './episode-rows.ts';
import { groupAdvantages, sortGroups } from './groups.ts';
import { createJudge, policyLogits } from './policy-judge.ts';
import { klLoss } from './ppo.ts';
import {
  compareFigures,
  countTokens,
  describeAttempts,
  type Figure,
  mean,
  REINFORCEMENT_ADAMW,
  resumeRandom,
} from './practice.ts';
import { planRehearsal, type RehearsalOptions, withRehearsal } from './rehearsal.ts';
import { sftLoss } from './sft.ts';
import { checkStep, loadTrainState, type StageContext, type StageResult, saveTrainState } from './stage.ts';
import { createVerifiedPractice, type RlvfData } from './verified-answers.ts';

export interface RlvfOptions extends RehearsalOptions {
  readonly iterations: number;
  /** Questions asked an iteration. */
  readonly questions: number;
  /** Questions an iteration learns from, Q: those whose answers differ in reward come first. */
  readonly keptQuestions: number;
  /** Answers a question, K. */
  readonly groupSize: number;
  readonly learningRate: number;
  /** Longest answer in tokens. */
  readonly maxNewTokens: number;
  readonly temperature: number;
  /** Weight of the KL to the model at the start, k3 estimate per token. */
  readonly klCoefficient: number;
}

/** Loss of a batch `[B, T]`: `-A log p` of each answer token, plus the KL term. */
export function rlvfLoss(config: ModelConfig, temperature: number, klCoefficient: number): LossFunction {
  return (weights, batch) => {
    const { targets, mask, advantages, referenceLogProbs } = batch;
    const logProbs = tokenLogProbabilities(policyLogits(weights, config, batch, temperature), targets);
    const policyLoss = maskedMean(neg(advantages.mul(logProbs)), mask);
    const kl = klLoss(logProbs, referenceLogProbs, mask);
    return {
      loss: policyLoss.add(kl.mul(klCoefficient)),
      weight: mask.sum(),
      metrics: { policyLoss, kl },
    };
  };
}

export async function trainRlvf(
  context: StageContext,
  startWeights: Readonly<Record<string, NdArray>>,
  data: RlvfData,
  options: RlvfOptions,
): Promise<StageResult> {
  const { runtime, config, seed, io } = context;
  const { questions, keptQuestions: Q, groupSize: K, temperature, klCoefficient } = options;
  const B = ROWS_AT_A_TIME;
  const parts = Math.ceil((Q * K) / B);
  const practice = await createVerifiedPractice(context, data, { ...options, batchSize: Q * K });
  const T = practice.length;

  const random = resumeRandom(io.resumed?.state['random'], foldSeed(seed, 'rlvf'));
  const state = io.resumed ? loadTrainState(io.resumed) : createTrainState(startWeights);
  const before = io.resumed ? (io.resumed.state['before'] as Figure[]) : await practice.examine(startWeights);
  const judge = await createJudge({
    runtime,
    config,
    weights: startWeights,
    length: T,
    temperature,
  });
  const rehearsal = planRehearsal(context, data.rehearsal, options.rehearsalRows);
  const trainer = await createAccumulatingTrainer({
    runtime,
    loss: withRehearsal(
      rlvfLoss(config, temperature, klCoefficient),
      sftLoss(config),
      options.rehearsalCoefficient,
    ),
    batch: { ...episodeBatchSpec(B, T, ['advantages', 'referenceLogProbs']), ...rehearsal?.spec },
    parts,
    state,
    optimizer: REINFORCEMENT_ADAMW,
  });

  for (let iteration = state.step; iteration < options.iterations; iteration++) {
    // 1. Answer every question K times, and let the verifiers judge.
    const attempts = await practice.attempt(trainer.state.weights, { questions, answers: K }, random);
    const rewards = attempts.map(({ reward }) => reward);
    const advantages = groupAdvantages(rewards, K);

    // 2. Learn from the groups whose answers differ.
    const { mixed, agreed } = sortGroups(rewards, K);
    const chosen = [...mixed, ...agreed].slice(0, Q).flat();
    const packed = packEpisodes(
      chosen.map((i) => attempts[i].episode),
      T,
    );
    const frozen = await judge.judge(startWeights, packed);
    const rows = spreadActions(packed, {
      // An answer that was cut off may have been on its way to something right: nothing is learned from it.
      advantages: chosen.map((i) => {
        const { tokens, ended } = attempts[i].episode.response;
        return Array<number>(tokens.length).fill(ended ? advantages[i] : 0);
      }),
      referenceLogProbs: frozen.map(({ logProbs }) => logProbs),
    });
    // Where every group agrees there is nothing to learn, and Adam would blow the rounding noise up to full steps.
    const lr = mixed.length > 0 ? options.learningRate * (1 - iteration / options.iterations) : 0;
    const result = await trainer.step(
      evenParts(rows, B).map((part, i) => ({
        ...rowBatch(part, B),
        ...rehearsal?.at(iteration * parts + i),
      })),
      lr,
    );
    checkStep('rlvf', iteration + 1, result);
    io.log({
      step: iteration + 1,
      total: options.iterations,
      tokens: countTokens(attempts),
      lr,
      loss: result.loss,
      gradientNorm: result.gradientNorm,
      figures: {
        reward: mean(rewards),
        accuracy: mean(attempts.map(({ correct }) => Number(correct))),
        ...result.metrics,
        groupsWithoutVariance: 1 - mixed.length / questions,
        ...describeAttempts(attempts),
      },
    });
    io.offer(() => saveTrainState(trainer.state, { before, random: random.state }));
  }

  const { weights } = trainer.state;
  await trainer.release();
  await judge.release();
  const after = await practice.examine(weights);
  await practice.release();
  return { weights, evaluations: compareFigures(before, after) };
}
