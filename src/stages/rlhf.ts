/**
 * @file Lesson 5: RLHF with PPO. The model answers, the reward model scores, and the policy moves towards what scores
 * well without leaving the SFT model behind (Ziegler et al. 2019; Ouyang et al. 2022).
 *
 *     npm run train -- --skip-pretrain --skip-sft --skip-reward --skip-rlvf
 *
 * Four models take part: the policy that is trained, its critic (which starts as the reward model), the frozen reference
 * (the SFT model), and the frozen reward model. One iteration: sample responses, score them, turn scores, KL and the
 * critic's values into advantages, then take a few clipped steps on shuffled mini-batches. Beside them the policy rehearses
 * what fine-tuning taught it, because what is not practised is forgotten (PPO-ptx; Ouyang et al. 2022).
 *
 * Legend: B responses an iteration, M rows a mini-batch, T places a row.
 */

import type { ModelConfig } from '../config.ts';
import { evenParts } from '../data/batches.ts';
import { rowBatch } from '../data/rows.ts';
import type { Text } from '../i18n.ts';
import { tokenLogProbabilities } from '../nn/losses.ts';
import { prefixed, unprefixed } from '../nn/names.ts';
import { copyArrays } from '../nn/train-state.ts';
import { createTrainer, createTrainState, type LossFunction, type StepResult } from '../nn/train-step.ts';
import { foldSeed, type NdArray } from '../tensor/index.ts';
import { distinct } from '../variety.ts';
import { createCritic, criticWeights, practiceRows } from './critic.ts';
import { episodeBatchSpec, packEpisodes, spreadActions } from './episode-rows.ts';
import { createJudge, policyLogits } from './policy-judge.ts';
import {
  adaptKlCoefficient,
  clippedPolicyLoss,
  explainedVariance,
  generalizedAdvantages,
  k3,
  PPO_CLIPPING,
  tokenRewards,
  whiten,
} from './ppo.ts';
import {
  type Attempt,
  compareFigures,
  countTokens,
  describeAttempts,
  deviation,
  type Figure,
  mean,
  REINFORCEMENT_ADAMW,
  resumeRandom,
} from './practice.ts';
import { planRehearsal, type RehearsalOptions, withRehearsal } from './rehearsal.ts';
import { createScoredPractice, type RlhfData } from './scored-responses.ts';
import { sftLoss } from './sft.ts';
import { checkStep, loadTrainState, type StageContext, type StageResult, saveTrainState } from './stage.ts';

export interface RlhfOptions extends RehearsalOptions {
  /** Responses sampled in all. */
  readonly episodes: number;
  /** Responses an iteration, B. */
  readonly batchSize: number;
  /** Rows a gradient step at most, M; a row holds as many responses as fit. */
  readonly miniBatchSize: number;
  /** Passes over the responses of an iteration. */
  readonly ppoEpochs: number;
  /** Learning rate at the start; it falls to zero. */
  readonly learningRate: number;
  readonly criticLearningRate: number;
  /** Responses of the reference on which the critic practises before the policy begins. */
  readonly criticWarmup: number;
  /** Longest response in tokens. */
  readonly maxNewTokens: number;
  /** Divides the logits while sampling, judging and training alike. */
  readonly temperature: number;
  readonly klCoefficient: number;
  /** KL to the reference, in nats a response, that the coefficient steers towards. */
  readonly klTarget: number;
  /** Responses over which the coefficient adapts. */
  readonly klHorizon: number;
  /** KL in nats a response above which training ends with the policy before; `MAX_KL` if undefined. */
  readonly maxKl?: number;
  readonly gamma: number;
  readonly lambda: number;
  /** Taken off the normalised score of a response that does not end by itself. */
  readonly missingEndPenalty: number;
}

/**
 * Five times what the KL coefficient steers towards. Rewards were raised without harm at 2 nats, and at 10 other skills
 * suffered (docs/decisions.en.md): at 30 the policy is lost.
 */
const MAX_KL = 30;

/** Scores that differ less are all the same: to count in such deviations would only make their rounding errors large. */
const SMALLEST_DEVIATION = 1e-3;

/** What the arrays of a saved state belong to, besides the policy. */
const CRITIC = 'critic';
const LAST_GOOD = 'lastGood';

/** The loss of the policy on a mini-batch; all inputs `[M, T]`. */
export function rlhfLoss(config: ModelConfig, temperature: number): LossFunction {
  return (weights, batch) => {
    const { targets, mask, oldLogProbs, advantages } = batch;
    const logProbs = tokenLogProbabilities(policyLogits(weights, config, batch, temperature), targets);
    const { ratioClip } = PPO_CLIPPING;
    const metrics = clippedPolicyLoss(
      { logProbs, oldLogProbs, advantages, mask },
      { low: ratioClip, high: ratioClip },
    );
    return { loss: metrics.policyLoss, metrics };
  };
}

