/** @file Finding and loading the checkpoints that `npm run generate` and its likes start from. */

import { existsSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type Checkpoint, DEFAULT_FOLDER, loadCheckpoint, STAGE_FOLDERS } from '../checkpoint.ts';
import { UserError } from '../errors.ts';
import { recoverFolder } from '../files.ts';
import { text } from '../i18n.ts';
import { gptParameters } from '../model.ts';
import type { ParameterSpec } from '../nn/parameters.ts';
import { rewardParameters } from '../scorer.ts';
import { STAGES, type StageName } from '../stages/stage.ts';

const WEIGHTS = 'model.safetensors';

/** The stages whose checkpoints can write, in the order of the stages. */
export const WRITERS = STAGES.filter((stage) => stage !== 'reward');

/** A model that was only pretrained knows no conversations: it continues texts. */
export function writesRawText({ stage }: Pick<Checkpoint, 'stage'>): boolean {
  return stage === 'pretrain';
}

/** The stages whose checkpoints can write and are in a folder of checkpoints, in their order. */
export function findStages(parent: string): StageName[] {
  return WRITERS.filter((stage) => {
    const dir = join(parent, STAGE_FOLDERS[stage]);
    // A checkpoint that was being replaced when the power went off is put back first.
    recoverFolder(dir);
    return existsSync(join(dir, WEIGHTS));
  });
}

/** The most advanced checkpoint in a folder of checkpoints, if there is one. */
export function findCheckpoint(parent: string): string | undefined {
  const stage = findStages(parent).at(-1);
  return stage && join(parent, STAGE_FOLDERS[stage]);
}

/**
 * The folder that `--checkpoint` means: a checkpoint, its weights file, or a folder that holds checkpoints. Without it,
 * the most advanced one in `parent`, which is then named on stderr.
 *
 * @throws UserError if nothing is given and there is none, or if a file is given
 */
export function resolveCheckpoint(given: string | undefined, parent = DEFAULT_FOLDER): string {
  if (given === undefined) return defaultCheckpoint(parent);
  if (basename(given) === WEIGHTS) return dirname(given);
  if (existsSync(given) && !statSync(given).isDirectory()) {
    throw new UserError({
      zh: `--checkpoint ${given} 是一个文件；请给出含有 ${WEIGHTS} 的文件夹`,
      en: `--checkpoint ${given} is a file; give the folder that holds ${WEIGHTS}`,
    });
  }
  return existsSync(join(given, WEIGHTS)) ? given : (findCheckpoint(given) ?? given);
}

function defaultCheckpoint(parent: string): string {
  const dir = findCheckpoint(parent);
  if (dir === undefined) {
    throw new UserError({
      zh: `${parent} 中还没有能写文字的检查点；请先运行 npm run train，或用 --checkpoint 指定一个`,
      en: `${parent} has no checkpoint that can write yet; run npm run train first, or name one with --checkpoint`,
    });
  }
  process.stderr.write(text({ zh: `使用检查点 ${dir}\n`, en: `Using the checkpoint ${dir}\n` }));
  return dir;
}

/**
 * @param option how the checkpoint was asked for, for messages
 * @throws UserError if the checkpoint cannot be used, or is a reward model
 */
export function loadWriter(dir: string, option = '--checkpoint'): Checkpoint {
  try {
    return loadCheckpoint(dir, (config) => shapesOf(gptParameters(config)));
  } catch (error) {
    // A sound reward model differs in its weights; say what it is rather than which tensor is unknown.
    if (error instanceof UserError && stageOf(dir) === 'reward') {
      throw new UserError({
        zh: `${dir} 是奖励模型，只会打分，不会写文字；请用 ${option} 指定别的检查点，例如 ${join(dirname(dir), STAGE_FOLDERS.sft)}`,
        en: `${dir} is a reward model: it scores texts and cannot write any; name another checkpoint with ${option}, such as ${join(dirname(dir), STAGE_FOLDERS.sft)}`,
      });
    }
    throw error;
  }
}

function shapesOf(parameters: Readonly<Record<string, ParameterSpec>>) {
  return Object.fromEntries(Object.entries(parameters).map(([name, { shape }]) => [name, shape]));
}

/**
 * The reward model that `--reward-model` names (its folder or its weights file), or else the one in `folder`.
 * @throws UserError if there is none, or what is named is no reward model
 */
export function loadRewardModel(given: string | undefined, folder: string): Checkpoint {
  const named = given ?? join(folder, STAGE_FOLDERS.reward);
  const dir = basename(named) === WEIGHTS ? dirname(named) : named;
  recoverFolder(dir);
  if (!existsSync(join(dir, WEIGHTS))) {
    throw new UserError({
      zh: `${dir} 中没有奖励模型；请用 --reward-model 指定它的文件夹，或先运行 npm run train 训练一个`,
      en: `there is no reward model in ${dir}; name its folder with --reward-model, or train one with npm run train first`,
    });
  }
  try {
    return loadCheckpoint(dir, (config) => shapesOf(rewardParameters(config)));
  } catch (error) {
    const stage = stageOf(dir);
    if (error instanceof UserError && stage !== undefined && stage !== 'reward') {
      throw new UserError({
        zh: `${dir} 不是奖励模型，不会打分；请用 --reward-model 指定名为 ${STAGE_FOLDERS.reward} 的文件夹`,
        en: `${dir} is no reward model and cannot score; name a folder such as ${STAGE_FOLDERS.reward} with --reward-model`,
      });
    }
    throw error;
  }
}

/** The stage of a sound checkpoint; undefined where it is none. */
function stageOf(dir: string): string | undefined {
  try {
    return loadCheckpoint(dir).stage;
  } catch {
    return undefined;
  }
}
