/**
 * @file Lesson 6: RLVF, reinforcement learning from verifiable feedback. No reward model: a program checks the answer
 * (Lambert et al. 2024; Shao et al. 2024).
 *
 *     npm run train -- --skip-pretrain --skip-sft --skip-reward --skip-rlhf
 *
 * Each question is answered several times. An answer is as good as it is better than its group's average, so the group
 * is the baseline and no critic is needed: REINFORCE with `A = r - mean(group)`. Groups that agree teach nothing, so more
 * questions are asked than are learned from (Yu et al. 2025, "DAPO": dynamic sampling). A small KL term to the model at
 * the start keeps the language in shape.
 *
 * Legend: Q questions that an iteration learns from, K answers a question (the group), B = Q·K, T length.
 */

import { renderPrompt } from '../chat-format.ts';
import type { ModelConfig } from '../config.ts';
import type { Task } from '../data/formats.ts';
import { createDecoder } from '../decoder.ts';
import { GPT } from '../model.ts';
import { maskedMean, tokenLogProbabilities } from '../nn/losses.ts';
import { bindParameters } from '../nn/parameters.ts';
import { createTrainer, createTrainState, type LossFunction } from '../nn/train-step.ts';
import { rollout } from '../rollout.ts';
import { GREEDY, PLAIN_SAMPLING, type SamplingOptions } from '../sampling.ts';
import {
  clamp,
  createRandom,
  exp,
  foldSeed,
  type NdArray,
  neg,
  type Random,
  type Spec,
} from '../tensor/index.ts';
import { SPECIAL, type Tokenizer } from '../tokenizer.ts';
import { verifierFor } from '../verifiers.ts';
import { createJudge, withValueHead } from './actor-critic.ts';
import { mean, REINFORCEMENT_ADAMW, resumeRandom } from './rlhf.ts';
import { type Episode, episodeBatch, spreadActions } from './sequences.ts';
import {
  checkStep,
  type Evaluation,
  loadTrainState,
  requireFitting,
  type StageContext,
  type StageResult,
  saveTrainState,
} from './stage.ts';