export async function trainRlhf(
  context: StageContext,
  sftWeights: Readonly<Record<string, NdArray>>,
  rewardWeights: Readonly<Record<string, NdArray>>,
  data: RlhfData,
  options: RlhfOptions,
): Promise<StageResult> {
  const { runtime, config, seed, io } = context;
  const { batchSize: B, miniBatchSize: M, temperature, maxKl = MAX_KL } = options;
  const practice = await createScoredPractice(context, rewardWeights, data, options);
  const T = practice.length;
  const iterations = Math.max(1, Math.round(options.episodes / B));

  const judge = await createJudge({ runtime, config, weights: sftWeights, length: T, temperature });

  const random = resumeRandom(io.resumed?.state['random'], foldSeed(seed, 'rlhf'));
  let progress: RlhfProgress;
  let samples: readonly Attempt[] = [];
  if (io.resumed) progress = io.resumed.state['progress'] as RlhfProgress;
  else {
    // Scores are counted in deviations from the reference policy's mean, so that coefficients mean the same in any run.
    samples = await practice.attempt(sftWeights, { questions: options.criticWarmup, answers: 1 }, random);
    const scores = samples.map(({ reward }) => reward);
    const normalizer = { mean: mean(scores), deviation: Math.max(deviation(scores), SMALLEST_DEVIATION) };
    const before = await practice.examine(sftWeights);
    progress = { iteration: 0, klCoefficient: options.klCoefficient, normalizer, before };
  }
  const { normalizer } = progress;
  const normalize = (reward: number): number => (reward - normalizer.mean) / normalizer.deviation;

  const rehearsal = planRehearsal(context, data.rehearsal, options.rehearsalRows);
  const trainer = await createTrainer({
    runtime,
    loss: withRehearsal(rlhfLoss(config, temperature), sftLoss(config), options.rehearsalCoefficient),
    batch: { ...episodeBatchSpec(M, T, ['oldLogProbs', 'advantages']), ...rehearsal?.spec },
    state: io.resumed ? loadTrainState(io.resumed) : createTrainState(sftWeights),
    optimizer: REINFORCEMENT_ADAMW,
  });
  const critic = await createCritic({
    runtime,
    config,
    batchSize: M,
    length: T,
    state: io.resumed
      ? loadTrainState({
          tensors: unprefixed(CRITIC, io.resumed.tensors),
          state: { step: io.resumed.state['criticStep'] },
        })
      : createTrainState(criticWeights(rewardWeights, normalizer)),
  });
  for (const part of evenParts(random.shuffle(practiceRows(samples, T, normalize)), M))
    checkStep('rlhf', 0, await critic.step(rowBatch(part, M), options.criticLearningRate));

  /** The last policy whose KL was measured and within the bound; the reference at first. */
  let lastGood = { ...sftWeights, ...unprefixed(LAST_GOOD, io.resumed?.tensors ?? {}) };
  let stoppedEarly: Text | undefined;
  while (progress.iteration < iterations) {
    const { iteration, klCoefficient } = progress;

    // 1. Sample, score, judge.
    const attempts = await practice.attempt(trainer.state.weights, { questions: B, answers: 1 }, random);
    const episodes = attempts.map(({ episode }) => episode);
    const rewards = attempts.map(({ reward }) => reward);
    const packed = packEpisodes(episodes, T);
    const old = await judge.judge(trainer.state.weights, packed);
    const oldValues = await critic.values(packed);
    const frozen = await judge.judge(sftWeights, packed);

    const logRatios = old.map(({ logProbs }, i) =>
      logProbs.map((logProb, t) => logProb - frozen[i].logProbs[t]),
    );
    const kl = mean(logRatios.map((ratios) => ratios.reduce((a, b) => a + b, 0)));
    if (kl > maxKl) {
      stoppedEarly = describeStop(iteration, kl, maxKl);
      break;
    }
    lastGood = copyArrays(trainer.state.weights);

    // 2. Rewards per token, advantages, returns.
    const targets = episodes.map(({ response }, i) => {
      const final = normalize(rewards[i]) - (response.ended ? 0 : options.missingEndPenalty);
      const perToken = tokenRewards(old[i].logProbs, frozen[i].logProbs, final, klCoefficient);
      const values = Float64Array.from(oldValues[i]);
      return generalizedAdvantages({ rewards: perToken, values }, options.gamma, options.lambda);
    });
    const advantages = whiten(targets.map((target) => target.advantages));
    const returns = targets.map((target) => target.returns);

    // 3. A few passes in shuffled mini-batches.
    const remaining = 1 - iteration / iterations;
    const lr = options.learningRate * remaining;
    const results: StepResult[] = [];
    const criticResults: StepResult[] = [];
    const rows = spreadActions(packed, {
      oldLogProbs: old.map(({ logProbs }) => logProbs),
      advantages,
      oldValues,
      returns,
    });
    for (let epoch = 0; epoch < options.ppoEpochs; epoch++) {
      for (const part of evenParts(random.shuffle(rows), M)) {
        const batch = rowBatch(part, M);
        const result = await trainer.step({ ...batch, ...rehearsal?.at(trainer.state.step) }, lr);
        checkStep('rlhf', iteration + 1, result);
        results.push(result);
        const criticResult = await critic.step(batch, options.criticLearningRate * remaining);
        checkStep('rlhf', iteration + 1, criticResult);
        criticResults.push(criticResult);
      }
    }

    // 4. Steer the KL coefficient, report, offer to save.
    const all = (rows: readonly ArrayLike<number>[]): number[] => rows.flatMap((row) => Array.from(row));
    const averaged = (name: string): number => mean(results.map(({ metrics }) => metrics[name]));
    io.log({
      step: iteration + 1,
      total: iterations,
      tokens: countTokens(attempts),
      lr,
      loss: mean(results.map(({ loss }) => loss)),
      gradientNorm: mean(results.map(({ gradientNorm }) => gradientNorm)),
      figures: {
        reward: mean(rewards),
        normalizedReward: normalize(mean(rewards)),
        kl,
        klK3: mean(logRatios.map((ratios) => ratios.reduce((total, x) => total + k3(x), 0))),
        klCoefficient,
        entropy: mean(all(old.map(({ entropies }) => entropies))),
        clipFraction: averaged('clipFraction'),
        approxKl: averaged('approxKl'),
        policyLoss: averaged('policyLoss'),
        ...(rehearsal && { rehearsalLoss: averaged('rehearsalLoss') }),
        valueLoss: mean(criticResults.map(({ loss }) => loss)),
        firstRatioDeviation: results[0].metrics['ratioDeviation'],
        explainedVariance: explainedVariance(all(oldValues), all(returns)),
        ...describeAttempts(attempts),
        distinct2: distinct(
          episodes.map(({ response }) => response.tokens),
          2,
        ),
      },
    });
    const controller = { target: options.klTarget, horizon: options.klHorizon };
    progress = {
      ...progress,
      iteration: iteration + 1,
      klCoefficient: adaptKlCoefficient(klCoefficient, kl, B, controller),
    };
    io.offer(() => {
      const { step: criticStep } = critic.state;
      const { tensors, state } = saveTrainState(trainer.state, {
        progress,
        criticStep,
        random: random.state,
      });
      const more = {
        ...prefixed(CRITIC, saveTrainState(critic.state).tensors),
        ...prefixed(LAST_GOOD, lastGood),
      };
      return { tensors: { ...tensors, ...more }, state };
    });
  }

  const weights = stoppedEarly ? lastGood : trainer.state.weights;
  await trainer.release();
  await critic.release();
  const after = await practice.examine(weights);
  await judge.release();
  await practice.release();
  return { weights, evaluations: compareFigures(progress.before, after), stoppedEarly };
}

/** @param iteration iterations that were done when the policy was found to be too far away */
function describeStop(iteration: number, kl: number, maxKl: number): Text {
  return {
    zh: `RLHF 在第 ${iteration} 次迭代后提前结束：策略离参考模型的 KL 是每个回答 ${kl.toFixed(1)} 奈特，超过了 ${maxKl}；保留的是前一次迭代的策略。请调低 --lr，或用 --rlhf-max-kl 放宽界限。`,
    en: `RLHF ended early after iteration ${iteration}: the KL of the policy from the reference is ${kl.toFixed(1)} nats a response, above ${maxKl}; the policy of the iteration before is kept. Lower --lr, or allow more with --rlhf-max-kl.`,
  };
}

/** What the loop carries from one iteration to the next besides the weights. */
interface RlhfProgress {
  readonly iteration: number;
  readonly klCoefficient: number;
  readonly normalizer: { readonly mean: number; readonly deviation: number };
  /** Held-out figures of the reference. */
  readonly before: readonly Figure[];
}
