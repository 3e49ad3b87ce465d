/** @file The options of `npm start` and `npm run train`, and what they ask for. */

import { availableParallelism } from 'node:os';
import type { Command } from 'commander';
import { DEFAULT_FOLDER } from '../checkpoint.ts';
import { type ModelConfig, PRESETS, type PresetName, parseModelConfig } from '../config.ts';
import { countParts } from '../data/batches.ts';
import type { SourceText } from '../data/datasets.ts';
import { DEFAULT_TASK_TYPES, TASK_TYPES, type TaskType } from '../data/generators.ts';
import { UserError } from '../errors.ts';
import { readTextFile } from '../files.ts';
import { type Text, text } from '../i18n.ts';
import { OPTIMIZERS, type OptimizerName } from '../nn/optimizer.ts';
import {
  RECIPES,
  type Recipe,
  RLHF_ALGORITHMS,
  RLVF_ALGORITHMS,
  type RlhfAlgorithm,
  type RlvfAlgorithm,
} from '../recipes.ts';
import { STAGE_NAMES, STAGES, type StageName } from '../stages/stage.ts';
import type { Device } from '../tensor/runtime/node.ts';
import { choice, choices, collect, integer, number } from './options.ts';
import { addFillOption } from './placeholders.ts';
import { DATA_STAGES, type DataStage } from './training-data.ts';

/** Options of a training run, as commander names them. */
export interface TrainingOptions {
  readonly preset: PresetName;
  readonly numExperts?: number;
  readonly expertsPerToken?: number;
  readonly config?: string;
  readonly skipPretrain?: boolean;
  readonly skipSft?: boolean;
  readonly skipReward?: boolean;
  readonly skipRlhf?: boolean;
  readonly skipRlvf?: boolean;
  readonly pretrainEpochs?: number;
  readonly sftEpochs?: number;
  readonly rewardEpochs?: number;
  readonly rlhfAlgorithm: RlhfAlgorithm;
  readonly rlhfEpisodes?: number;
  readonly rlhfMaxKl?: number;
  readonly dpoEpochs?: number;
  readonly rlvfAlgorithm: RlvfAlgorithm;
  readonly rlvfIterations?: number;
  readonly batchSize?: number;
  readonly microBatchSize?: number;
  readonly lr?: number;
  readonly optimizer?: OptimizerName;
  readonly seed: number;
  readonly device: Device;
  readonly threads: number;
  readonly out: string;
  readonly data: readonly string[];
  readonly fill: readonly string[];
  readonly rlvfTasks?: readonly TaskType[];
  readonly verifiers: readonly string[];
  readonly restart?: boolean;
  readonly saveInterval: number;
}

/** As in Mixtral (Jiang et al. 2024). */
const EXPERTS_PER_TOKEN = 2;

const ALGORITHM_NAMES: Readonly<Record<RlhfAlgorithm | RlvfAlgorithm, string>> = {
  ppo: 'PPO',
  dpo: 'DPO',
  reinforce: 'REINFORCE',
  grpo: 'GRPO',
  'best-of-n': 'best-of-N',
};

/** The methods of the stages that have several. */
export type Algorithms = Pick<Recipe, 'rlhfAlgorithm' | 'rlvfAlgorithm'>;

