/**
 * @file What is left of a run when another is trained in its folder: not the weights, but what it was asked for and what
 * came of it, so that the report of the next run can say what changed.
 *
 *     <out>/run.json                 the run that was finished in this folder
 *     <out>/previous/run.json        the one before it, with its evaluation
 *     <out>/previous/metrics.jsonl   and its curves
 *
 * The record is written when the last stage is done, and set aside before the first stage of another run begins. A run
 * that was interrupted has none: when it goes on, or is begun anew, the run before it stays the last finished one.
 */

import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Checkpoint } from './checkpoint.ts';
import type { ModelConfig } from './config.ts';
import { findEvaluation } from './evaluation/kept-evaluation.ts';
import type { RunEvaluation } from './evaluation/run.ts';
import { writeFileAtomic, writeFolderAtomic } from './files.ts';
import { METRICS_FILE } from './metrics.ts';
import type { Circumstances } from './pipeline.ts';
import { findStage } from './run-folder.ts';
import { type Evaluation, STAGES, type StageName } from './stages/stage.ts';
import { sizeOf } from './tensor/ndarray.ts';

/** A finished stage. What checkpoints of earlier versions do not say is undefined. */
export interface StageRecord {
  readonly stage: StageName;
  readonly fingerprint: unknown;
  readonly seconds: number | undefined;
  readonly peakBytes: number | undefined;
  readonly evaluations: readonly Evaluation[];
  readonly seed: number | undefined;
  readonly settings: Readonly<Record<string, unknown>> | undefined;
  readonly circumstances: Partial<Circumstances> | undefined;
}

/** What checkpoints say of their run. */
export interface FinishedRun {
  readonly config: ModelConfig;
  /** Number of weights of the language model. */
  readonly parameters: number;
  readonly stages: readonly StageRecord[];
}

/** A run whose weights are gone. */
export interface PreviousRun extends FinishedRun {
  readonly evaluation?: RunEvaluation;
}

type Checkpoints = Readonly<Partial<Record<StageName, Checkpoint>>>;

const RECORD = 'run.json';

export function previousFolder(out: string): string {
  return join(out, 'previous');
}

/** What the checkpoints of a run, of which there is one at least, say of it. */
export function describeRun(checkpoints: Checkpoints): FinishedRun {
  const present = STAGES.filter((stage) => checkpoints[stage]);
  const { config, params } = checkpoints[present.find((stage) => stage !== 'reward') ?? 'reward']!;
  return {
    config,
    parameters: Object.values(params).reduce((sum, { shape }) => sum + sizeOf(shape), 0),
    stages: present.map((stage) => recordOf(stage, checkpoints[stage]!)),
  };
}

function recordOf(stage: StageName, { extra }: Checkpoint): StageRecord {
  const {
    fingerprint,
    seconds,
    peakBytes,
    evaluations = [],
    seed,
    settings,
    circumstances,
  } = extra as Partial<StageRecord>;
  return { stage, fingerprint, seconds, peakBytes, evaluations, seed, settings, circumstances };
}

/** Record that all stages are done; those that were skipped are read from the folder. */
export function recordRun(out: string, trained: Checkpoints): void {
  const all = STAGES.map((stage) => [stage, trained[stage] ?? findStage(out, stage)] as const);
  const checkpoints = Object.fromEntries(all.filter(([, checkpoint]) => checkpoint));
  if (Object.keys(checkpoints).length === 0) return;
  writeFileAtomic(join(out, RECORD), `${JSON.stringify(describeRun(checkpoints))}\n`);
}

/** Before a stage is trained anew: keep what is known of the finished run that it belonged to, if there is one. */
export function setRunAside(out: string): void {
  const finished = readRecord(out);
  if (!finished) return;
  const fingerprints = finished.stages.map(({ stage, fingerprint }) => [stage, { extra: { fingerprint } }]);
  const evaluation = findEvaluation(out, Object.fromEntries(fingerprints));
  const metrics = join(out, METRICS_FILE);
  writeFolderAtomic(previousFolder(out), {
    [RECORD]: `${JSON.stringify({ ...finished, evaluation })}\n`,
    [METRICS_FILE]: existsSync(metrics) ? readFileSync(metrics) : '',
  });
  rmSync(join(out, RECORD));
}

/** The record in a folder: of a finished run, or of one that was set aside; undefined where there is none. */
export function readRecord(folder: string): PreviousRun | undefined {
  const file = join(folder, RECORD);
  if (!existsSync(file)) return undefined;
  try {
    const { config, parameters, stages, evaluation } = JSON.parse(readFileSync(file, 'utf8')) as PreviousRun;
    return config && Array.isArray(stages) ? { config, parameters, stages, evaluation } : undefined;
  } catch {
    // Somebody else's file, or a damaged one: then there is nothing to compare with.
    return undefined;
  }
}
