/**
 * @file A stage while it runs: the side that touches disk and terminal. Progress is resumed where it fits, figures are
 * logged, and the state is saved now and then.
 */

import type { Text } from './i18n.ts';
import { openMetrics } from './metrics.ts';
import { unprefixed } from './nn/names.ts';
import { loadProgress, saveProgress } from './run-folder.ts';
import { createLossWatch, type Verdict } from './stages/loss-watch.ts';
import { divergenceError, type StageIo, type StepRecord } from './stages/stage.ts';

/** What the caller shows of one stage. */
export interface StageUi {
  starts(resumedAt: number | undefined): void;
  step(record: StepRecord & { readonly tokensPerSecond: number }): void;
  note(message: Text): void;
  /** Whether the person asked to stop; the state is then saved and the stage ends with `Interrupted`. */
  readonly interrupted: boolean;
}

/** Thrown between two steps after the state was saved. */
export class Interrupted extends Error {}

/** What a stage took, over all runs. */
export interface StageCost {
  /** Seconds of training. */
  readonly seconds: number;
  /** The largest memory of the process, in bytes, as it was after each step. */
  readonly peakBytes: number;
}

/** Start a stage, or go on with it where it was interrupted under the same fingerprint. */
export function openStage(
  options: {
    readonly stage: string;
    /** Of everything that the result depends on. */
    readonly fingerprint: string;
    readonly out: string;
    readonly restart: boolean;
    /** Seconds between saves of the state in progress. */
    readonly saveInterval: number;
  },
  ui: StageUi,
): { io: StageIo; cost: () => StageCost; close: () => void } {
  const { stage, fingerprint, out, restart, saveInterval } = options;
  const resumed = restart ? undefined : loadProgress(out, stage, fingerprint);
  const secondsBefore = Number(resumed?.state['seconds'] ?? 0);
  let peakBytes = Number(resumed?.state['peakBytes'] ?? 0);
  const stepBefore = Number(resumed?.state['loggedStep'] ?? 0);
  const startedAt = performance.now();
  const cost = (): StageCost => {
    peakBytes = Math.max(peakBytes, process.memoryUsage.rss());
    return { seconds: secondsBefore + (performance.now() - startedAt) / 1000, peakBytes };
  };
  const metrics = openMetrics(out, { resumeAt: { stage, step: stepBefore } });
  let savedAt = performance.now();
  let stepAt = performance.now();
  let loggedStep = stepBefore;
  const watch = createLossWatch(resumed?.state['usualLosses'] as readonly number[] | undefined);
  let diverged: Verdict['diverged'];
  ui.starts(resumed ? stepBefore : undefined);
  const io: StageIo = {
    resumed,
    log(record) {
      const now = performance.now();
      const tokensPerSecond = (record.tokens * 1000) / (now - stepAt);
      stepAt = now;
      loggedStep = record.step;
      peakBytes = Math.max(peakBytes, process.memoryUsage.rss());
      const { step, lr, loss, gradientNorm, figures } = record;
      metrics.log({ stage, step, loss, lr, tokensPerSecond, gradientNorm, ...figures });
      ui.step({ ...record, tokensPerSecond });
      const verdict = watch.see(step, loss);
      if (verdict.note) ui.note(verdict.note);
      diverged = verdict.diverged;
    },
    note: ui.note,
    offer(make) {
      // Before anything is saved: what stands on disk is good.
      if (diverged) throw divergenceError(stage, diverged, unprefixed('weights', make().tensors));
      const due = performance.now() - savedAt >= saveInterval * 1000;
      if (!due && !ui.interrupted) return;
      const { tensors, state } = make();
      saveProgress(out, stage, fingerprint, {
        tensors,
        state: { ...state, loggedStep, usualLosses: watch.usual, ...cost() },
      });
      savedAt = performance.now();
      stepAt = savedAt;
      if (ui.interrupted) throw new Interrupted();
    },
  };
  return { io, cost, close: () => metrics.close() };
}
