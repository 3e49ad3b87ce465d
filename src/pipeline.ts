/**
 * @file From raw text to a chatting, reasoning model: runs the stages in order, each from the checkpoint of the one
 * before. What is finished is not done again, and what was interrupted goes on (see `run-folder.ts`).
 */

import { createHash } from 'node:crypto';
import type { Checkpoint } from './checkpoint.ts';
import type { ModelConfig } from './config.ts';
import type { SourceText } from './data/datasets.ts';
import type { TaskType } from './data/generators.ts';
import { UserError } from './errors.ts';
import type { Text } from './i18n.ts';
import { recordRun, setRunAside } from './last-run.ts';
import type { Recipe } from './recipes.ts';
import {
  checkpointFolder,
  dropProgress,
  findStage,
  finishStage,
  loadFinished,
  loadStage,
  lockRun,
} from './run-folder.ts';
import { parentsOf, planStages, type StagePlan, settingsOf } from './stage-plans.ts';
import { openStage } from './stage-run.ts';
import {
  checkEvaluations,
  type Evaluation,
  STAGES,
  type StageName,
  type StageResult,
  type StepRecord,
} from './stages/stage.ts';
import type { Runtime } from './tensor/index.ts';

export interface PipelineOptions {
  readonly runtime: Runtime;
  /** The shape of the model; its vocabulary size is what the tokenizer is asked for. */
  readonly config: ModelConfig;
  readonly recipe: Recipe;
  readonly skip: ReadonlySet<StageName>;
  readonly seed: number;
  readonly out: string;
  /** The types of generated tasks that SFT practises and RLVF asks; `DEFAULT_TASK_TYPES` if undefined. */
  readonly taskTypes?: readonly TaskType[];
  /** The source of the user's verifiers: RLVF is trained anew where it changes. */
  readonly verifiers?: readonly string[];
  /** The texts of the stages that have data of their own. */
  readonly data: Readonly<Record<'pretrain' | 'sft' | 'reward' | 'rlvf', SourceText>>;
  /**
   * Rows of pretraining, SFT and reward model that are computed at a time, to save memory. Checkpoints and progress do not
   * depend on it: it changes results by no more than rounding.
   */
  readonly microBatchSize?: number;
  /** Train even what is finished. */
  readonly restart: boolean;
  /** Seconds between saves of the state in progress. */
  readonly saveInterval: number;
  /** Kept with the checkpoints that are trained, as JSON: where and with what they were. */
  readonly circumstances?: Circumstances;
}

/** Where a training ran, and with what. */
export interface Circumstances {
  /** Processor, memory and system, in words. */
  readonly machine: string;
  readonly preset: string;
  readonly device: string;
  readonly threads: number;
  /** The names of the files of data. */
  readonly data: readonly string[];
  /** The types of generated tasks, where they are not the usual ones. */
  readonly taskTypes?: readonly TaskType[];
}

/** What the caller shows. */
export interface PipelineUi {
  stageStarts(stage: StageName, resumedAt: number | undefined): void;
  step(stage: StageName, record: StepRecord & { readonly tokensPerSecond: number }): void;
  note(message: Text): void;
  /** A stage is trained, or was finished before. */
  stageEnds(summary: StageSummary, checkpoint: Checkpoint): Promise<void>;
  /** Whether the person asked to stop; the state is then saved and the pipeline ends with `Interrupted`. */
  readonly interrupted: boolean;
}

export interface StageSummary {
  readonly stage: StageName;
  readonly outcome: 'trained' | 'finished before' | 'skipped';
  /** Seconds of training, over all runs that it took. */
  readonly seconds: number;
  readonly evaluations: readonly Evaluation[];
  /** Why it ended before its time, where it did. */
  readonly stoppedEarly?: Text;
}

