/** @file What `npm start` and `npm run train` share: options, live progress, samples, and the table at the end. */

import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { renderPrompt } from '../chat-format.ts';
import type { Checkpoint } from '../checkpoint.ts';
import { PRESETS, type PresetName } from '../config.ts';
import type { SourceText } from '../data/datasets.ts';
import { createDecoder } from '../decoder.ts';
import { UserError } from '../errors.ts';
import { readTextFile } from '../files.ts';
import { rawPrompt } from '../generate.ts';
import { type Text, text } from '../i18n.ts';
import { Interrupted, type PipelineUi, runPipeline, type StageSummary } from '../pipeline.ts';
import { RECIPES, type Recipe } from '../recipes.ts';
import { rollout } from '../rollout.ts';
import { GREEDY } from '../sampling.ts';
import { createScorer, renderForScoring } from '../stages/reward-model.ts';
import { type Evaluation, STAGES, type StageName } from '../stages/stage.ts';
import { createRandom } from '../tensor/random.ts';
import type { Device } from '../tensor/runtime/node.ts';
import type { Runtime } from '../tensor/runtime/onnx-session.ts';
import { SPECIAL } from '../tokenizer.ts';
import { openRuntime } from './device.ts';
import { estimateSeconds } from './estimate.ts';
import { choice, integer, number } from './options.ts';
import { createProgress, formatDuration, type Progress, table } from './progress.ts';

/** Options of a training run, as commander names them. */
export interface TrainingOptions {
  readonly preset: PresetName;
  readonly skipPretrain?: boolean;
  readonly skipSft?: boolean;
  readonly skipReward?: boolean;
  readonly skipRlhf?: boolean;
  readonly skipRlvf?: boolean;
  readonly pretrainEpochs?: number;
  readonly sftEpochs?: number;
  readonly rewardEpochs?: number;
  readonly rlhfEpisodes?: number;
  readonly rlvfIterations?: number;
  readonly batchSize?: number;
  readonly lr?: number;
  readonly seed: number;
  readonly device: Device;
  readonly threads: number;
  readonly out: string;
  readonly data: readonly string[];
  readonly restart?: boolean;
  readonly saveInterval: number;
}

export const STAGE_NAMES: Readonly<Record<StageName, Text>> = {
  pretrain: { zh: '1/5 预训练', en: '1/5 Pretrain' },
  sft: { zh: '2/5 监督微调', en: '2/5 SFT' },
  reward: { zh: '3/5 奖励模型', en: '3/5 Reward model' },
  rlhf: { zh: '4/5 强化学习 PPO', en: '4/5 RLHF (PPO)' },
  rlvf: { zh: '5/5 可验证奖励', en: '5/5 RLVF' },
};