/** What a stage is called, with its method where there are several. */
export function stageName(stage: StageName, algorithms: Algorithms): string {
  const name = text(STAGE_NAMES[stage]);
  if (stage !== 'rlhf' && stage !== 'rlvf') return name;
  const algorithm = ALGORITHM_NAMES[algorithms[`${stage}Algorithm`]];
  return text({ zh: `${name} ${algorithm}`, en: `${name} (${algorithm})` });
}

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
  option(
    '--config <file>',
    {
      zh: '模型形状的 JSON 文件，代替预设的形状（怎样训练仍由 --preset 决定）',
      en: "JSON file with the shape of the model, in the place of the preset's (--preset still says how it is trained)",
    },
    String,
  );
  option(
    '--num-experts <n>',
    {
      zh: '混合专家：每个块有这么多个前馈层，每个词元只用其中几个（默认：只有一个，没有路由）',
      en: 'mixture of experts: so many feed-forward layers a block, of which a token uses a few (default: one, and no router)',
    },
    integer({ min: 2 }),
  );
  option(
    '--experts-per-token <n>',
    {
      zh: `每个词元用几个专家，要有 --num-experts（默认 ${EXPERTS_PER_TOKEN}）`,
      en: `experts that a token uses, with --num-experts (default ${EXPERTS_PER_TOKEN})`,
    },
    whole,
  );
  for (const stage of STAGES) {
    command.option(
      `--skip-${stage}`,
      text({
        zh: `跳过${STAGE_NAMES[stage].zh}，使用已有的检查点`,
        en: `skip ${stage} and use its checkpoint`,
      }),
    );
  }
  option(
    '--rlhf-algorithm <name>',
    { zh: 'RLHF 的方法：ppo、dpo 或 best-of-n', en: 'method of RLHF: ppo, dpo or best-of-n' },
    choice(RLHF_ALGORITHMS),
    RLHF_ALGORITHMS[0],
  );
  option(
    '--rlvf-algorithm <name>',
    { zh: 'RLVF 的方法：reinforce、grpo 或 best-of-n', en: 'method of RLVF: reinforce, grpo or best-of-n' },
    choice(RLVF_ALGORITHMS),
    RLVF_ALGORITHMS[0],
  );
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
    [
      '--dpo-epochs <n>',
      { zh: 'DPO 遍数', en: 'passes of DPO over the preference pairs' },
      (r) => r.dpo.epochs,
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
    '--rlhf-max-kl <nats>',
    {
      zh: 'PPO 在策略离参考模型的 KL（每个回答，奈特）超过它时提前结束（默认 30）',
      en: 'PPO ends early when the KL of the policy from the reference, in nats a response, is above it (default 30)',
    },
    number({ above: 0 }),
  );
  option(
    '--batch-size <n>',
    { zh: '预训练、微调和奖励模型的批大小', en: 'batch size of pretraining, SFT and the reward model' },
    whole,
  );
  option(
    '--micro-batch-size <n>',
    {
      zh: '一次计算多少行：把批切小以省内存，梯度累加后再走一步',
      en: 'rows computed at a time: cuts batches to save memory, and adds up their gradients',
    },
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
    '--optimizer <name>',
    {
      zh: '预训练和微调的优化器：adamw，或 muon（只管块内的矩阵，其余仍用 AdamW）；默认随规模',
      en: 'optimiser of pretraining and SFT: adamw, or muon (for the matrices inside the blocks, AdamW for the rest); default by size',
    },
    choice(OPTIMIZERS),
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
  addFillOption(command);
  option(
    '--rlvf-tasks <types>',
    {
      zh: `程序出的题有哪些类型，用逗号隔开（默认 ${DEFAULT_TASK_TYPES.join()}）：${TASK_TYPES.join('、')}`,
      en: `types of generated tasks, with commas (default ${DEFAULT_TASK_TYPES.join()}): ${TASK_TYPES.join(', ')}`,
    },
    choices(TASK_TYPES),
  );
  option(
    '--verifiers <file...>',
    {
      zh: '登记自己的验证器的模块，其类型可以用在 RLVF 的题目文件里',
      en: 'module that registers verifiers of your own, for the types in your file of RLVF tasks',
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
  option('--out <dir>', { zh: '检查点文件夹', en: 'folder for checkpoints' }, String, DEFAULT_FOLDER);
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

/** The stages that are skipped; not all can be. */
export function skippedStages(options: TrainingOptions): Set<StageName> {
  const skip = new Set(STAGES.filter((stage) => options[SKIP_OPTIONS[stage]]));
  if (skip.size < STAGES.length) return skip;
  throw new UserError({
    zh: '所有阶段都被 --skip-… 跳过了，没有可训练的；请至少去掉一个。',
    en: 'Every stage is skipped by --skip-…, nothing is left to train; leave at least one out.',
  });
}

const SKIP_OPTIONS = {
  pretrain: 'skipPretrain',
  sft: 'skipSft',
  reward: 'skipReward',
  rlhf: 'skipRlhf',
  rlvf: 'skipRlvf',
} as const satisfies Record<StageName, keyof TrainingOptions>;

/**
 * The shape of the model: a preset's or a file's, with experts if they were asked for.
 * @throws UserError where the file is none, or the numbers of experts contradict each other
 */
export function configOf({ preset, config, numExperts, expertsPerToken }: TrainingOptions): ModelConfig {
  const shape = config === undefined ? PRESETS[preset] : parseModelConfig(readTextFile(config), config);
  if (numExperts === undefined) {
    if (expertsPerToken === undefined) return shape;
    throw new UserError({
      zh: '--experts-per-token 只用于混合专家；请加上 --num-experts，或去掉它。',
      en: '--experts-per-token is for a mixture of experts; add --num-experts, or remove it.',
    });
  }
  const numExpertsPerToken = expertsPerToken ?? EXPERTS_PER_TOKEN;
  if (numExpertsPerToken > numExperts) {
    throw new UserError({
      zh: `--experts-per-token ${numExpertsPerToken} 大于 --num-experts ${numExperts}；请修改其中一个。`,
      en: `--experts-per-token ${numExpertsPerToken} is more than --num-experts ${numExperts}; change one of them.`,
    });
  }
  return { ...shape, numExperts, numExpertsPerToken };
}

/** The recipe of a preset with the options that were given. */
export function recipeOf(options: TrainingOptions): Recipe {
  const recipe = RECIPES[options.preset];
  const rate = options.lr === undefined ? {} : { learningRate: options.lr };
  const batch = options.batchSize === undefined ? {} : { batchSize: options.batchSize };
  const { bestOfN } = recipe;
  const { questions, groupSize } = bestOfN.rlhf;
  const rounds =
    options.rlhfEpisodes && Math.max(1, Math.round(options.rlhfEpisodes / (questions * groupSize)));
  const optimizer = options.optimizer === undefined ? {} : { optimizer: options.optimizer };
  const given = <K extends string>(key: K, value: number | undefined) =>
    value === undefined ? {} : { [key]: value };
  return {
    pretrain: {
      ...recipe.pretrain,
      ...rate,
      ...batch,
      ...optimizer,
      ...given('epochs', options.pretrainEpochs),
    },
    sft: { ...recipe.sft, ...rate, ...batch, ...optimizer, ...given('epochs', options.sftEpochs) },
    reward: { ...recipe.reward, ...rate, ...batch, ...given('epochs', options.rewardEpochs) },
    rlhfAlgorithm: options.rlhfAlgorithm,
    rlhf: {
      ...recipe.rlhf,
      ...rate,
      ...given('episodes', options.rlhfEpisodes),
      ...given('maxKl', options.rlhfMaxKl),
    },
    dpo: { ...recipe.dpo, ...rate, ...given('epochs', options.dpoEpochs) },
    rlvfAlgorithm: options.rlvfAlgorithm,
    rlvf: { ...recipe.rlvf, ...rate, ...given('iterations', options.rlvfIterations) },
    grpo: { ...recipe.grpo, ...rate },
    bestOfN: {
      rlhf: { ...bestOfN.rlhf, ...rate, ...given('iterations', rounds) },
      rlvf: { ...bestOfN.rlvf, ...rate, ...given('iterations', options.rlvfIterations) },
    },
  };
}

/** The types of generated tasks; undefined for the default, so that naming it is the same as leaving it out. */
export function taskTypesOf({ rlvfTasks }: TrainingOptions): readonly TaskType[] | undefined {
  return rlvfTasks?.join() === DEFAULT_TASK_TYPES.join() ? undefined : rlvfTasks;
}

/** @throws UserError where `--micro-batch-size` does not divide the batch of a stage that trains */
export function checkMicroBatches(
  { microBatchSize }: TrainingOptions,
  skip: ReadonlySet<StageName>,
  recipe: Recipe,
): void {
  for (const stage of ['pretrain', 'sft', 'reward'] as const) {
    if (!skip.has(stage)) countParts(recipe[stage].batchSize, microBatchSize, STAGE_NAMES[stage]);
  }
}

/** @throws UserError where an option is for a stage that another one skips */
export function checkContradictions(
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
  const contradiction = (option: string, other: string): UserError =>
    new UserError({
      zh: `选项 ${option} 与 ${other} 互相矛盾，请去掉其中一个。`,
      en: `${option} contradicts ${other}; remove one of them.`,
    });
  for (const stage of skip) {
    const [option, value] = lengths[stage];
    if (value !== undefined) throw contradiction(option, `--skip-${stage}`);
  }
  const { rlhfAlgorithm, rlvfAlgorithm, rlhfEpisodes, rlhfMaxKl, dpoEpochs } = options;
  if (rlhfMaxKl !== undefined && skip.has('rlhf')) throw contradiction('--rlhf-max-kl', '--skip-rlhf');
  if (rlhfMaxKl !== undefined && rlhfAlgorithm !== 'ppo')
    throw contradiction('--rlhf-max-kl', `--rlhf-algorithm ${rlhfAlgorithm}`);
  const isDpo = rlhfAlgorithm === 'dpo';
  if (rlhfAlgorithm !== RLHF_ALGORITHMS[0] && skip.has('rlhf'))
    throw contradiction(`--rlhf-algorithm ${rlhfAlgorithm}`, '--skip-rlhf');
  if (rlvfAlgorithm !== RLVF_ALGORITHMS[0] && skip.has('rlvf'))
    throw contradiction(`--rlvf-algorithm ${rlvfAlgorithm}`, '--skip-rlvf');
  if (isDpo && rlhfEpisodes !== undefined) throw contradiction('--rlhf-episodes', '--rlhf-algorithm dpo');
  if (!isDpo && dpoEpochs !== undefined) {
    throw new UserError({
      zh: '选项 --dpo-epochs 只用于 DPO；请加上 --rlhf-algorithm dpo，或去掉它。',
      en: '--dpo-epochs is for DPO alone; add --rlhf-algorithm dpo, or remove it.',
    });
  }
  // The tokenizer is trained on conversations too, and RLHF practises on their questions, if it practises.
  const readers: Readonly<Record<DataStage, readonly StageName[]>> = {
    pretrain: ['pretrain'],
    sft: isDpo ? ['pretrain', 'sft'] : ['pretrain', 'sft', 'rlhf'],
    reward: ['reward', 'rlhf'],
    rlvf: ['rlvf'],
  };
  for (const stage of DATA_STAGES) {
    if (data[stage].own && readers[stage].every((reader) => skip.has(reader)))
      throw contradiction(`--data ${stage}=${data[stage].name}`, `--skip-${stage}`);
  }
  const generates = (stage: 'sft' | 'rlvf'): boolean => !skip.has(stage) && !data[stage].own;
  if (options.rlvfTasks !== undefined && !generates('sft') && !generates('rlvf')) {
    throw new UserError({
      zh: '--rlvf-tasks 不起作用：监督微调和 RLVF 都被跳过，或用的是自己的数据（--data），不由程序出题；请去掉它。',
      en: '--rlvf-tasks has no effect: SFT and RLVF are skipped or have data of their own (--data), so no tasks are generated; remove it.',
    });
  }
  if (options.optimizer !== undefined && skip.has('pretrain') && skip.has('sft')) {
    throw new UserError({
      zh: `--optimizer ${options.optimizer} 不起作用：它只用于预训练和监督微调，而两者都被跳过了；请去掉它。`,
      en: `--optimizer ${options.optimizer} has no effect: it is for pretraining and SFT, and both are skipped; remove it.`,
    });
  }
  if (options.verifiers.length > 0 && skip.has('rlvf')) throw contradiction('--verifiers', '--skip-rlvf');
}
