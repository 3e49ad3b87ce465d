/** @file Options of a training run that contradict each other. */

import { countParts } from '../data/batches.ts';
import type { SourceText } from '../data/datasets.ts';
import { UserError } from '../errors.ts';
import { type Recipe, RLHF_ALGORITHMS, RLVF_ALGORITHMS } from '../recipes.ts';
import { STAGE_NAMES, STAGES, type StageName } from '../stages/stage.ts';
import { DATA_STAGES, type DataStage } from './training-data.ts';
import type { TrainingOptions } from './training-options.ts';

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