/** Add the options of a training run to a command. */
export function addTrainingOptions(command: Command): Command {
  const whole = integer({ min: 1 });
  const option = (
    flags: string,
    description: Text,
    parse: (value: string, previous: never) => unknown,
    fallback?: unknown,
  ): void => {
    command.option(
      flags,
      text(description),
      parse as (value: string, previous: unknown) => unknown,
      fallback,
    );
  };
  option(
    '--preset <name>',
    { zh: '模型规模：nano、mini 或 small', en: 'size of the model: nano, mini or small' },
    choice(Object.keys(PRESETS) as PresetName[]),
    'mini',
  );
  for (const stage of STAGES) {
    command.option(
      `--skip-${stage}`,
      text({
        zh: `跳过${text(STAGE_NAMES[stage]).slice(4)}，使用已有的检查点`,
        en: `skip ${stage} and use its checkpoint`,
      }),
    );
  }
  const lengths: readonly [flags: string, description: Text, of: (recipe: Recipe) => number][] = [
    [
      '--pretrain-epochs <n>',
      { zh: '预训练遍数', en: 'passes over the pretraining text' },
      (r) => r.pretrain.epochs,
    ],
    ['--sft-epochs <n>', { zh: '监督微调遍数', en: 'passes over the conversations' }, (r) => r.sft.epochs],
    [
      '--reward-epochs <n>',
      { zh: '奖励模型遍数', en: 'passes over the preference pairs' },
      (r) => r.reward.epochs,
    ],
    [
      '--rlhf-episodes <n>',
      { zh: 'RLHF 采样的回答总数', en: 'responses sampled by RLHF in all' },
      (r) => r.rlhf.episodes,
    ],
    ['--rlvf-iterations <n>', { zh: 'RLVF 迭代次数', en: 'iterations of RLVF' }, (r) => r.rlvf.iterations],
  ];
  for (const [flags, { zh, en }, of] of lengths) {
    const defaults = Object.entries(RECIPES).map(([name, recipe]) => `${name} ${of(recipe)}`);
    const description = {
      zh: `${zh}（默认：${defaults.join('，')}）`,
      en: `${en} (default: ${defaults.join(', ')})`,
    };
    option(flags, description, whole);
  }
  option(
    '--batch-size <n>',
    { zh: '预训练、微调和奖励模型的批大小', en: 'batch size of pretraining, SFT and the reward model' },
    whole,
  );
  option(
    '--lr <x>',
    {
      zh: '所有要训练的阶段的峰值学习率（默认各阶段不同）',
      en: 'peak learning rate of every stage that trains (each has its own default)',
    },
    number({ above: 0, max: 1 }),
  );
  option(
    '--data <[stage=]file...>',
    {
      zh: '自己的数据：阶段=文件（pretrain、sft、reward、rlvf），或只写文件名，按内容判断',
      en: 'your own data: stage=file (pretrain, sft, reward, rlvf), or a file alone, told by its content',
    },
    collect,
    [],
  );
  option('--seed <n>', { zh: '随机种子', en: 'random seed' }, integer({ min: 0, max: 2 ** 31 - 1 }), 1);
  option(
    '--device <name>',
    { zh: '计算设备：cpu、webgpu 或 cuda', en: 'where to compute: cpu, webgpu or cuda' },
    choice(['cpu', 'webgpu', 'cuda']),
    'cpu',
  );
  option(
    '--threads <n>',
    { zh: '线程数', en: 'number of threads' },
    integer({ min: 1, max: 256 }),
    availableParallelism(),
  );
  option('--out <dir>', { zh: '检查点文件夹', en: 'folder for checkpoints' }, String, 'checkpoints');
  option(
    '--save-interval <seconds>',
    { zh: '每隔多少秒保存一次进度', en: 'seconds between saves of the progress' },
    number({ min: 0 }),
    30,
  );
  command.option(
    '--restart',
    text({ zh: '全部重新训练，不使用已有的进度', en: 'train everything anew, ignoring earlier progress' }),
  );
  return command;
}

function collect(value: string, previous: string[]): string[] {
  return [...previous, value];
}

/** The recipe of a preset with the options that were given. */
export function recipeOf(options: TrainingOptions): Recipe {
  const recipe = RECIPES[options.preset];
  const rate = options.lr === undefined ? {} : { learningRate: options.lr };
  const batch = options.batchSize === undefined ? {} : { batchSize: options.batchSize };
  const given = <K extends string>(key: K, value: number | undefined) =>
    value === undefined ? {} : { [key]: value };
  return {
    pretrain: { ...recipe.pretrain, ...rate, ...batch, ...given('epochs', options.pretrainEpochs) },
    sft: { ...recipe.sft, ...rate, ...batch, ...given('epochs', options.sftEpochs) },
    reward: { ...recipe.reward, ...rate, ...batch, ...given('epochs', options.rewardEpochs) },
    rlhf: { ...recipe.rlhf, ...rate, ...given('episodes', options.rlhfEpisodes) },
    rlvf: { ...recipe.rlvf, ...rate, ...given('iterations', options.rlvfIterations) },
  };
}

const DATA_STAGES = ['pretrain', 'sft', 'reward', 'rlvf'] as const;
type DataStage = (typeof DATA_STAGES)[number];
const BUNDLED: Readonly<Record<DataStage, string>> = {
  pretrain: 'pretrain_data.txt',
  sft: 'sft_data.json',
  reward: 'reward_data.json',
  rlvf: 'rlvf_data.json',
};

/** @throws UserError where an option is for a stage that another one skips */
function checkContradictions(
  options: TrainingOptions,
  skip: ReadonlySet<StageName>,
  data: Readonly<Record<DataStage, SourceText>>,
): void {
  const lengths: Readonly<Record<StageName, readonly [option: string, value: number | undefined]>> = {
    pretrain: ['--pretrain-epochs', options.pretrainEpochs],
    sft: ['--sft-epochs', options.sftEpochs],
    reward: ['--reward-epochs', options.rewardEpochs],
    rlhf: ['--rlhf-episodes', options.rlhfEpisodes],
    rlvf: ['--rlvf-iterations', options.rlvfIterations],
  };
  const contradiction = (option: string, stage: string): UserError =>
    new UserError({
      zh: `选项 ${option} 与 --skip-${stage} 互相矛盾，请去掉其中一个。`,
      en: `${option} contradicts --skip-${stage}; remove one of them.`,
    });
  for (const stage of skip) {
    const [option, value] = lengths[stage];
    if (value !== undefined) throw contradiction(option, stage);
  }
  // The tokenizer is trained on conversations too, and RLHF practises on their questions.
  const readers: Readonly<Record<DataStage, readonly StageName[]>> = {
    pretrain: ['pretrain'],
    sft: ['pretrain', 'sft', 'rlhf'],
    reward: ['reward', 'rlhf'],
    rlvf: ['rlvf'],
  };
  for (const stage of DATA_STAGES) {
    if (data[stage].own && readers[stage].every((reader) => skip.has(reader)))
      throw contradiction(`--data ${stage}=${data[stage].name}`, stage);
  }
}

