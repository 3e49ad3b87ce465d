/**
 * @file The folder of a run: what is finished, what is in progress, and who is at work in it.
 *
 *     <out>/<checkpoint>/                   a finished stage
 *     <out>/.progress/<stage>.safetensors   a stage in progress
 *     <out>/.progress/lock-<process id>     the run that is going on
 *
 * The first two carry a fingerprint of everything that they depend on (settings, data, the stage before), so that work
 * is taken up again exactly where it fits and done anew where it does not.
 */

import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Checkpoint,
  loadCheckpoint,
  loadTrainingState,
  STAGE_FOLDERS,
  saveCheckpoint,
  saveTrainingState,
} from './checkpoint.ts';
import type { ModelConfig } from './config.ts';
import { UserError } from './errors.ts';
import { recoverFolder } from './files.ts';
import { lockFolder } from './folder-lock.ts';
import { gptParameters } from './model.ts';
import { rewardParameters } from './scorer.ts';
import type { SavedState, StageName } from './stages/stage.ts';
import type { Shape } from './tensor/index.ts';

/** The folder of a stage's checkpoint. */
export function checkpointFolder(out: string, stage: StageName): string {
  return join(out, STAGE_FOLDERS[stage]);
}

function progressFile(out: string, stage: string): string {
  return join(out, '.progress', `${stage}.safetensors`);
}

/** @throws UserError where there is no checkpoint of the stage, or a broken one */
export function loadStage(out: string, stage: StageName): Checkpoint {
  const parameters = stage === 'reward' ? rewardParameters : gptParameters;
  const shapes = (config: ModelConfig): Record<string, Shape> =>
    Object.fromEntries(Object.entries(parameters(config)).map(([name, { shape }]) => [name, shape]));
  return loadCheckpoint(checkpointFolder(out, stage), shapes);
}

/** The checkpoints of some stages, as far as they are in a folder. @throws UserError where one is broken */
export function loadStages(
  out: string,
  stages: readonly StageName[],
): Partial<Record<StageName, Checkpoint>> {
  const found = stages.filter((stage) => {
    const dir = checkpointFolder(out, stage);
    recoverFolder(dir);
    return existsSync(join(dir, 'model.safetensors'));
  });
  return Object.fromEntries(found.map((stage) => [stage, loadStage(out, stage)]));
}

/** The checkpoint of a stage, if there is one that can be read. */
export function findStage(out: string, stage: StageName): Checkpoint | undefined {
  return unlessUnusable(() => loadStage(out, stage));
}

/** The checkpoint of a stage with this fingerprint; what is damaged or of other settings is not used. */
export function loadFinished(out: string, stage: StageName, fingerprint: string): Checkpoint | undefined {
  const found = findStage(out, stage);
  return found?.extra['fingerprint'] === fingerprint ? found : undefined;
}

/** Keep the result of a stage; its progress is not needed any more. */
export function finishStage(out: string, stage: StageName, checkpoint: Checkpoint): void {
  saveCheckpoint(checkpointFolder(out, stage), checkpoint);
  dropProgress(out, stage);
}

/** The progress of a stage, likewise. */
export function loadProgress(out: string, stage: string, fingerprint: string): SavedState | undefined {
  const file = progressFile(out, stage);
  if (!existsSync(file)) return undefined;
  const saved = unlessUnusable(() => loadTrainingState(file) as SavedState);
  return saved?.state['fingerprint'] === fingerprint ? saved : undefined;
}

export function saveProgress(out: string, stage: string, fingerprint: string, saved: SavedState): void {
  const { tensors, state } = saved;
  saveTrainingState(progressFile(out, stage), { tensors, state: { ...state, fingerprint } });
}

export function dropProgress(out: string, stage: string): void {
  rmSync(progressFile(out, stage), { force: true });
}

function unlessUnusable<T>(load: () => T): T | undefined {
  try {
    return load();
  } catch (error) {
    if (error instanceof UserError) return undefined;
    throw error;
  }
}

/**
 * Keep other runs out, until the function that is returned is called or the process ends: two would overwrite each
 * other's work.
 * @throws UserError where a run is going on
 */
export function lockRun(out: string): () => void {
  return lockFolder(join(out, '.progress'), ({ pid, since, file }) => {
    const [zh, en] = ['zh-CN', 'en-GB'].map((locale) => since.toLocaleString(locale));
    return new UserError({
      zh: `${out} 正被另一个训练使用（进程 ${pid}，${zh} 开始）；请等它结束，或用 --out 指定别的文件夹（如果确定它不是训练，请删除 ${file}）。`,
      en: `${out} is in use by another training (process ${pid}, since ${en}); wait until it ends, or name another folder with --out (if that process is no training, delete ${file}).`,
    });
  });
}