/** Run the stages that are not skipped; resolves to what each did. */
export async function runPipeline(options: PipelineOptions, ui: PipelineUi): Promise<StageSummary[]> {
  const { out, skip } = options;
  const checkpoints: Partial<Record<StageName, Checkpoint>> = {};
  /** The checkpoint of an earlier stage, read when a later one first needs it. */
  const need = (stage: StageName): Checkpoint => {
    checkpoints[stage] ??= loadStage(out, stage);
    return checkpoints[stage];
  };
  // What cannot be used is told now, not after the stages before it.
  if (!options.restart) refuseOtherModel(options);
  for (const stage of STAGES.filter((each) => !skip.has(each))) {
    for (const each of parentsOf(stage, options.recipe).filter((one) => skip.has(one))) need(each);
  }
  const plans = planStages(options, need);

  const unlock = lockRun(out);
  try {
    const summaries: StageSummary[] = [];
    for (const stage of STAGES) {
      if (skip.has(stage)) {
        summaries.push({ stage, outcome: 'skipped', seconds: 0, evaluations: [] });
        continue;
      }
      const { summary, checkpoint } = await runStage(stage, plans[stage](), options, ui);
      checkpoints[stage] = checkpoint;
      summaries.push(summary);
      await ui.stageEnds(summary, checkpoint);
    }
    recordRun(out, checkpoints);
    return summaries;
  } finally {
    unlock();
  }
}

/** Take up a stage where it is: finished, in progress, or new. */
async function runStage(
  stage: StageName,
  { dependsOn, start, train }: StagePlan,
  options: PipelineOptions,
  ui: PipelineUi,
): Promise<{ summary: StageSummary; checkpoint: Checkpoint }> {
  const { runtime, recipe, seed, out, restart, saveInterval, circumstances } = options;
  const fingerprint = createHash('sha256')
    .update(JSON.stringify([stage, seed, dependsOn]))
    .digest('hex');
  const finished = restart ? undefined : loadFinished(out, stage, fingerprint);
  if (finished) {
    // A kill after the checkpoint was written leaves the progress.
    dropProgress(out, stage);
    const { seconds = 0, evaluations = [], stoppedEarly } = finished.extra as Partial<StageSummary>;
    return {
      summary: { stage, outcome: 'finished before', seconds, evaluations, stoppedEarly },
      checkpoint: finished,
    };
  }
  const { config, tokenizer } = start();
  setRunAside(out);
  const { io, cost, close } = openStage(
    { stage, fingerprint, out, restart, saveInterval },
    {
      starts: (at) => ui.stageStarts(stage, at),
      step: (record) => ui.step(stage, record),
      note: ui.note,
      get interrupted() {
        return ui.interrupted;
      },
    },
  );
  let result: StageResult;
  try {
    result = await train({ runtime, config, tokenizer, seed, io });
  } finally {
    close();
  }
  const { weights, evaluations, stoppedEarly } = result;
  checkEvaluations(stage, evaluations);
  const spent = cost();
  const extra = {
    fingerprint,
    ...spent,
    evaluations,
    stoppedEarly,
    seed,
    settings: settingsOf(stage, recipe),
    circumstances,
  };
  const checkpoint = { params: weights, config, tokenizer, stage, extra };
  finishStage(out, stage, checkpoint);
  return {
    summary: { stage, outcome: 'trained', seconds: spent.seconds, evaluations, stoppedEarly },
    checkpoint,
  };
}

/** A finished model of another size is not silently replaced: it may have taken long to train. */
function refuseOtherModel({ config, out, skip }: PipelineOptions): void {
  for (const stage of STAGES.filter((each) => !skip.has(each))) {
    const found = findStage(out, stage)?.config;
    if (!found) continue;
    const fields = new Set([...Object.keys(config), ...Object.keys(found)] as (keyof ModelConfig)[]);
    fields.delete('vocabSize');
    if ([...fields].every((field) => found[field] === config[field])) continue;
    const folder = checkpointFolder(out, stage);
    throw new UserError({
      zh: `${folder} 里是另一种规模的模型；请用 --out 指定别的文件夹，或加 --restart 覆盖它。`,
      en: `${folder} holds a model of another size; name another folder with --out, or replace it with --restart.`,
    });
  }
}
