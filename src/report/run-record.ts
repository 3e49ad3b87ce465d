/** @file What a run has left in its folder, read once: for its report, and to compare it with another. */

import { basename, resolve } from 'node:path';
import type { Checkpoint } from '../checkpoint.ts';
import type { ModelConfig } from '../config.ts';
import { UserError } from '../errors.ts';
import type { RunEvaluation } from '../evaluation/run.ts';
import { readMetrics, type TimedRecord } from '../metrics.ts';
import type { Circumstances } from '../pipeline.ts';
import { loadStages } from '../run-folder.ts';
import { type Evaluation, STAGES, type StageName } from '../stages/stage.ts';
import { sizeOf } from '../tensor/ndarray.ts';
import { findEvaluation } from './kept-evaluation.ts';

/** A finished stage. What checkpoints of earlier versions do not say is undefined. */
export interface StageRecord {
  readonly stage: StageName;
  readonly seconds: number | undefined;
  readonly evaluations: readonly Evaluation[];
  readonly seed: number | undefined;
  readonly settings: Readonly<Record<string, unknown>> | undefined;
  readonly circumstances: Circumstances | undefined;
}

export interface RunRecord {
  readonly folder: string;
  /** The folder's own name. */
  readonly name: string;
  readonly config: ModelConfig;
  /** Number of weights of the language model. */
  readonly parameters: number;
  readonly stages: readonly StageRecord[];
  readonly checkpoints: Readonly<Partial<Record<StageName, Checkpoint>>>;
  readonly metrics: readonly TimedRecord[];
  /** What `npm run eval` has found, where that still holds. */
  readonly evaluation: RunEvaluation | undefined;
}

/** @throws UserError where there is no finished stage, or a broken one */
export function readRun(folder: string): RunRecord {
  const checkpoints = loadStages(folder, STAGES);
  const present = STAGES.filter((stage) => checkpoints[stage]);
  if (present.length === 0) {
    throw new UserError({
      zh: `${folder} 中没有训练好的阶段；请先运行 npm run train，或换成检查点所在的文件夹`,
      en: `${folder} holds no finished stage; run npm run train first, or name the folder that holds the checkpoints`,
    });
  }
  const { config, params } = checkpoints[present.find((stage) => stage !== 'reward') ?? 'reward']!;
  return {
    folder,
    name: basename(resolve(folder)),
    config,
    parameters: Object.values(params).reduce((sum, { shape }) => sum + sizeOf(shape), 0),
    stages: present.map((stage) => recordOf(stage, checkpoints[stage]!)),
    checkpoints,
    metrics: readMetrics(folder),
    evaluation: findEvaluation(folder, checkpoints),
  };
}

function recordOf(stage: StageName, { extra }: Checkpoint): StageRecord {
  const { seconds, evaluations = [], seed, settings, circumstances } = extra as Partial<StageRecord>;
  return { stage, seconds, evaluations, seed, settings, circumstances };
}
