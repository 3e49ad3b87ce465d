/**
 * @file Lesson 6, continued: GRPO, group relative policy optimisation (Shao et al. 2024, "DeepSeekMath"), with what DAPO
 * made of it (Yu et al. 2025).
 *
 *     npm run train -- --skip-pretrain --skip-sft --skip-reward --skip-rlhf --rlvf-algorithm grpo
 *
 * REINFORCE in `rlvf.ts` takes one step on the answers of an iteration and throws them away. GRPO learns from them several
 * times, in mini-batches. From the second step on the policy is no longer the one that sampled: the ratio of the two
 * weighs every token, and where it has gone too far, PPO's clipping ends the push. There is no critic; as in REINFORCE
 * the group is the baseline. What differs:
 *
 * - Advantages are counted in the group's standard deviation: a lucky answer to a hard question counts more.
 * - Clip-higher: a ratio may rise further (1.28) than it may fall (0.8). To rise by a fifth means little to a token of
 *   probability 0.01; without more room for it, whatever is rare stays rare, and the policy explores no more.
 * - Groups that agree are dropped, and so are answers that were cut off: no row is computed for nothing.
 * - The loss is a mean over all tokens of a mini-batch, not over answers: tokens of long answers count as much as others.
 *
 * Legend: Q questions that an iteration learns from at most, K answers a question (the group), M rows a mini-batch at
 * most, T places a row.
 */

import type { ModelConfig } from '../config.ts';
import { evenParts } from '../data/batches.ts';
import { rowBatch } from '../data/rows.ts';
import { tokenLogProbabilities } from '../nn/losses.ts';
import { createTrainer, createTrainState, type LossFunction, type StepResult } from '../nn/train-step.ts';
import { foldSeed, type NdArray } from '../tensor/index.ts';
import { episodeBatchSpec, packEpisodes, spreadActions } from './episode-rows.ts';
import { normalizedAdvantages, sortGroups } from './groups.ts';
import { createJudge, policyLogits } from './policy-judge.ts';
import { clippedPolicyLoss, klLoss } from './ppo.ts';
import {
  compareFigures,
  countTokens,
  describeAttempts,
  type Figure,
  mean,
  meanOrZero,
  REINFORCEMENT_ADAMW,
  resumeRandom,
} from './practice.ts';
import { planRehearsal, withRehearsal } from './rehearsal.ts';
import type { RlvfOptions } from './rlvf.ts';
import { sftLoss } from './sft.ts';
import { checkStep, loadTrainState, type StageContext, type StageResult, saveTrainState } from './stage.ts';
import { createVerifiedPractice, type RlvfData } from './verified-answers.ts';

/** Those of REINFORCE, where a KL coefficient of 0 saves the computing of the KL, and: */
export interface GrpoOptions extends RlvfOptions {
  /** Passes over the answers of an iteration. */
  readonly epochs: number;
  /** Rows a gradient step at most, M; a row holds as many answers as fit. */
  readonly miniBatchSize: number;
  /** How far a ratio may fall below 1 before the gradient stops. */
  readonly clipLow: number;
  /** How far it may rise above 1. */
  readonly clipHigh: number;
}

/** The GRPO loss of a mini-batch; all inputs `[M, T]`. */
export function grpoLoss(
  config: ModelConfig,
  { temperature, klCoefficient, clipLow, clipHigh }: GrpoOptions,
): LossFunction {
  return (weights, batch) => {
    const { targets, mask, oldLogProbs, advantages, referenceLogProbs } = batch;
    const logProbs = tokenLogProbabilities(policyLogits(weights, config, batch, temperature), targets);
    const policy = clippedPolicyLoss(
      { logProbs, oldLogProbs, advantages, mask },
      { low: clipLow, high: clipHigh },
    );
    if (klCoefficient === 0) return { loss: policy.policyLoss, metrics: policy };
    const kl = klLoss(logProbs, referenceLogProbs, mask);
    return { loss: policy.policyLoss.add(kl.mul(klCoefficient)), metrics: { ...policy, kl } };
  };
}

