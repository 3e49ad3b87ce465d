/** @file What a run has left in its folder, read once: for its report, and to compare it with another. */

import { existsSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import type { Checkpoint } from '../checkpoint.ts';
import { UserError } from '../errors.ts';
import { findEvaluation } from '../evaluation/kept-evaluation.ts';
import type { RunEvaluation } from '../evaluation/run.ts';
import { describeRun, type FinishedRun, previousFolder, readRecord } from '../last-run.ts';
import { readMetrics, type TimedRecord } from '../metrics.ts';
import { checkpointFolder, loadStages } from '../run-folder.ts';
import { STAGES, type StageName } from '../stages/stage.ts';

export interface RunRecord extends FinishedRun {
  readonly folder: string;
  /** The folder's own name. */
  readonly name: string;
  readonly metrics: readonly TimedRecord[];
  /** What `npm run eval` has found, where that still holds. */
  readonly evaluation: RunEvaluation | undefined;
}

/** A run whose models can be asked, too. */
export interface LoadedRun extends RunRecord {
  readonly checkpoints: Readonly<Partial<Record<StageName, Checkpoint>>>;
}

/** @throws UserError where there is no finished stage, or a broken one */
export function readRun(folder: string): LoadedRun {
  const checkpoints = loadStages(folder, STAGES);
  if (Object.keys(checkpoints).length === 0) {
    throw new UserError({
      zh: `${folder} 中没有训练好的阶段；请先运行 npm run train，或换成检查点所在的文件夹`,
      en: `${folder} holds no finished stage; run npm run train first, or name the folder that holds the checkpoints`,
    });
  }
  const evaluation = findEvaluation(folder, checkpoints);
  return { ...describeRun(checkpoints), ...placeOf(folder), checkpoints, evaluation };
}

/** What was set aside of the run before, in the folder of a run. */
export function readPreviousRun(out: string): RunRecord | undefined {
  return readWithoutWeights(previousFolder(out));
}

/** A run with or without its weights. @throws UserError where there is neither */
export function readRunToCompare(folder: string): RunRecord {
  const hasWeights = STAGES.some((stage) => existsSync(checkpointFolder(folder, stage)));
  return (hasWeights ? undefined : readWithoutWeights(folder)) ?? readRun(folder);
}

function readWithoutWeights(folder: string): RunRecord | undefined {
  const record = readRecord(folder);
  return record && { ...record, ...placeOf(folder), evaluation: record.evaluation };
}

function placeOf(folder: string): Pick<RunRecord, 'folder' | 'name' | 'metrics'> {
  return { folder, name: basename(resolve(folder)), metrics: readMetrics(folder) };
}
