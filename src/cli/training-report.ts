/** @file What a training run shows: live progress, figures and samples after each stage, the table at the end. */

import { renderPrompt } from '../chat-format.ts';
import type { Checkpoint } from '../checkpoint.ts';
import { createDecoder } from '../decoder.ts';
import { formatDuration, formatFigure, table } from '../format-text.ts';
import { rawPrompt } from '../generate.ts';
import { type Text, text } from '../i18n.ts';
import type { PipelineUi, StageSummary } from '../pipeline.ts';
import type { Recipe, RlhfAlgorithm, RlvfAlgorithm } from '../recipes.ts';
import { rollout } from '../rollout.ts';
import { GREEDY, PLAIN_SAMPLING } from '../sampling.ts';
import { createScorer } from '../scorer.ts';
import { renderForScoring } from '../stages/pairs.ts';
import { type Evaluation, STAGE_NAMES, STAGES, type StageName } from '../stages/stage.ts';
import { createRandom, type Runtime } from '../tensor/index.ts';
import { SPECIAL } from '../tokenizer.ts';
import { createProgress, type Progress } from './progress.ts';

const ALGORITHM_NAMES: Readonly<Record<RlhfAlgorithm | RlvfAlgorithm, string>> = {
  ppo: 'PPO',
  dpo: 'DPO',
  reinforce: 'REINFORCE',
  grpo: 'GRPO',
  'best-of-n': 'best-of-N',
};

/** The methods of the stages that have several. */
type Algorithms = Pick<Recipe, 'rlhfAlgorithm' | 'rlvfAlgorithm'>;

/** What a stage is called, with its method where there are several. */
export function stageName(stage: StageName, algorithms: Algorithms): string {
  const name = text(STAGE_NAMES[stage]);
  if (stage !== 'rlhf' && stage !== 'rlvf') return name;
  const algorithm = ALGORITHM_NAMES[algorithms[`${stage}Algorithm`]];
  return text({ zh: `${name} ${algorithm}`, en: `${name} (${algorithm})` });
}

/** `2/5 SFT` */
function titleOf(stage: StageName, algorithms: Algorithms): string {
  return `${STAGES.indexOf(stage) + 1}/${STAGES.length} ${stageName(stage, algorithms)}`;
}

/** Shows what happens as it happens. */
export interface TrainingReport extends Omit<PipelineUi, 'interrupted'> {
  /** Leave the line of progress as it is: the stage ended, or failed. */
  end(): void;
}

export function createReport(runtime: Runtime, algorithms: Algorithms): TrainingReport {
  const stageTitle = (stage: StageName): string => titleOf(stage, algorithms);
  let progress: Progress | undefined;
  const end = (): void => {
    progress?.end();
    progress = undefined;
  };
  return {
    end,
    stageStarts(stage, at) {
      if (at === undefined) return;
      print({
        zh: `${stageTitle(stage)}：从第 ${at} 步接着训练`,
        en: `${stageTitle(stage)}: going on from step ${at}`,
      });
    },
    step(stage, { step, total, loss, tokensPerSecond, figures = {} }) {
      // The clock starts when the first step is done: before it, graphs were compiled.
      progress ??= createProgress({ stage: stageTitle(stage), total, start: step });
      progress.update({ step, loss, tokensPerSecond, figures: shownFigures(figures) });
    },
    note: (message) => (progress ? progress.log(text(message)) : print(message)),
    async stageEnds({ stage, outcome, evaluations, stoppedEarly }, checkpoint) {
      end();
      if (outcome === 'finished before') {
        print({ zh: `${stageTitle(stage)}：之前已完成`, en: `${stageTitle(stage)}: finished before` });
      }
      if (stoppedEarly) print(stoppedEarly);
      for (const evaluation of evaluations) console.log(`  ${describeEvaluation(evaluation)}`);
      if (outcome !== 'trained') return;
      if (stage === 'reward') await printScores(runtime, checkpoint);
      else await printSamples(runtime, checkpoint);
    },
  };
}

export function print(message: Text): void {
  console.log(text(message));
}