export async function trainGrpo(
  context: StageContext,
  startWeights: Readonly<Record<string, NdArray>>,
  data: RlvfData,
  options: GrpoOptions,
): Promise<StageResult> {
  const { runtime, config, seed, io } = context;
  const { iterations, questions, keptQuestions: Q, groupSize: K, miniBatchSize: M, temperature } = options;
  const withKl = options.klCoefficient > 0;
  const practice = await createVerifiedPractice(context, data, { ...options, batchSize: Q * K });
  const T = practice.length;

  const random = resumeRandom(io.resumed?.state['random'], foldSeed(seed, 'rlvf'));
  const state = io.resumed ? loadTrainState(io.resumed) : createTrainState(startWeights);
  let progress: GrpoProgress = io.resumed
    ? (io.resumed.state['progress'] as GrpoProgress)
    : { iteration: 0, before: await practice.examine(startWeights) };
  const judge = await createJudge({ runtime, config, weights: startWeights, length: T, temperature });
  const rehearsal = planRehearsal(context, data.rehearsal, options.rehearsalRows);
  const trainer = await createTrainer({
    runtime,
    loss: withRehearsal(grpoLoss(config, options), sftLoss(config), options.rehearsalCoefficient),
    batch: {
      ...episodeBatchSpec(M, T, ['oldLogProbs', 'advantages', 'referenceLogProbs']),
      ...rehearsal?.spec,
    },
    state,
    optimizer: REINFORCEMENT_ADAMW,
  });

  while (progress.iteration < iterations) {
    const { iteration, before } = progress;

    // 1. Answer every question K times, and let the verifiers judge.
    const attempts = await practice.attempt(trainer.state.weights, { questions, answers: K }, random);
    const rewards = attempts.map(({ reward }) => reward);
    const advantages = normalizedAdvantages(rewards, K);

    // 2. Drop what teaches nothing: groups that agree, and answers that may have been on their way to something right.
    const { mixed } = sortGroups(rewards, K);
    const isWhole = (i: number): boolean => attempts[i].episode.response.ended;
    const kept = mixed.slice(0, Q).flat().filter(isWhole);
    const episodes = kept.map((i) => attempts[i].episode);
    const packed = packEpisodes(episodes, T);

    // 3. What the policy that sampled, and the model at the start, think of every token. Without KL nothing reads the latter.
    const old = await judge.judge(trainer.state.weights, packed);
    const frozen = withKl ? await judge.judge(startWeights, packed) : old;

    // 4. A few passes in shuffled mini-batches.
    const lr = options.learningRate * (1 - iteration / iterations);
    const results: StepResult[] = [];
    const rows = spreadActions(packed, {
      oldLogProbs: old.map(({ logProbs }) => logProbs),
      advantages: kept.map((i, e) => Array<number>(episodes[e].response.tokens.length).fill(advantages[i])),
      referenceLogProbs: frozen.map(({ logProbs }) => logProbs),
    });
    for (let epoch = 0; epoch < options.epochs; epoch++) {
      for (const part of evenParts(random.shuffle(rows), M)) {
        const result = await trainer.step({ ...rowBatch(part, M), ...rehearsal?.at(trainer.state.step) }, lr);
        checkStep('rlvf', iteration + 1, result);
        results.push(result);
      }
    }

    const averaged = (of: (result: StepResult) => number): number => meanOrZero(results.map(of));
    io.log({
      step: iteration + 1,
      total: iterations,
      tokens: countTokens(attempts),
      lr,
      loss: averaged(({ loss }) => loss),
      gradientNorm: averaged(({ gradientNorm }) => gradientNorm),
      figures: {
        reward: mean(rewards),
        accuracy: mean(attempts.map(({ correct }) => Number(correct))),
        policyLoss: averaged(({ metrics }) => metrics['policyLoss']),
        ...(withKl && { kl: averaged(({ metrics }) => metrics['kl']) }),
        ...(rehearsal && { rehearsalLoss: averaged(({ metrics }) => metrics['rehearsalLoss']) }),
        clipFraction: averaged(({ metrics }) => metrics['clipFraction']),
        approxKl: averaged(({ metrics }) => metrics['approxKl']),
        firstRatioDeviation: results[0]?.metrics['ratioDeviation'] ?? 0,
        entropy: meanOrZero(old.flatMap(({ entropies }) => Array.from(entropies))),
        groupsWithoutVariance: 1 - mixed.length / questions,
        ...describeAttempts(attempts),
      },
    });
    progress = { iteration: iteration + 1, before };
    io.offer(() => saveTrainState(trainer.state, { progress, random: random.state }));
  }

  const { weights } = trainer.state;
  await trainer.release();
  await judge.release();
  const after = await practice.examine(weights);
  await practice.release();
  return { weights, evaluations: compareFigures(progress.before, after) };
}

/** What the loop carries from one iteration to the next besides the weights. */
interface GrpoProgress {
  readonly iteration: number;
  /** Held-out figures of the model at the start. */
  readonly before: readonly Figure[];
}
