/** @file The options of `npm start` and `npm run train`. */

import type { Command } from 'commander';
import { DEFAULT_FOLDER } from '../checkpoint.ts';
import { PRESETS, type PresetName } from '../config.ts';
import { DEFAULT_TASK_TYPES, TASK_TYPES, type TaskType } from '../data/generators.ts';
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
import { STAGE_NAMES, STAGES } from '../stages/stage.ts';
import { addDeviceOption, addThreadsOption } from './device-options.ts';
import { choice, choices, collect, integer, number } from './options.ts';
import { addFillOption } from './placeholders.ts';
import { addRunOptions, type RunFlags } from './run-options.ts';

/** Options of a training run, as commander names them. */
export interface TrainingOptions extends RunFlags {
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
  readonly out: string;
  readonly data: readonly string[];
  readonly fill: readonly string[];
  readonly rlvfTasks?: readonly TaskType[];
  readonly verifiers: readonly string[];
}

/** As in Mixtral (Jiang et al. 2024). */
export const EXPERTS_PER_TOKEN = 2;

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
  option('--out <dir>', { zh: '检查点文件夹', en: 'folder for checkpoints' }, String, DEFAULT_FOLDER);
  return addDeviceOption(addThreadsOption(addRunOptions(command)));
}
