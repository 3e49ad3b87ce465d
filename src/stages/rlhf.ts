/**
 * @file Lesson 5: RLHF with PPO. The model answers, the reward model scores, and the policy moves towards what scores
 * well without leaving the SFT model behind (Ziegler et al. 2019; Ouyang et al. 2022).
 *
 *     npm run train -- --skip-pretrain --skip-sft --skip-reward --skip-rlvf
 *
 * Four models take part: the policy that is trained, its critic (a value head on the same body), the frozen reference
 * (the SFT model), and the frozen reward model. One iteration: sample responses, score them, turn scores and KL into
 * advantages, then take a few clipped steps on shuffled mini-batches.
 *
 * Legend: B episodes an iteration, M episodes a mini-batch, T length.
 */

import type { ModelConfig } from '../config.ts';
import { createDecoder } from '../decoder.ts';
import { tokenLogProbabilities } from '../nn/losses.ts';
import { bindParameters } from '../nn/parameters.ts';
import { createTrainer, createTrainState, type LossFunction, type StepResult } from '../nn/train-step.ts';
import { rollout } from '../rollout.ts';
import { PLAIN_SAMPLING } from '../sampling.ts';
import {
  createRandom,
  foldSeed,
  type NdArray,
  type Random,
  type RandomState,
  type Spec,
} from '../tensor/index.ts';
import { SPECIAL } from '../tokenizer.ts';
import { ActorCritic, createJudge, withoutValueHead, withValueHead } from './actor-critic.ts';
import {
  adaptKlCoefficient,
  explainedVariance,
  generalizedAdvantages,
  k3,
  ppoLoss,
  tokenRewards,
  whiten,
} from './ppo.ts';
import { createScorer } from './reward-model.ts';
import { type Episode, episodeBatch, spreadActions, tokensOf } from './sequences.ts';
import {
  checkStep,
  type Evaluation,
  loadTrainState,
  requireFitting,
  type StageContext,
  type StageResult,
  saveTrainState,
} from './stage.ts';

export interface RlhfOptions {
  /** Responses sampled in all. */
  readonly episodes: number;
  /** Responses an iteration, B. */
  readonly batchSize: number;
  /** Responses a gradient step, M; divides B. */
  readonly miniBatchSize: number;
  /** Passes over the responses of an iteration. */
  readonly ppoEpochs: number;
  /** Learning rate at the start; it falls to zero. */
  readonly learningRate: number;
  /** Longest response in tokens. */
  readonly maxNewTokens: number;
  /** Divides the logits while sampling, judging and training alike. */
  readonly temperature: number;
  readonly klCoefficient: number;
  /** KL to the reference, in nats a response, that the coefficient steers towards. */
  readonly klTarget: number;
  /** Responses over which the coefficient adapts. */
  readonly klHorizon: number;
  readonly gamma: number;
  readonly lambda: number;
  /** Taken off the normalised score of a response that does not end by itself. */
  readonly missingEndPenalty: number;
}

export interface RlhfData {
  /** Tokenised prompts, each ending where the assistant begins to speak. */
  readonly prompts: readonly Int32Array[];
  readonly heldOut: readonly Int32Array[];
}

/**
 * No decay towards zero, and an ε far above the size of the gradients: then a step is as long as its gradient, as in
 * plain gradient descent with momentum. With the usual small ε Adam moves every weight by the full learning rate, also
 * where the gradient of a few dozen samples is nothing but noise, and skills learned before do not survive that.
 */
export const REINFORCEMENT_ADAMW = { weightDecay: 0, epsilon: 1e-3 };

/** The PPO loss of a mini-batch; all inputs `[M, T]`. */
export function rlhfLoss(config: ModelConfig, temperature: number): LossFunction {
  return (weights, { ids, targets, mask, oldLogProbs, oldValues, advantages, returns }) => {
    const { logits, values } = new ActorCritic(bindParameters(weights), config).forward(ids, temperature);
    const logProbs = tokenLogProbabilities(logits, targets);
    return ppoLoss({ logProbs, values, oldLogProbs, oldValues, advantages, returns, mask });
  };
}

