/** @file What verifiable rewards are for: right answers to questions whose facts no training mentions. */

import type { Message } from '../chat-format.ts';
import type { Checkpoint } from '../checkpoint.ts';
import type { Text } from '../i18n.ts';
import { GREEDY, PLAIN_SAMPLING, type SamplingOptions } from '../sampling.ts';
import type { Runtime } from '../tensor/index.ts';
import { verifierFor } from '../verifiers.ts';
import { type ExaminationTask, SIZES, sizeOf } from './examination.ts';
import { type Baseline, type Figure, figure } from './figures.ts';
import { meanOf, shareOf } from './intervals.ts';
import { passAtK } from './pass-at-k.ts';
import { fittingPrompts, respond, textOf } from './responses.ts';

/** Questions of each type that are sampled (all are answered greedily): sampling takes most of the time. */
const SAMPLED = 60;
/** Sampled answers to each of them, and the k of pass@k. */
const SAMPLES = 8;
const K = [1, 4, 8] as const;

/** How a model did on one question. */
export interface TaskResult {
  readonly task: ExaminationTask;
  /** Whether the greedy answer is right. */
  readonly greedy: boolean;
  /** How many of the sampled answers are right, where there are any. */
  readonly right?: number;
}

/** Answer every question greedily once, and the first of each type `SAMPLES` times by sampling. */
export async function answerExamination(options: {
  readonly runtime: Runtime;
  readonly checkpoint: Checkpoint;
  readonly tasks: readonly ExaminationTask[];
  readonly maxNewTokens: number;
  readonly temperature: number;
  readonly seed: number;
}): Promise<TaskResult[]> {
  const { checkpoint, maxNewTokens, temperature } = options;
  const promptOf = ({ prompt }: ExaminationTask): Message[] => [{ role: 'user', content: prompt }];
  const tasks = options.tasks.filter(
    (task) => fittingPrompts(checkpoint, [promptOf(task)], maxNewTokens).length > 0,
  );
  const areRight = async (
    asked: readonly ExaminationTask[],
    sampling: SamplingOptions,
  ): Promise<boolean[]> => {
    const episodes = await respond({ ...options, prompts: asked.map(promptOf), sampling });
    return asked.map(({ type, expected }, i) =>
      verifierFor(type).isCorrect(textOf(checkpoint, episodes[i]), expected),
    );
  };
  const greedy = await areRight(tasks, GREEDY);
  const place = new Map(firstOfEachType(tasks).map((task, i) => [task, i]));
  const repeated = [...place.keys()].flatMap((task) => Array.from({ length: SAMPLES }, () => task));
  const sampled = await areRight(repeated, { ...PLAIN_SAMPLING, temperature });
  return tasks.map((task, i) => {
    const at = place.get(task);
    if (at === undefined) return { task, greedy: greedy[i] };
    const right = sampled.slice(at * SAMPLES, (at + 1) * SAMPLES).filter(Boolean).length;
    return { task, greedy: greedy[i], right };
  });
}

function firstOfEachType(tasks: readonly ExaminationTask[]): ExaminationTask[] {
  const types = [...new Set(tasks.map(({ type }) => type))];
  return types.flatMap((each) => tasks.filter(({ type }) => type === each).slice(0, SAMPLED));
}

const TYPE_NAMES: Readonly<Record<string, Text>> = {
  math: { zh: '算术', en: 'arithmetic' },
  logic: { zh: '逻辑', en: 'logic' },
};

/**
 * Greedy accuracy by type and size, and pass@k.
 * @param reference how the SFT model did on the same questions, for the change
 */
export function taskFigures(
  results: readonly TaskResult[],
  reference: readonly TaskResult[] | undefined,
  seed: number,
): Figure[] {
  const types = [...new Set(results.map(({ task }) => task.type))];
  return types.flatMap((type) => {
    const chosen = [...results.keys()].filter((i) => results[i].task.type === type);
    const own = chosen.map((i) => results[i]);
    const { zh, en } = TYPE_NAMES[type] ?? { zh: type, en: type };
    const share = (id: string, name: Text, part: readonly TaskResult[]): Figure =>
      figure(`${type}-${id}`, name, 'share', shareOf(part.map(({ greedy }) => greedy)), {
        better: 'higher',
        baselines: [constantAnswer(part)],
      });
    const figures = [share('greedy', { zh: `${zh} 贪心正确率`, en: `${en}, greedy` }, own)];
    for (const size of SIZES) {
      const part = own.filter(({ task }) => sizeOf(task) === size.id);
      if (part.length > 0) figures.push(share(size.id, { zh: `　${size.zh}`, en: `  ${size.en}` }, part));
    }
    if (reference) {
      const changes = chosen.map((i) => Number(results[i].greedy) - Number(reference[i].greedy));
      const name = { zh: `${zh} 相对 SFT 的变化`, en: `${en}, change from SFT` };
      figures.push(figure(`${type}-change`, name, 'share', meanOf(changes, seed), { better: 'higher' }));
    }
    for (const k of K) {
      const passes = own.flatMap(({ right }) => (right === undefined ? [] : [passAtK(SAMPLES, right, k)]));
      const name = { zh: `${zh} pass@${k}`, en: `${en}, pass@${k}` };
      figures.push(figure(`${type}-pass-${k}`, name, 'share', meanOf(passes, seed), { better: 'higher' }));
    }
    return figures;
  });
}

/** The baseline of giving the same answer to every question: the one that is right most often. */
function constantAnswer(results: readonly TaskResult[]): Baseline {
  const counts = new Map<string, number>();
  for (const { task } of results) counts.set(task.expected, (counts.get(task.expected) ?? 0) + 1);
  return {
    name: { zh: '总答同一个', en: 'always the same answer' },
    value: Math.max(...counts.values()) / results.length,
  };
}