export interface RlvfOptions {
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

export interface RlvfData {
  /** Questions of an iteration. */
  readonly draw: (count: number, random: Random) => readonly Task[];
  readonly heldOut: readonly Task[];
}

/** Loss of a batch `[B, T]`: `-A log p` of each answer token, plus the KL term. */
export function rlvfLoss(config: ModelConfig, temperature: number, klCoefficient: number): LossFunction {
  return (weights, { ids, targets, mask, advantages, referenceLogProbs }) => {
    const model = new GPT(bindParameters(weights), config);
    const logits = model.logits(model.forward(ids).hidden).mul(1 / temperature);
    const logProbs = tokenLogProbabilities(logits, targets);
    const policyLoss = maskedMean(neg(advantages.mul(logProbs)), mask);
    const logRatio = clamp(logProbs.sub(referenceLogProbs), -20, 20);
    const kl = maskedMean(exp(neg(logRatio)).sub(1).add(logRatio), mask);
    return { loss: policyLoss.add(kl.mul(klCoefficient)), metrics: { policyLoss, kl } };
  };
}

export async function trainRlvf(
  { runtime, config, tokenizer, seed, io }: StageContext,
  startWeights: Readonly<Record<string, NdArray>>,
  data: RlvfData,
  options: RlvfOptions,
): Promise<StageResult> {
  const { questions, keptQuestions: Q, groupSize: K, maxNewTokens, temperature, klCoefficient } = options;
  const B = Q * K;
  const room = config.contextLength - maxNewTokens;
  const lengthOf = (task: Task): number => promptOf(tokenizer, task).length;
  const usual = data
    .draw(2000, createRandom(0))
    .map(lengthOf)
    .filter((length) => length <= room)
    .sort((a, b) => a - b);
  const option = { zh: 'RLVF 题目（--data rlvf=…）', en: 'the RLVF tasks (--data rlvf=…)' };
  requireFitting(usual.length, option, room);
  const heldOut = data.heldOut.filter((task) => lengthOf(task) <= room);
  // Prompt and answer. The few longest questions are not worth that every row is as long as they are: such are drawn again.
  const T = usual[Math.floor(0.95 * usual.length)] + maxNewTokens;
  const drawFitting = (count: number, stream: Random): Task[] => {
    const fits = (task: Task): boolean => lengthOf(task) + maxNewTokens <= T;
    const drawn: Task[] = [];
    while (drawn.length < count) drawn.push(...data.draw(count - drawn.length, stream).filter(fits));
    return drawn;
  };
  const answer = (
    weights: Readonly<Record<string, NdArray>>,
    tasks: readonly Task[],
    sampling: SamplingOptions,
    random: Random,
  ): Promise<VerifiedAnswer[]> =>
    answerTasks({
      runtime,
      config,
      tokenizer,
      weights,
      tasks,
      sampling,
      random,
      maxNewTokens,
      batchSize: B,
      length: Math.max(...tasks.map(lengthOf)) + maxNewTokens,
    });
  /** Accuracy by type: of the best guess (greedy), and of an answer drawn at random, which is what is trained. */
  const examine = async (weights: Readonly<Record<string, NdArray>>): Promise<Examination> => {
    const accuracy = async (sampling: SamplingOptions): Promise<Record<string, number>> =>
      heldOut.length === 0
        ? {}
        : accuracyByType(await answer(weights, heldOut, sampling, createRandom(seed)));
    return {
      greedy: await accuracy(GREEDY),
      sampled: await accuracy({ ...PLAIN_SAMPLING, temperature }),
    };
  };

  const random = resumeRandom(io.resumed?.state['random'], foldSeed(seed, 'rlvf'));
  const state = io.resumed ? loadTrainState(io.resumed) : createTrainState(startWeights);
  const before = (io.resumed?.state['before'] as Examination | undefined) ?? (await examine(startWeights));
  const reference = withValueHead(startWeights, config);
  const judge = await createJudge({
    runtime,
    config,
    weights: reference,
    batchSize: B,
    length: T,
    temperature,
  });
  const ids: Spec = { dtype: 'int32', shape: [B, T] };
  const numbers: Spec = { dtype: 'float32', shape: [B, T] };
  const trainer = await createTrainer({
    runtime,
    loss: rlvfLoss(config, temperature, klCoefficient),
    batch: { ids, targets: ids, mask: numbers, advantages: numbers, referenceLogProbs: numbers },
    state,
    optimizer: REINFORCEMENT_ADAMW,
  });

  for (let iteration = state.step; iteration < options.iterations; iteration++) {
    // 1. Answer every question K times, and let the verifiers judge.
    const tasks = drawFitting(questions, random).flatMap((task) => Array.from({ length: K }, () => task));
    const sampled = await answer(trainer.state.weights, tasks, { ...PLAIN_SAMPLING, temperature }, random);
    const rewards = sampled.map(({ reward }) => reward);
    const advantages = groupAdvantages(rewards, K);

    // 2. Learn from the groups whose answers differ.
    const { mixed, agreed } = sortGroups(advantages, K);
    const chosen = [...mixed, ...agreed].slice(0, Q).flat();
    const episodes = chosen.map((i) => sampled[i].episode);
    const frozen = await judge.judge(reference, episodes);
    const batch = {
      ...episodeBatch(episodes, T),
      advantages: spreadActions(
        episodes,
        // An answer that was cut off may have been on its way to something right: nothing is learned from it.
        chosen.map((i) => {
          const { tokens, ended } = sampled[i].episode.response;
          return new Float32Array(tokens.length).fill(ended ? advantages[i] : 0);
        }),
        T,
      ),
      referenceLogProbs: spreadActions(
        episodes,
        frozen.map(({ logProbs }) => logProbs),
        T,
      ),
    };
    // Where every group agrees there is nothing to learn, and Adam would blow the rounding noise up to full steps.
    const lr = mixed.length > 0 ? options.learningRate * (1 - iteration / options.iterations) : 0;
    const result = await trainer.step(batch, lr);
    checkStep('rlvf', iteration + 1, result);
    io.log({
      step: iteration + 1,
      total: options.iterations,
      tokens: B * T,
      lr,
      loss: result.loss,
      gradientNorm: result.gradientNorm,
      figures: {
        reward: mean(rewards),
        accuracy: mean(sampled.map(({ correct }) => Number(correct))),
        ...result.metrics,
        groupsWithoutVariance: 1 - mixed.length / questions,
        endRate: mean(sampled.map(({ episode }) => Number(episode.response.ended))),
        responseLength: mean(sampled.map(({ episode }) => episode.response.tokens.length)),
      },
    });
    io.offer(() => saveTrainState(trainer.state, { before, random: random.state }));
  }

  const { weights } = trainer.state;
  await trainer.release();
  await judge.release();
  const after = await examine(weights);
  const evaluations = Object.keys(after.greedy).flatMap((type): Evaluation[] => [
    {
      name: { zh: `留出题目正确率（${type}）`, en: `held-out accuracy (${type})` },
      before: before.greedy[type],
      after: after.greedy[type],
      unit: 'share',
    },
    {
      name: { zh: `随机采样时的正确率（${type}）`, en: `the same when sampled (${type})` },
      before: before.sampled[type],
      after: after.sampled[type],
      unit: 'share',
    },
  ]);
  return { weights, evaluations };
}

/** Share of right answers on held-out questions, by type. */
interface Examination {
  readonly greedy: Readonly<Record<string, number>>;
  readonly sampled: Readonly<Record<string, number>>;
}

/** Numbers of all answers cut into groups of K. */
function groupsOf(numbers: readonly number[], K: number): number[][] {
  return Array.from({ length: numbers.length / K }, (_, group) => numbers.slice(group * K, (group + 1) * K));
}

/** How much better each answer is than its group: `r - mean(group)`. */
export function groupAdvantages(rewards: readonly number[], groupSize: number): number[] {
  return groupsOf(rewards, groupSize).flatMap((group) => group.map((reward) => reward - mean(group)));
}

/** The groups as lists of answer indices: those whose answers differ in reward, and those that agree. */
export function sortGroups(
  advantages: readonly number[],
  groupSize: number,
): { mixed: number[][]; agreed: number[][] } {
  const groups = groupsOf(
    advantages.map((_, i) => i),
    groupSize,
  );
  const isMixed = (group: readonly number[]): boolean => group.some((i) => advantages[i] !== 0);
  return { mixed: groups.filter(isMixed), agreed: groups.filter((group) => !isMixed(group)) };
}

export interface VerifiedAnswer {
  readonly task: Task;
  readonly text: string;
  readonly reward: number;
  readonly correct: boolean;
  readonly episode: Episode;
}

/** Answer each task once and let its verifier judge. */
export async function answerTasks(options: {
  readonly runtime: StageContext['runtime'];
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
  readonly weights: Readonly<Record<string, NdArray>>;
  readonly tasks: readonly Task[];
  readonly sampling: SamplingOptions;
  readonly random: Random;
  readonly maxNewTokens: number;
  readonly batchSize: number;
  readonly length: number;
}): Promise<VerifiedAnswer[]> {
  const { runtime, config, tokenizer, weights, tasks, sampling, random, maxNewTokens, batchSize, length } =
    options;
  const decoder = await createDecoder({ runtime, config, weights, batchSize, maxLength: length });
  const prompts = tasks.map((task) => promptOf(tokenizer, task));
  const stopTokens = [SPECIAL.imEnd, SPECIAL.eos];
  const responses = await rollout(decoder, prompts, { maxNewTokens, sampling, random, stopTokens });
  await decoder.release();
  return tasks.map((task, i) => {
    const text = tokenizer.decode(responses[i].tokens, { skipSpecial: true });
    const verifier = verifierFor(task.type);
    return {
      task,
      text,
      reward: verifier.reward(text, task.expected),
      correct: verifier.isCorrect(text, task.expected),
      episode: { prompt: prompts[i], response: responses[i] },
    };
  });
}

/** Share of correct answers for each type of task. */
export function accuracyByType(answers: readonly VerifiedAnswer[]): Record<string, number> {
  const types = [...new Set(answers.map(({ task }) => task.type))].sort();
  return Object.fromEntries(
    types.map((type) => [
      type,
      mean(answers.filter(({ task }) => task.type === type).map(({ correct }) => Number(correct))),
    ]),
  );
}

function promptOf(tokenizer: Tokenizer, task: Task): Int32Array {
  return renderPrompt(tokenizer, [{ role: 'user', content: task.prompt }]);
}
