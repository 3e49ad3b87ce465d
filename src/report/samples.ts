/** @file What the models of a run write: the same prompts answered by every stage, and what a verifier paid for. */

import { renderPrompt } from '../chat-format.ts';
import type { Checkpoint } from '../checkpoint.ts';
import type { Task } from '../data/formats.ts';
import { createDecoder } from '../decoder.ts';
import { answerLength, fittingPrompts } from '../evaluation/responses.ts';
import { rawPrompt } from '../generate.ts';
import { rollout } from '../rollout.ts';
import { GREEDY, PLAIN_SAMPLING } from '../sampling.ts';
import { answerTasks, type VerifiedAnswer } from '../stages/verified-answers.ts';
import { createRandom, type Runtime } from '../tensor/index.ts';
import { SPECIAL } from '../tokenizer.ts';

/** Of each kind that training is about, one or two. */
export const PROMPTS = [
  '你好',
  '你是谁？',
  '天空为什么是蓝色的？',
  '中国的首都是哪里？',
  '我今天心情不好。',
  '给我讲一个笑话吧。',
  '怎样才能睡得更好？',
  '27+15等于多少？',
  '小明有12个苹果，吃了5个，还剩几个？',
  '所有的猫都怕水。小花是猫。小花怕水吗？',
] as const;

const MAX_NEW_TOKENS = 64;

/**
 * Greedy answers, all in one batch. A model that was only pretrained goes on with the prompt as a text. A prompt that
 * leaves no room for an answer gets an empty one.
 */
export async function answerGreedily(
  runtime: Runtime,
  checkpoint: Checkpoint,
  prompts: readonly string[],
): Promise<string[]> {
  const { config, params: weights, tokenizer, stage } = checkpoint;
  const maxNewTokens = answerLength(checkpoint, MAX_NEW_TOKENS);
  const fits = (content: string): boolean =>
    fittingPrompts(checkpoint, [[{ role: 'user', content }]], maxNewTokens).length > 0;
  const asked = prompts.filter(fits);
  if (asked.length === 0) return prompts.map(() => '');
  const tokens = asked.map((content) =>
    stage === 'pretrain'
      ? rawPrompt(tokenizer, content)
      : renderPrompt(tokenizer, [{ role: 'user', content }]),
  );
  const maxLength = Math.max(...tokens.map(({ length }) => length)) + maxNewTokens;
  const decoder = await createDecoder({ runtime, config, weights, batchSize: asked.length, maxLength });
  const responses = await rollout(decoder, tokens, {
    maxNewTokens,
    sampling: GREEDY,
    random: createRandom(1),
    stopTokens: [SPECIAL.imEnd, SPECIAL.eos],
  });
  await decoder.release();
  const written = responses.map((each) => tokenizer.decode(each.tokens, { skipSpecial: true }));
  return prompts.map((prompt) => written[asked.indexOf(prompt)] ?? '');
}

/** Tasks that are answered several times each, and how often; all in one batch. */
const TASKS = 12;
const SAMPLES = 4;

/** A task with sampled answers and their rewards. */
export interface RolloutGroup {
  readonly task: Task;
  readonly answers: readonly VerifiedAnswer[];
}

/** Sampled answers to held-out tasks of all types in turn, as RLVF sees them. */
export async function sampleRollouts(
  runtime: Runtime,
  checkpoint: Checkpoint,
  heldOut: readonly Task[],
): Promise<RolloutGroup[]> {
  const { config, params: weights, tokenizer } = checkpoint;
  const maxNewTokens = answerLength(checkpoint, MAX_NEW_TOKENS);
  const lengthOf = ({ prompt }: Task): number =>
    renderPrompt(tokenizer, [{ role: 'user', content: prompt }]).length;
  const room = config.contextLength - maxNewTokens;
  const tasks = ofAllTypes(
    heldOut.filter((task) => lengthOf(task) <= room),
    TASKS,
  );
  if (tasks.length === 0) return [];
  const answers = await answerTasks({
    ...{ runtime, config, tokenizer, weights, maxNewTokens },
    tasks: tasks.flatMap((task) => Array.from({ length: SAMPLES }, () => task)),
    sampling: { ...PLAIN_SAMPLING, temperature: 1 },
    random: createRandom(1),
    batchSize: SAMPLES * tasks.length,
    length: Math.max(...tasks.map(lengthOf)) + maxNewTokens,
  });
  return tasks.map((task, i) => ({ task, answers: answers.slice(i * SAMPLES, (i + 1) * SAMPLES) }));
}

/** `count` tasks, of each type as many as of the others, spread over all that there are. */
function ofAllTypes(tasks: readonly Task[], count: number): Task[] {
  const types = [...new Set(tasks.map(({ type }) => type))];
  const share = Math.ceil(count / types.length);
  const chosen = types.flatMap((type) => {
    const own = tasks.filter((task) => task.type === type);
    return Array.from(
      { length: Math.min(share, own.length) },
      (_, i) => own[Math.floor((i * own.length) / share)],
    );
  });
  return [...new Set(chosen)].slice(0, count);
}

/** `count` groups to look at: good, bad and mixed ones, as far as there are such. The mixed ones are what RLVF learns from. */
export function instructive(groups: readonly RolloutGroup[], count: number): RolloutGroup[] {
  const rightOf = ({ answers }: RolloutGroup): number => answers.filter(({ correct }) => correct).length;
  const allRight = groups.filter((group) => rightOf(group) === group.answers.length);
  const allWrong = groups.filter((group) => rightOf(group) === 0);
  const mixed = groups.filter((group) => !allRight.includes(group) && !allWrong.includes(group));
  const first = new Set([...allRight.slice(0, 1), ...allWrong.slice(0, 1)]);
  const order = [...first, ...[...mixed, ...allWrong, ...allRight].filter((group) => !first.has(group))];
  const chosen = order.slice(0, count);
  return [...chosen].sort((a, b) => rightOf(b) - rightOf(a));
}
