/** @file What the options of a training run ask for: the shape of the model, the recipe, the types of tasks. */

import { type ModelConfig, PRESETS, parseModelConfig } from '../config.ts';
import { DEFAULT_TASK_TYPES, type TaskType } from '../data/generators.ts';
import { UserError } from '../errors.ts';
import { readTextFile } from '../files.ts';
import { RECIPES, type Recipe } from '../recipes.ts';
import { EXPERTS_PER_TOKEN, type TrainingOptions } from './training-options.ts';

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
