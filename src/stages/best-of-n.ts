/**
 * @file Lessons 5 and 6, continued: best of N as a method of training, also known as rejection sampling, expert iteration
 * (Anthony et al. 2017) and RAFT (Dong et al. 2023).
 *
 *     npm run train -- --skip-pretrain --skip-sft --skip-rlvf --skip-reward --rlhf-algorithm best-of-n
 *     npm run train -- --skip-pretrain --skip-sft --skip-reward --skip-rlhf --rlvf-algorithm best-of-n
 *
 * The simplest way to learn from rewards that there is: answer every question N times, keep the best answer, fine-tune on
 * what was kept as if a person had written it, and begin again with the better model. The loss is that of SFT, and so is
 * its strength: nothing can run away. What it cannot do is to learn from bad answers; they are only thrown away.
 *
 * The questions and rewards are those of RLHF or of RLVF: where answers can be right or wrong, a wrong one is never kept,
 * not even as the best of its group.
 *
 * Legend: Q questions an iteration, N answers a question, B rows a batch, T length of a row.
 */

import type { Rendered } from '../chat-format.ts';
import { evenParts } from '../data/batches.ts';
import { type PackedRow, packConversations } from '../data/pack.ts';
import { createTrainer, createTrainState, type StepResult } from '../nn/train-step.ts';
import { foldSeed, type NdArray } from '../tensor/index.ts';
import { type Episode, tokensOf } from './episode-rows.ts';
import { groupsOf } from './groups.ts';
import {
  type Attempt,
  compareFigures,
  countTokens,
  describeAttempts,
  type Figure,
  mean,
  meanOrZero,
  type Practice,
  resumeRandom,
} from './practice.ts';
import { keyOf } from './pretrain.ts';
import { sftBatch, sftBatchSpec, sftLoss } from './sft.ts';
import { checkStep, loadTrainState, type StageContext, type StageResult, saveTrainState } from './stage.ts';

export interface BestOfNOptions {
  readonly iterations: number;
  /** Questions an iteration, Q. */
  readonly questions: number;
  /** Answers a question, N. */
  readonly groupSize: number;
  /** Passes over the answers that an iteration keeps. */
  readonly epochs: number;
  /** Rows a gradient step, B; a row holds as many answers as fit. */
  readonly batchSize: number;
  /** Learning rate at the start; it falls to zero. */
  readonly learningRate: number;
  /** Longest answer in tokens. */
  readonly maxNewTokens: number;
  readonly temperature: number;
}

/**
 * The best answer to each question, the first where several are equally good. Wrong and unfinished ones are not examples
 * to follow: where there is nothing else, the question is left out.
 */
export function bestOfEach(attempts: readonly Attempt[], N: number): Attempt[] {
  return groupsOf(attempts, N).flatMap((group) => {
    const examples = group.filter(({ episode, correct }) => episode.response.ended && correct !== false);
    const highest = Math.max(...examples.map(({ reward }) => reward));
    return examples.filter(({ reward }) => reward === highest).slice(0, 1);
  });
}

/** @param practice questions and rewards; it is released at the end */
export async function trainBestOfN(
  { runtime, config, seed, io }: StageContext,
  startWeights: Readonly<Record<string, NdArray>>,
  practice: Practice,
  options: BestOfNOptions,
): Promise<StageResult> {
  const { iterations, questions: Q, groupSize: N, epochs, batchSize: B } = options;
  const { stage, length: T } = practice;
  const random = resumeRandom(io.resumed?.state['random'], foldSeed(seed, stage));
  const state = io.resumed ? loadTrainState(io.resumed) : createTrainState(startWeights);
  let progress: BestOfNProgress = io.resumed
    ? (io.resumed.state['progress'] as BestOfNProgress)
    : { iteration: 0, before: await practice.examine(startWeights) };
  const trainer = await createTrainer({ runtime, loss: sftLoss(config), batch: sftBatchSpec(B, T), state });

  while (progress.iteration < iterations) {
    const { iteration, before } = progress;

    // 1. Answer every question N times, and keep the best.
    const attempts = await practice.attempt(trainer.state.weights, { questions: Q, answers: N }, random);
    const best = bestOfEach(attempts, N);

    // 2. Fine-tune on what was kept, as on any conversation.
    const { rows } = packConversations(best.map(toConversation), { contextLength: T });
    const lr = options.learningRate * (1 - iteration / iterations);
    const results: StepResult[] = [];
    for (let epoch = 0; epoch < epochs; epoch++) {
      for (const part of evenParts(random.shuffle<PackedRow>(rows), B)) {
        const result = await trainer.step(sftBatch(part, keyOf(seed, trainer.state.step), B), lr);
        checkStep(stage, iteration + 1, result);
        results.push(result);
      }
    }

    const rewardsOf = (some: readonly Attempt[]): number[] => some.map(({ reward }) => reward);
    const verdicts = attempts.flatMap(({ correct }) => (correct === undefined ? [] : [Number(correct)]));
    io.log({
      step: iteration + 1,
      total: iterations,
      tokens: countTokens(attempts),
      lr,
      loss: meanOrZero(results.map(({ loss }) => loss)),
      gradientNorm: meanOrZero(results.map(({ gradientNorm }) => gradientNorm)),
      figures: {
        reward: mean(rewardsOf(attempts)),
        ...(verdicts.length > 0 && { accuracy: mean(verdicts) }),
        bestReward: meanOrZero(rewardsOf(best)),
        keptQuestions: best.length / Q,
        ...describeAttempts(attempts),
      },
    });
    progress = { iteration: iteration + 1, before };
    io.offer(() => saveTrainState(trainer.state, { progress, random: random.state }));
  }

  const { weights } = trainer.state;
  await trainer.release();
  const after = await practice.examine(weights);
  await practice.release();
  return { weights, evaluations: compareFigures(progress.before, after) };
}

/** An episode as a conversation to learn: the prompt is read, the response is learned. */
function toConversation({ episode }: { readonly episode: Episode }): Rendered {
  const ids = Int32Array.from(tokensOf(episode));
  const mask = Uint8Array.from(ids, (_, i) => Number(i >= episode.prompt.length));
  return { ids, mask };
}

/** What the loop carries from one iteration to the next besides the weights. */
interface BestOfNProgress {
  readonly iteration: number;
  /** Held-out figures of the model at the start. */
  readonly before: readonly Figure[];
}