/** The figures worth a place on the progress line. */
function shownFigures(figures: Readonly<Record<string, number>>): Record<string, string> {
  const names: Record<string, Text> = {
    accuracy: { zh: '正确率', en: 'accuracy' },
    reward: { zh: '奖励', en: 'reward' },
    kl: { zh: 'KL', en: 'KL' },
  };
  return Object.fromEntries(
    Object.entries(names)
      .filter(([name]) => name in figures)
      .map(([name, label]) => [text(label), figures[name].toFixed(2)]),
  );
}

export function describeEvaluation({ name, before, after, unit }: Evaluation): string {
  return `${text(name)}: ${formatFigure(before, unit)} → ${formatFigure(after, unit)}`;
}

/** What each stage changed on the held-out data. */
export function printSummary(summaries: readonly StageSummary[], algorithms: Algorithms): void {
  const head = [
    { zh: '阶段', en: 'Stage' },
    { zh: '留出数据上的指标', en: 'On held-out data' },
    { zh: '之前', en: 'Before' },
    { zh: '之后', en: 'After' },
    { zh: '用时', en: 'Time' },
  ].map(text);
  const rows = summaries.flatMap(({ stage, outcome, seconds, evaluations }) => {
    const time = outcome === 'skipped' ? text({ zh: '跳过', en: 'skipped' }) : formatDuration(seconds);
    const title = titleOf(stage, algorithms);
    if (evaluations.length === 0) return [[title, '–', '–', '–', time]];
    return evaluations.map(({ name, before, after, unit }, i) => [
      i === 0 ? title : '',
      text(name),
      formatFigure(before, unit),
      formatFigure(after, unit),
      i === 0 ? time : '',
    ]);
  });
  console.log(`\n${table([head, ...rows])}\n`);
}

const SCORED_QUESTION = '我今天心情不好。';
const SCORED_ANSWERS = [
  '听起来你今天不太顺心。愿意的话，可以和我说说发生了什么。',
  '哦。',
  '关我什么事，别来烦我。',
];

/** Print how the reward model scores a kind, a curt and a rude answer. */
async function printScores(
  runtime: Runtime,
  { params: weights, config, tokenizer }: Checkpoint,
): Promise<void> {
  const sequences = SCORED_ANSWERS.map((answer) =>
    renderForScoring(tokenizer, [{ role: 'user', content: SCORED_QUESTION }], answer),
  );
  const length = Math.max(...sequences.map((sequence) => sequence.length));
  const scorer = await createScorer({ runtime, config, weights, length });
  const rewards = await scorer.score(sequences);
  await scorer.release();
  SCORED_ANSWERS.forEach((answer, i) => {
    console.log(`  ${rewards[i].toFixed(2).padStart(6)}  ${SCORED_QUESTION} → ${answer}`);
  });
}

const SAMPLE_QUESTIONS = ['你好', '你是谁？', '天空为什么是蓝色的？', '27+15等于多少？'];
const SAMPLE_BEGINNINGS = ['水是', '电脑里的'];

/** Print what the model writes now: continuations after pretraining, answers after the later stages. */
export async function printSamples(
  runtime: Runtime,
  { params, config, tokenizer, stage }: Checkpoint,
): Promise<void> {
  const isBase = stage === 'pretrain';
  const texts = isBase ? SAMPLE_BEGINNINGS : SAMPLE_QUESTIONS;
  const prompts = texts.map((content) =>
    isBase ? rawPrompt(tokenizer, content) : renderPrompt(tokenizer, [{ role: 'user', content }]),
  );
  const decoder = await createDecoder({
    runtime,
    config,
    weights: params,
    batchSize: prompts.length,
    maxLength: 128,
  });
  const responses = await rollout(decoder, prompts, {
    maxNewTokens: 60,
    sampling: isBase ? { ...PLAIN_SAMPLING, temperature: 0.7, topK: 20, topP: 0.9 } : GREEDY,
    random: createRandom(1),
    stopTokens: [SPECIAL.imEnd, SPECIAL.eos],
  });
  await decoder.release();
  texts.forEach((question, i) => {
    const answer = tokenizer.decode(responses[i].tokens, { skipSpecial: true }).replaceAll('\n', ' ');
    console.log(isBase ? `  ${question}${answer}` : `  ${question} → ${answer}`);
  });
}