export async function trainRlhf(
  { runtime, config, seed, io }: StageContext,
  sftWeights: Readonly<Record<string, NdArray>>,
  rewardWeights: Readonly<Record<string, NdArray>>,
  data: RlhfData,
  options: RlhfOptions,
): Promise<StageResult> {
  const { batchSize: B, miniBatchSize: M, maxNewTokens, temperature } = options;
  const room = config.contextLength - maxNewTokens;
  requireFitting(
    data.prompts.length,
    { zh: '提问（微调和偏好数据）', en: 'the prompts of the SFT and preference data' },
    room,
  );
  const longestPrompt = Math.max(...[...data.prompts, ...data.heldOut].map(({ length }) => length));
  const T = Math.min(longestPrompt + maxNewTokens, config.contextLength);
  const iterations = Math.max(1, Math.round(options.episodes / B));

  const reference = withValueHead(sftWeights, config);
  const state = io.resumed ? loadTrainState(io.resumed) : createTrainState(reference);
  const scorer = await createScorer({ runtime, config, weights: rewardWeights, batchSize: B, length: T });
  const judge = await createJudge({
    runtime,
    config,
    weights: reference,
    batchSize: M,
    length: T,
    temperature,
  });

  /** Sample a response to each prompt. No top-k or top-p: the policy is trained on what it really is. */
  const respond = async (
    weights: Readonly<Record<string, NdArray>>,
    prompts: readonly Int32Array[],
    random: Random,
  ): Promise<Episode[]> => {
    const decoder = await createDecoder({ runtime, config, weights, batchSize: B, maxLength: T });
    const sampling = { ...PLAIN_SAMPLING, temperature };
    const stopTokens = [SPECIAL.imEnd, SPECIAL.eos];
    const responses = await rollout(decoder, prompts, { maxNewTokens, sampling, random, stopTokens });
    await decoder.release();
    return prompts.map((prompt, i) => ({ prompt, response: responses[i] }));
  };
  const score = (episodes: readonly Episode[]): Promise<number[]> => scorer.score(episodes.map(tokensOf));
  /** The reward, and beside it a figure that no reward model can be talked into: how varied the responses are. */
  const examine = async (weights: Readonly<Record<string, NdArray>>): Promise<Examination | undefined> => {
    if (data.heldOut.length === 0) return undefined;
    const prompts = Array.from({ length: EXAMINATION_ROUNDS }, () => data.heldOut).flat();
    const episodes = await respond(weights, prompts, createRandom(foldSeed(seed, 'rlhf-examination')));
    return {
      reward: mean(await score(episodes)),
      distinct2: distinct2(episodes.map(({ response }) => response.tokens)),
    };
  };

  const random = resumeRandom(io.resumed?.state['random'], foldSeed(seed, 'rlhf'));
  let progress: RlhfProgress;
  if (io.resumed) progress = io.resumed.state['progress'] as RlhfProgress;
  else {
    // Scores are counted in deviations from the reference policy's mean, so that coefficients mean the same in any run.
    const samples = await respond(
      reference,
      Array.from({ length: 4 * B }, () => random.pick(data.prompts)),
      random,
    );
    const scores = await score(samples);
    const normalizer = { mean: mean(scores), deviation: deviation(scores) };
    progress = {
      iteration: 0,
      klCoefficient: options.klCoefficient,
      normalizer,
      before: await examine(reference),
    };
  }

  const ids: Spec = { dtype: 'int32', shape: [M, T] };
  const numbers: Spec = { dtype: 'float32', shape: [M, T] };
  const trainer = await createTrainer({
    runtime,
    loss: rlhfLoss(config, temperature),
    batch: {
      ids,
      targets: ids,
      mask: numbers,
      oldLogProbs: numbers,
      oldValues: numbers,
      advantages: numbers,
      returns: numbers,
    },
    state,
    optimizer: REINFORCEMENT_ADAMW,
  });

  while (progress.iteration < iterations) {
    const { iteration, klCoefficient, normalizer } = progress;

    // 1. Sample, score, judge.
    const prompts = Array.from({ length: B }, () => random.pick(data.prompts));
    const episodes = await respond(trainer.state.weights, prompts, random);
    const rewards = await score(episodes);
    const old = await judge.judge(trainer.state.weights, episodes);
    const frozen = await judge.judge(reference, episodes);

    // 2. Rewards per token, advantages, returns.
    const logRatios = old.map(({ logProbs }, i) =>
      logProbs.map((logProb, t) => logProb - frozen[i].logProbs[t]),
    );
    const targets = episodes.map(({ response }, i) => {
      const normalized = (rewards[i] - normalizer.mean) / normalizer.deviation;
      const final = normalized - (response.ended ? 0 : options.missingEndPenalty);
      const perToken = tokenRewards(old[i].logProbs, frozen[i].logProbs, final, klCoefficient);
      const values = Float64Array.from(old[i].values);
      return generalizedAdvantages({ rewards: perToken, values }, options.gamma, options.lambda);
    });
    const advantages = whiten(targets.map((target) => target.advantages));

    // 3. A few passes in shuffled mini-batches.
    const lr = options.learningRate * (1 - iteration / iterations);
    const results: StepResult[] = [];
    for (let epoch = 0; epoch < options.ppoEpochs; epoch++) {
      const order = random.shuffle(episodes.map((_, i) => i));
      for (let start = 0; start < B; start += M) {
        const chosen = order.slice(start, start + M);
        const part = chosen.map((i) => episodes[i]);
        const spread = (of: (i: number) => ArrayLike<number>): NdArray =>
          spreadActions(part, chosen.map(of), T);
        const result = await trainer.step(
          {
            ...episodeBatch(part, T),
            oldLogProbs: spread((i) => old[i].logProbs),
            oldValues: spread((i) => old[i].values),
            advantages: spread((i) => advantages[i]),
            returns: spread((i) => targets[i].returns),
          },
          lr,
        );
        checkStep('rlhf', iteration + 1, result);
        results.push(result);
      }
    }

    // 4. Steer the KL coefficient, report, offer to save.
    const kl = mean(logRatios.map((ratios) => ratios.reduce((a, b) => a + b, 0)));
    const all = (rows: readonly ArrayLike<number>[]): number[] => rows.flatMap((row) => Array.from(row));
    const averaged = (name: string): number => mean(results.map(({ metrics }) => metrics[name]));
    io.log({
      step: iteration + 1,
      total: iterations,
      tokens: B * T,
      lr,
      loss: mean(results.map(({ loss }) => loss)),
      gradientNorm: mean(results.map(({ gradientNorm }) => gradientNorm)),
      figures: {
        reward: mean(rewards),
        normalizedReward: (mean(rewards) - normalizer.mean) / normalizer.deviation,
        kl,
        klK3: mean(logRatios.map((ratios) => ratios.reduce((total, x) => total + k3(x), 0))),
        klCoefficient,
        entropy: mean(all(old.map(({ entropies }) => entropies))),
        clipFraction: averaged('clipFraction'),
        approxKl: averaged('approxKl'),
        policyLoss: averaged('policyLoss'),
        valueLoss: averaged('valueLoss'),
        firstRatioDeviation: results[0].metrics['ratioDeviation'],
        explainedVariance: explainedVariance(
          all(old.map(({ values }) => values)),
          all(targets.map((t) => t.returns)),
        ),
        endRate: mean(episodes.map(({ response }) => Number(response.ended))),
        responseLength: mean(episodes.map(({ response }) => response.tokens.length)),
        distinct2: distinct2(episodes.map(({ response }) => response.tokens)),
      },
    });
    const controller = { target: options.klTarget, horizon: options.klHorizon };
    progress = {
      ...progress,
      iteration: iteration + 1,
      klCoefficient: adaptKlCoefficient(klCoefficient, kl, B, controller),
    };
    io.offer(() => saveTrainState(trainer.state, { progress, random: random.state }));
  }

  const weights = withoutValueHead(trainer.state.weights);
  await trainer.release();
  const after = await examine(weights);
  await judge.release();
  await scorer.release();
  if (after === undefined) return { weights, evaluations: [] };
  const { before } = progress;
  const figure = (of: keyof Examination, zh: string, en: string): Evaluation => ({
    name: { zh, en },
    before: before?.[of],
    after: after[of],
    unit: 'number',
  });
  return {
    weights,
    evaluations: [
      figure('reward', '留出提问 平均奖励', 'held-out mean reward'),
      figure('distinct2', '留出提问 回答多样性 distinct-2', 'held-out distinct-2'),
    ],
  };
}