/** The bundled data, with the user's files in the place of the stages they are for. */
export function loadData(files: readonly string[]): Record<DataStage, SourceText> {
  const folder = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'data');
  const own = new Map<DataStage, SourceText>();
  for (const argument of files) {
    const [, prefix, path] = /^(?:(pretrain|sft|reward|rlvf)=)?(.*)$/s.exec(argument)!;
    const source: SourceText = { name: path, text: readTextFile(path), own: true };
    const stage = (prefix as DataStage | undefined) ?? stageOfContent(source.text);
    if (own.has(stage)) {
      throw new UserError({
        zh: `--data 给了阶段 ${stage} 两个文件（${own.get(stage)!.name} 和 ${path}）；请只留一个，或用 阶段=文件 指明。`,
        en: `--data gives stage ${stage} two files (${own.get(stage)!.name} and ${path}); keep one, or say stage=file.`,
      });
    }
    own.set(stage, source);
  }
  const load = (stage: DataStage): SourceText =>
    own.get(stage) ?? {
      name: `data/${BUNDLED[stage]}`,
      text: readTextFile(join(folder, BUNDLED[stage])),
      own: false,
    };
  return { pretrain: load('pretrain'), sft: load('sft'), reward: load('reward'), rlvf: load('rlvf') };
}

