/** @file Takes the measures of a run's models, each once, whoever asks for it first. */

import type { Checkpoint } from '../checkpoint.ts';
import type { SourceText } from '../data/datasets.ts';
import type { Text } from '../i18n.ts';
import type { Recipe } from '../recipes.ts';
import { STAGE_NAMES, type StageName } from '../stages/stage.ts';
import { foldSeed, type Runtime } from '../tensor/index.ts';
import { answerSums, chainOfThoughtFigures } from './chain-of-thought.ts';
import { evaluateConversations, type JudgedAnswer } from './conversations.ts';
import type { Figure } from './figures.ts';
import type { HeldOutData } from './held-out.ts';
import { openJudge } from './judge.ts';
import type { EvaluationQuestions } from './judging.ts';
import { MEASURE_NAMES, type Measure } from './measures.ts';
import { type PolicyOptions, policyFigures, type ScoredResponses, sampleResponses } from './policy.ts';
import { evaluatePreferences } from './preferences.ts';
import { answerLength } from './responses.ts';
import { answerExamination, type TaskResult, taskFigures } from './tasks.ts';
import { evaluateText, type TextBaselines, textBaselines } from './text.ts';

export interface BenchOptions {
  readonly runtime: Runtime;
  /** The models that are evaluated, and those that they are compared with or scored by. */
  readonly checkpoints: Readonly<Partial<Record<StageName, Checkpoint>>>;
  readonly data: Readonly<Record<'pretrain' | 'sft' | 'reward' | 'rlvf', SourceText>>;
  readonly questions: EvaluationQuestions;
  /** How the model was trained: the judge likewise, and answers are as long. */
  readonly recipe: Pick<Recipe, 'reward' | 'rlhf' | 'rlvf'>;
  readonly judgeFolder: string;
  readonly seed: number;
  /** Is told what is being done. */
  readonly say?: (message: Text) => void;
}

/** Measures a stage's model when first asked. */
export interface Bench {
  measure(stage: StageName, measure: Measure): Promise<readonly Figure[]>;
  answersOf(stage: StageName): readonly JudgedAnswer[] | undefined;
}

export function createBench(options: BenchOptions, held: HeldOutData): Bench {
  const { runtime, checkpoints, data, recipe, seed, say = () => {} } = options;
  const need = (stage: StageName): Checkpoint => checkpoints[stage]!;
  const answers = new Map<StageName, readonly JudgedAnswer[]>();
  // Each is made once, whoever asks first.
  const baselines = once((): TextBaselines => {
    const { tokenizer } = Object.values(checkpoints)[0];
    return textBaselines(tokenizer, held.documents, foldSeed(seed, 'text'));
  });
  const policyOptions = once(async (): Promise<PolicyOptions | undefined> => {
    if (!checkpoints.sft || !checkpoints.reward) {
      say({
        zh: '没有 SFT 或奖励模型的检查点，无法比较 RLHF 的回答。',
        en: 'Without the checkpoints of SFT and the reward model, responses of RLHF cannot be compared.',
      });
      return undefined;
    }
    const { sft, reward } = checkpoints;
    const pairs = held.judgePairs;
    const folder = options.judgeFolder;
    const judge = await openJudge({ runtime, folder, sft, pairs, recipe: recipe.reward, seed, say });
    const { temperature } = recipe.rlhf;
    const maxNewTokens = answerLength(sft, recipe.rlhf.maxNewTokens);
    const prompts = held.prompts;
    return { runtime, reward, judge, prompts, maxNewTokens, temperature, seed: foldSeed(seed, 'policy') };
  });
  const responses = onceEach(
    async (stage): Promise<ScoredResponses> => sampleResponses(need(stage), (await policyOptions())!),
  );
  const examined = onceEach((stage): Promise<TaskResult[]> => {
    const checkpoint = need(stage);
    const { temperature } = recipe.rlvf;
    const maxNewTokens = answerLength(checkpoint, recipe.rlvf.maxNewTokens);
    const { tasks } = held;
    const taskSeed = foldSeed(seed, 'tasks');
    return answerExamination({ runtime, checkpoint, tasks, maxNewTokens, temperature, seed: taskSeed });
  });

  const measures: Readonly<Record<Measure, (stage: StageName) => Promise<readonly Figure[]>>> = {
    async text(stage) {
      const documents = held.documents.heldOut;
      const textSeed = foldSeed(seed, 'text');
      if (documents.length === 0) return [];
      const checkpoint = need(stage);
      return evaluateText({ runtime, checkpoint, documents, baselines: baselines(), seed: textSeed });
    },
    async conversations(stage) {
      const { chats, known } = held;
      const questions = data.sft.own ? undefined : options.questions;
      const checkpoint = need(stage);
      const result = await evaluateConversations({
        runtime,
        checkpoint,
        chats,
        questions,
        known,
        seed: foldSeed(seed, 'conversations'),
      });
      answers.set(stage, result.answers);
      return result.figures;
    },
    preferences: (stage) =>
      evaluatePreferences({
        runtime,
        checkpoint: need(stage),
        pairs: held.pairs,
        seed: foldSeed(seed, 'preferences'),
      }),
    async policy(stage) {
      const bench = await policyOptions();
      if (!bench) return [];
      const own = await responses(stage);
      if (stage === 'sft') return policyFigures(own, bench, need(stage));
      const reference = { checkpoint: need('sft'), responses: await responses('sft') };
      return policyFigures(own, bench, need(stage), reference);
    },
    async tasks(stage) {
      const results = await examined(stage);
      const reference = stage !== 'sft' && checkpoints.sft ? await examined('sft') : undefined;
      return taskFigures(results, reference, foldSeed(seed, 'tasks'));
    },
    async chainOfThought(stage) {
      const { sums: tasks } = held;
      return chainOfThoughtFigures(await answerSums({ runtime, checkpoint: need(stage), tasks }));
    },
  };
  const measured = new Map<string, Promise<readonly Figure[]>>();
  return {
    measure(stage, measure) {
      const key = `${stage} ${measure}`;
      let figures = measured.get(key);
      if (!figures) {
        say({
          zh: `评测 ${STAGE_NAMES[stage].zh}：${MEASURE_NAMES[measure].zh}`,
          en: `${STAGE_NAMES[stage].en}: ${MEASURE_NAMES[measure].en}`,
        });
        figures = measures[measure](stage);
        measured.set(key, figures);
      }
      return figures;
    },
    answersOf: (stage) => answers.get(stage),
  };
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

function onceEach<T>(make: (stage: StageName) => T): (stage: StageName) => T {
  const made = new Map<StageName, T>();
  return (stage) => {
    if (!made.has(stage)) made.set(stage, make(stage));
    return made.get(stage)!;
  };
}
