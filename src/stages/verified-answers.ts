/** @file Practice for RLVF: questions, the answers that a policy samples to them, and the verdicts of the verifiers. */

import { renderPrompt } from '../chat-format.ts';
import type { ModelConfig } from '../config.ts';
import type { Task } from '../data/formats.ts';
import { createDecoder } from '../decoder.ts';
import { rollout } from '../rollout.ts';
import { GREEDY, PLAIN_SAMPLING, type SamplingOptions } from '../sampling.ts';
import { createRandom, type NdArray, type Random, type Runtime } from '../tensor/index.ts';
import { SPECIAL, type Tokenizer } from '../tokenizer.ts';
import { verifierFor } from '../verifiers.ts';
import { type Attempt, type Figure, mean, type Practice } from './practice.ts';
import type { SftData } from './sft.ts';
import { requireFitting, type StageContext } from './stage.ts';

export interface RlvfData {
  /** Questions of an iteration. */
  readonly draw: (count: number, random: Random) => readonly Task[];
  readonly heldOut: readonly Task[];
  /** What fine-tuning taught, to rehearse. */
  readonly rehearsal?: SftData;
}

/** @throws UserError where no question leaves room for an answer */
export async function createVerifiedPractice(
  { runtime, config, tokenizer, seed }: StageContext,
  data: RlvfData,
  options: {
    /** Answers that are written at a time. */
    readonly batchSize: number;
    readonly maxNewTokens: number;
    readonly temperature: number;
  },
): Promise<Practice> {
  const { batchSize, maxNewTokens, temperature } = options;
  const room = config.contextLength - maxNewTokens;
  const lengthOf = (task: Task): number => promptOf(tokenizer, task).length;
  const usual = data
    .draw(2000, createRandom(0))
    .map(lengthOf)
    .filter((length) => length <= room)
    .sort((a, b) => a - b);
  requireFitting(
    usual.length,
    { zh: 'RLVF 题目（--data rlvf=…）', en: 'the RLVF tasks (--data rlvf=…)' },
    room,
  );
  const heldOut = data.heldOut.filter((task) => lengthOf(task) <= room);
  // The few longest questions are not worth that every row is as long as they are: such are drawn again.
  const length = usual[Math.floor(0.95 * usual.length)] + maxNewTokens;
  const drawFitting = (count: number, stream: Random): Task[] => {
    const fits = (task: Task): boolean => lengthOf(task) + maxNewTokens <= length;
    const drawn: Task[] = [];
    while (drawn.length < count) drawn.push(...data.draw(count - drawn.length, stream).filter(fits));
    return drawn;
  };
  const plain = { ...PLAIN_SAMPLING, temperature };
  const answer = (
    weights: Readonly<Record<string, NdArray>>,
    tasks: readonly Task[],
    sampling: SamplingOptions,
    random: Random,
  ): Promise<VerifiedAnswer[]> => {
    const longest = Math.max(...tasks.map(lengthOf)) + maxNewTokens;
    const model = { runtime, config, tokenizer, weights };
    return answerTasks({ ...model, tasks, sampling, random, maxNewTokens, batchSize, length: longest });
  };

  return {
    stage: 'rlvf',
    length,
    attempt(weights, { questions, answers }, random) {
      const tasks = drawFitting(questions, random).flatMap((task) =>
        Array.from({ length: answers }, () => task),
      );
      return answer(weights, tasks, plain, random);
    },
    /** Accuracy by type: of the best guess (greedy), and of an answer drawn at random, which is what is trained. */
    async examine(weights) {
      if (heldOut.length === 0) return [];
      const greedy = accuracyByType(await answer(weights, heldOut, GREEDY, createRandom(seed)));
      const sampled = accuracyByType(await answer(weights, heldOut, plain, createRandom(seed)));
      return Object.keys(greedy).flatMap((type): Figure[] => [
        {
          name: { zh: `留出题目正确率（${type}）`, en: `held-out accuracy (${type})` },
          value: greedy[type],
          unit: 'share',
        },
        {
          name: { zh: `随机采样时的正确率（${type}）`, en: `the same when sampled (${type})` },
          value: sampled[type],
          unit: 'share',
        },
      ]);
    },
    release: async () => {},
  };
}

export interface VerifiedAnswer extends Attempt {
  readonly task: Task;
  readonly text: string;
  readonly correct: boolean;
}

/** Answer each task once and let its verifier judge. */
export async function answerTasks(options: {
  readonly runtime: Runtime;
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
