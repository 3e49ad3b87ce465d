/** @file A training run in a terminal: what `npm start` and `npm run train` share. */

import type { Checkpoint } from '../checkpoint.ts';
import type { SourceText } from '../data/datasets.ts';
import { formatDuration } from '../format-text.ts';
import { type Circumstances, type PipelineUi, runPipeline, type StageSummary } from '../pipeline.ts';
import { STAGES } from '../stages/stage.ts';
import type { Runtime } from '../tensor/index.ts';
import { openRuntime } from './device.ts';
import { estimateSeconds, measureGemm } from './estimate.ts';
import { untilInterrupted } from './interrupts.ts';
import { describeMachine } from './machine.ts';
import { warnOfMemory } from './memory.ts';
import { checkContradictions, checkMicroBatches, skippedStages } from './training-checks.ts';
import { type DataStage, loadData } from './training-data.ts';
import type { TrainingOptions } from './training-options.ts';
import { createReport, print, printSummary } from './training-report.ts';
import { configOf, recipeOf, taskTypesOf } from './training-settings.ts';
import { loadVerifiers } from './verifiers.ts';

/** What a training run ends with. */
export interface TrainingResult {
  readonly summaries: readonly StageSummary[];
  readonly last: Checkpoint | undefined;
  readonly runtime: Runtime;
  /** What was trained on. */
  readonly data: Readonly<Record<DataStage, SourceText>>;
}

/** Train with live progress; resolves when all is done, exits with code 130 when interrupted. */
export async function runTraining(options: TrainingOptions): Promise<TrainingResult> {
  const skip = skippedStages(options);
  const recipe = recipeOf(options);
  const config = configOf(options);
  const data = loadData(options.data, options.fill);
  checkContradictions(options, skip, data);
  checkMicroBatches(options, skip, recipe);
  const taskTypes = taskTypesOf(options);
  const verifiers = await loadVerifiers(options.verifiers);
  const runtime = await openRuntime(options);
  const seconds = estimateSeconds({ gflops: await measureGemm(runtime), config, recipe, data, skip });
  print({
    zh: `训练 ${options.config ?? options.preset} 模型：在这台机器上估计约 ${formatDuration(seconds)}（${options.threads} 线程）。可随时按 Ctrl-C，再次运行同一命令会接着训练。`,
    en: `Training the ${options.config ?? options.preset} model: about ${formatDuration(seconds)} on this machine (${options.threads} threads). Press Ctrl-C at any time; the same command goes on from there.`,
  });

  const { microBatchSize } = options;
  const stages = STAGES.filter((stage) => !skip.has(stage));
  const warning = warnOfMemory({ config, recipe, stages, microBatchSize }, process.availableMemory());
  if (warning) print(warning);

  const report = createReport(runtime, recipe);
  let last: Checkpoint | undefined;
  const { seed, out, restart = false, saveInterval } = options;
  const summaries = await untilInterrupted((interrupts) => {
    const ui: PipelineUi = {
      ...report,
      get interrupted() {
        return interrupts.interrupted;
      },
      stageEnds(summary, checkpoint) {
        if (summary.stage !== 'reward') last = checkpoint;
        return report.stageEnds(summary, checkpoint);
      },
    };
    return runPipeline(
      {
        ...{ runtime, config, recipe, skip, seed, out, data, taskTypes, verifiers },
        ...{ microBatchSize, restart, saveInterval },
        circumstances: circumstancesOf(options, data),
      },
      ui,
    );
  }, report.end);
  printSummary(summaries, recipe);
  return { summaries, last, runtime, data };
}

function circumstancesOf(
  options: TrainingOptions,
  data: Readonly<Record<DataStage, SourceText>>,
): Circumstances {
  const { config, preset, device, threads } = options;
  const names = Object.values(data).map(({ name }) => name);
  const taskTypes = taskTypesOf(options);
  return { machine: describeMachine(), preset: config ?? preset, device, threads, data: names, taskTypes };
}
