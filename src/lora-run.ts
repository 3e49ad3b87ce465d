/**
 * @file From a base to an adapter in a folder: what `pipeline.ts` is for the five stages. A finished adapter is not
 * trained again, and an interrupted one goes on.
 *
 *     <out>/adapter_config.json, adapter_model.safetensors    the adapter
 *     <out>/metrics.jsonl, events.out.tfevents.*              its figures
 *     <out>/.progress/                                        while it is being trained
 */

import { createHash } from 'node:crypto';
import { fingerprintOf, isAdapter, loadLora, readAdapter, saveLora } from './adapter.ts';
import type { Checkpoint } from './checkpoint.ts';
import { conversations, type SourceText } from './data/datasets.ts';
import { UserError } from './errors.ts';
import { dropProgress, lockRun } from './run-folder.ts';
import { openStage, type StageUi } from './stage-run.ts';
import { type Lora, trainLora } from './stages/lora.ts';
import type { SftOptions } from './stages/sft.ts';
import { checkEvaluations, type Evaluation } from './stages/stage.ts';
import type { Runtime } from './tensor/index.ts';

const STAGE = 'lora';

export interface LoraRunOptions {
  readonly runtime: Runtime;
  readonly base: Checkpoint & { readonly name: string };
  /** A fresh adapter for the base. */
  readonly lora: Lora;
  readonly settings: SftOptions & { readonly quantizeBase: boolean };
  readonly seed: number;
  /** The folder of the adapter. */
  readonly out: string;
  readonly data: SourceText;
  readonly restart: boolean;
  /** Seconds between saves of the state in progress. */
  readonly saveInterval: number;
}

export interface LoraRun {
  readonly lora: Lora;
  readonly outcome: 'trained' | 'finished before';
  /** Seconds of training, over all runs that it took. */
  readonly seconds: number;
  readonly evaluations: readonly Evaluation[];
}

/** Train an adapter, or take up the one that is in the folder. */
export async function runLora(options: LoraRunOptions, ui: StageUi): Promise<LoraRun> {
  const { runtime, base, lora, settings, seed, out, data, restart, saveInterval } = options;
  const { train, heldOut } = conversations(data);
  const dependsOn = [fingerprintOf(base.params), lora.options, settings, seed, data];
  const fingerprint = createHash('sha256').update(JSON.stringify(dependsOn)).digest('hex');
  const unlock = lockRun(out);
  try {
    const finished = restart ? undefined : findFinished(out, base, fingerprint);
    if (finished) {
      // A kill after the adapter was written leaves the progress.
      dropProgress(out, STAGE);
      return finished;
    }
    const { io, cost, close } = openStage({ stage: STAGE, fingerprint, out, restart, saveInterval }, ui);
    const { config, tokenizer, params } = base;
    const context = { runtime, config, tokenizer, seed, io };
    const result = await trainLora(
      context,
      params,
      lora,
      { conversations: train, heldOut },
      settings,
    ).finally(close);
    checkEvaluations(STAGE, result.evaluations);
    const trained = { options: lora.options, weights: result.weights };
    const about = { ...cost(), evaluations: result.evaluations };
    saveLora(out, trained, base, { ...about, fingerprint });
    dropProgress(out, STAGE);
    return { lora: trained, outcome: 'trained', ...about };
  } finally {
    unlock();
  }
}

/** The adapter in a folder, if it is what this run would end with. */
function findFinished(out: string, base: LoraRunOptions['base'], fingerprint: string): LoraRun | undefined {
  if (!isAdapter(out)) return undefined;
  try {
    const stored = readAdapter(out);
    if (stored.extra['fingerprint'] !== fingerprint) return undefined;
    const lora = loadLora(stored, base, base.name);
    const { seconds = 0, evaluations = [] } = stored.extra as Partial<LoraRun>;
    return { lora, outcome: 'finished before', seconds, evaluations };
  } catch (error) {
    if (error instanceof UserError) return undefined;
    throw error;
  }
}
