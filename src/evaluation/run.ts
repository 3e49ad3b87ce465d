/**
 * @file Everything that can be said of a training run: each stage's model on data that no stage has trained on.
 *
 *     npm run eval                                             # all checkpoints, side by side
 *     npm run eval -- --checkpoint checkpoints/rlvf_final      # what that stage is for
 *
 * The same checkpoints, data and seed give the same figures to the last digit.
 */

import type { Checkpoint } from '../checkpoint.ts';
import { UserError } from '../errors.ts';
import type { Text } from '../i18n.ts';
import { STAGE_NAMES, STAGES, type StageName } from '../stages/stage.ts';
import { type BenchOptions, createBench } from './bench.ts';
import type { JudgedAnswer } from './conversations.ts';
import { type Figure, withBaseline } from './figures.ts';
import { type HeldOutData, heldOutData } from './held-out.ts';
import { ABILITIES, type Measure, REFERENCES } from './measures.ts';

/** Generated questions of the examination, half arithmetic, half logic. */
const EXAMINATION_SIZE = 200;

export interface RunOptions extends BenchOptions {
  readonly measures: readonly Measure[];
  /** Whose figures are wanted; those of all checkpoints when not given. */
  readonly stages?: readonly StageName[];
  /** Questions to generate, half arithmetic, half logic. */
  readonly examinationSize?: number;
}

/** How many records something was measured on. */
export interface SetSize {
  readonly id: string;
  readonly name: Text;
  readonly size: number;
  /** Held-out records that were left out because another stage trains on them. */
  readonly leftOut: number;
}

export interface StageEvaluation {
  readonly stage: StageName;
  readonly figures: Readonly<Partial<Record<Measure, readonly Figure[]>>>;
  /** The answers to the questions asked anew, with their verdicts. */
  readonly answers?: readonly JudgedAnswer[];
}

export interface RunEvaluation {
  readonly seed: number;
  readonly sets: readonly SetSize[];
  readonly stages: readonly StageEvaluation[];
}

/** Evaluate a run's checkpoints. */
export async function evaluateRun(options: RunOptions): Promise<RunEvaluation> {
  const { checkpoints, data, seed, examinationSize = EXAMINATION_SIZE } = options;
  requireSameTokens(checkpoints);
  const held = heldOutData(data, { tasks: examinationSize, seed });
  const measures = options.measures.filter((each) => each !== 'chainOfThought' || held.sums.length > 0);
  const present = STAGES.filter((stage) => checkpoints[stage]);
  const wanted = options.stages ?? present;
  const bench = createBench(options, held);
  const evaluations: StageEvaluation[] = [];
  for (const stage of wanted) {
    const reference = REFERENCES[stage];
    const figures: Partial<Record<Measure, readonly Figure[]>> = {};
    for (const measure of ABILITIES[stage].filter((each) => measures.includes(each))) {
      const own = await bench.measure(stage, measure);
      const compared = reference && checkpoints[reference] && ABILITIES[reference].includes(measure);
      figures[measure] = compared
        ? withBaseline(own, await bench.measure(reference, measure), reference, STAGE_NAMES[reference])
        : own;
    }
    const answers = bench.answersOf(stage);
    evaluations.push({ stage, figures, ...(answers && answers.length > 0 ? { answers } : {}) });
  }
  return { seed, sets: setsOf(held, data.sft.own ? undefined : options.questions), stages: evaluations };
}

/** What was measured on how much. */
function setsOf(held: HeldOutData, questions: BenchOptions['questions'] | undefined): SetSize[] {
  const { documents, chats, pairs, prompts, tasks, sums, leftOut } = held;
  const set = (id: string, zh: string, en: string, size: number, left = 0): SetSize => ({
    id,
    name: { zh, en },
    size,
    leftOut: left,
  });
  return [
    set('documents', '篇文本', 'documents', documents.heldOut.length),
    set('chats', '段对话', 'conversations', chats.length, leftOut.chats),
    set('identity', '个身份问题', 'questions about itself', questions?.identity.length ?? 0),
    set('paraphrases', '个已知问题的新问法', 'paraphrases', questions?.paraphrases.length ?? 0),
    set('pairs', '对偏好', 'pairs', pairs.length, leftOut.pairs),
    set('prompts', '条提问', 'prompts', prompts.length),
    set('tasks', '道可验证的题目', 'checked questions', tasks.length, leftOut.tasks),
    set('sums', '道加减法', 'sums and differences', sums.length),
  ];
}

/** Models are compared token by token, and score each other's tokens: they must be of one training. */
function requireSameTokens(checkpoints: RunOptions['checkpoints']): void {
  const keys = Object.values(checkpoints).map(({ config, tokenizer }: Checkpoint) =>
    JSON.stringify([Object.entries(config).sort(), tokenizer.toJson()]),
  );
  if (new Set(keys).size <= 1) return;
  throw new UserError({
    zh: '这些检查点的 config.json 或 tokenizer.json 不同，不是同一次训练的结果，无法放在一起比较；请用 --checkpoint 单独评测其中一个，或把它们分放在不同的文件夹',
    en: 'the checkpoints differ in config.json or tokenizer.json: they are not of one training and cannot be compared; keep those of each training in a folder of their own',
  });
}
