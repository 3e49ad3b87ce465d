/** @file Finding and loading a checkpoint that can write text: what `npm run generate` and its likes start from. */

import { existsSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type Checkpoint, DEFAULT_FOLDER, loadCheckpoint, STAGE_FOLDERS } from '../checkpoint.ts';
import { UserError } from '../errors.ts';
import { recoverFolder } from '../files.ts';
import { text } from '../i18n.ts';
import { gptParameters } from '../model.ts';
import { STAGES } from '../stages/stage.ts';

const WEIGHTS = 'model.safetensors';

/** Folders of the checkpoints that can write, the most advanced first. */
const WRITERS = STAGES.filter((stage) => stage !== 'reward')
  .map((stage) => STAGE_FOLDERS[stage])
  .reverse();

/** The most advanced checkpoint in a folder of checkpoints, if there is one. */
export function findCheckpoint(parent: string): string | undefined {
  return WRITERS.map((name) => join(parent, name)).find((dir) => {
    // A checkpoint that was being replaced when the power went off is put back first.
    recoverFolder(dir);
    return existsSync(join(dir, WEIGHTS));
  });
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
  const shapes = (config: Checkpoint['config']) =>
    Object.fromEntries(Object.entries(gptParameters(config)).map(([name, { shape }]) => [name, shape]));
  try {
    return loadCheckpoint(dir, shapes);
  } catch (error) {
    // A sound reward model differs in its weights; say what it is rather than which tensor is unknown.
    if (error instanceof UserError && isRewardModel(dir)) {
      throw new UserError({
        zh: `${dir} 是奖励模型，只会打分，不会写文字；请用 ${option} 指定别的检查点，例如 ${join(dirname(dir), STAGE_FOLDERS.sft)}`,
        en: `${dir} is a reward model: it scores texts and cannot write any; name another checkpoint with ${option}, such as ${join(dirname(dir), STAGE_FOLDERS.sft)}`,
      });
    }
    throw error;
  }
}

function isRewardModel(dir: string): boolean {
  try {
    return loadCheckpoint(dir).stage === 'reward';
  } catch {
    return false;
  }
}