/** What is measured on held-out prompts. */
interface Examination {
  /** Mean score of the reward model. */
  readonly reward: number;
  readonly distinct2: number;
}

/** Responses to each held-out prompt: one alone says more about chance than about the policy. */
const EXAMINATION_ROUNDS = 2;

/** Distinct pairs of neighbouring tokens as a share of all pairs (Li et al. 2016): low where a policy repeats itself. */
export function distinct2(responses: readonly (readonly number[])[]): number {
  const pairs = responses.flatMap((tokens) => tokens.slice(1).map((token, i) => `${tokens[i]} ${token}`));
  return new Set(pairs).size / Math.max(1, pairs.length);
}

/** What the loop carries from one iteration to the next besides the weights. */
interface RlhfProgress {
  readonly iteration: number;
  readonly klCoefficient: number;
  readonly normalizer: { readonly mean: number; readonly deviation: number };
  /** Held-out figures of the reference. */
  readonly before?: Examination;
}

/** Go on with a saved stream, or start one. */
export function resumeRandom(saved: unknown, seed: number): Random {
  const state = saved as RandomState | undefined;
  return state ? createRandom(state.seed, state.counter) : createRandom(seed);
}

export function mean(numbers: readonly number[]): number {
  return numbers.reduce((total, x) => total + x, 0) / numbers.length;
}

function deviation(numbers: readonly number[]): number {
  const center = mean(numbers);
  return Math.sqrt(mean(numbers.map((x) => (x - center) ** 2))) + 1e-8;
}