/** For which stage a file is, told by the fields of its first record; anything that is not JSON is text to read. */
export function stageOfContent(content: string): DataStage {
  const head = content.trimStart().slice(0, 20_000);
  if (!/^[[{]/.test(head)) return 'pretrain';
  const has = (field: string): boolean => new RegExp(`"${field}"\\s*:`).test(head);
  if (has('rejected')) return 'reward';
  if (has('expected')) return 'rlvf';
  if (['messages', 'conversations', 'instruction', 'response', 'prompt'].some(has)) return 'sft';
  return 'pretrain';
}

/** What a training run ends with. */
export interface TrainingResult {
  readonly summaries: readonly StageSummary[];
  readonly last: Checkpoint | undefined;
  readonly runtime: Runtime;
}

/** Train with live progress; resolves when all is done, exits with code 130 when interrupted. */
export async function runTraining(options: TrainingOptions): Promise<TrainingResult> {
  const skip = new Set(STAGES.filter((stage) => options[SKIP_OPTION[stage]]));
  if (skip.size === STAGES.length) {
    throw new UserError({
      zh: '所有阶段都被 --skip-… 跳过了，没有可训练的；请至少去掉一个。',
      en: 'Every stage is skipped by --skip-…, nothing is left to train; leave at least one out.',
    });
  }
  const recipe = recipeOf(options);
  const config = PRESETS[options.preset];
  const data = loadData(options.data);
  checkContradictions(options, skip, data);
  const runtime = await openRuntime(options);
  const seconds = await estimateSeconds({ runtime, config, recipe, data, skip });
  print({
    zh: `训练 ${options.preset} 模型：在这台机器上估计约 ${formatDuration(seconds)}（${options.threads} 线程）。可随时按 Ctrl-C，再次运行同一命令会接着训练。`,
    en: `Training the ${options.preset} model: about ${formatDuration(seconds)} on this machine (${options.threads} threads). Press Ctrl-C at any time; the same command goes on from there.`,
  });

  let interrupted = false;
  let interruptedAt = 0;
  const onInterrupt = (): void => {
    // One Ctrl-C can arrive twice: from the terminal, and passed on by npm.
    if (interrupted && performance.now() - interruptedAt < 1000) return;
    if (interrupted) process.exit(130);
    interrupted = true;
    interruptedAt = performance.now();
    print({
      zh: '\n正在保存进度……（再按一次 Ctrl-C 立即退出）',
      en: '\nSaving the progress … (Ctrl-C again leaves at once)',
    });
  };
  process.on('SIGINT', onInterrupt);
  process.on('SIGTERM', onInterrupt);

  let progress: Progress | undefined;
  let last: Checkpoint | undefined;
  const ui: PipelineUi = {
    get interrupted() {
      return interrupted;
    },
    stageStarts(stage, at) {
      if (at !== undefined) {
        print({
          zh: `${text(STAGE_NAMES[stage])}：从第 ${at} 步接着训练`,
          en: `${text(STAGE_NAMES[stage])}: going on from step ${at}`,
        });
      }
    },
    step(stage, record) {
      // The clock starts when the first step is done: before it, graphs were compiled.
      progress ??= createProgress({
        stage: text(STAGE_NAMES[stage]),
        total: record.total,
        start: record.step,
      });
      const { step, loss, tokensPerSecond, figures = {} } = record;
      progress.update({ step, loss, tokensPerSecond, figures: shownFigures(figures) });
    },
    note: (message) => (progress ? progress.log(text(message)) : print(message)),
    async stageEnds(summary, checkpoint) {
      progress?.end();
      progress = undefined;
      if (summary.outcome === 'finished before') {
        print({
          zh: `${text(STAGE_NAMES[summary.stage])}：之前已完成`,
          en: `${text(STAGE_NAMES[summary.stage])}: finished before`,
        });
      }
      for (const evaluation of summary.evaluations) console.log(`  ${describeEvaluation(evaluation)}`);
      if (summary.stage !== 'reward') last = checkpoint;
      if (summary.outcome !== 'trained') return;
      if (summary.stage === 'reward') await printScores(runtime, checkpoint);
      else await printSamples(runtime, checkpoint);
    },
  };
  try {
    const { seed, out, restart = false, saveInterval } = options;
    const summaries = await runPipeline(
      { runtime, config, recipe, skip, seed, out, data, restart, saveInterval },
      ui,
    );
    printSummary(summaries);
    return { summaries, last, runtime };
  } catch (error) {
    progress?.end();
    if (!(error instanceof Interrupted)) throw error;
    print({
      zh: '进度已保存，再次运行同一命令会接着训练。',
      en: 'The progress is saved; the same command goes on from there.',
    });
    return process.exit(130);
  } finally {
    progress?.end();
    process.off('SIGINT', onInterrupt);
    process.off('SIGTERM', onInterrupt);
  }
}

const SKIP_OPTION = {
  pretrain: 'skipPretrain',
  sft: 'skipSft',
  reward: 'skipReward',
  rlhf: 'skipRlhf',
  rlvf: 'skipRlvf',
} as const satisfies Record<StageName, keyof TrainingOptions>;

function print(message: Text): void {
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

function formatFigure(value: number | undefined, unit: Evaluation['unit']): string {
  if (value === undefined || Number.isNaN(value)) return '–';
  return unit === 'share' ? `${(100 * value).toFixed(1)}%` : value.toFixed(unit === 'number' ? 2 : 3);
}

function describeEvaluation({ name, before, after, unit }: Evaluation): string {
  return `${text(name)}: ${formatFigure(before, unit)} → ${formatFigure(after, unit)}`;
}

/** What each stage changed on the held-out data. */
function printSummary(summaries: readonly StageSummary[]): void {
  const head = [
    { zh: '阶段', en: 'Stage' },
    { zh: '留出数据上的指标', en: 'On held-out data' },
    { zh: '之前', en: 'Before' },
    { zh: '之后', en: 'After' },
    { zh: '用时', en: 'Time' },
  ].map(text);
  const rows = summaries.flatMap(({ stage, outcome, seconds, evaluations }) => {
    const time = outcome === 'skipped' ? text({ zh: '跳过', en: 'skipped' }) : formatDuration(seconds);
    if (evaluations.length === 0) return [[text(STAGE_NAMES[stage]), '–', '–', '–', time]];
    return evaluations.map(({ name, before, after, unit }, i) => [
      i === 0 ? text(STAGE_NAMES[stage]) : '',
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
  const scorer = await createScorer({ runtime, config, weights, batchSize: sequences.length, length });
  const rewards = await scorer.score(sequences);
  await scorer.release();
  SCORED_ANSWERS.forEach((answer, i) => {
    console.log(`  ${rewards[i].toFixed(2).padStart(6)}  ${SCORED_QUESTION} → ${answer}`);
  });
}

const SAMPLE_QUESTIONS = ['你好', '你是谁？', '天空为什么是蓝色的？', '27+15等于多少？'];
const SAMPLE_BEGINNINGS = ['水是', '电脑里的'];

/** Print what the model writes now: continuations after pretraining, answers after the later stages. */
async function printSamples(
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
    sampling: isBase ? { temperature: 0.7, topK: 20, topP: 0.9, repetitionPenalty: 1 } : GREEDY,
    random: createRandom(1),
    stopTokens: [SPECIAL.imEnd, SPECIAL.eos],
  });
  await decoder.release();
  texts.forEach((question, i) => {
    const answer = tokenizer.decode(responses[i].tokens, { skipSpecial: true }).replaceAll('\n', ' ');
    console.log(isBase ? `  ${question}${answer}` : `  ${question} → ${answer}`);
  });
}
