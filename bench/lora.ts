/**
 * @file What LoRA saves: a step of full fine-tuning and one of LoRA on the same batch, and the peak memory of each. They
 * run in processes of their own, in turn, so that neither sees the memory of the other and both see the same machine.
 */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { PRESETS, type PresetName } from '../src/config.ts';
import { gptParameters } from '../src/model.ts';
import { initializeParameters } from '../src/nn/parameters.ts';
import { createTrainer, createTrainState } from '../src/nn/train-step.ts';
import { adaptedParameters, applyLora, quantizeBase } from '../src/stages/lora.ts';
import { keyOf } from '../src/stages/pretrain.ts';
import { sftBatch, sftLoss } from '../src/stages/sft.ts';
import { createRandom } from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';

const MODES = ['full', 'lora'] as const;
type Mode = (typeof MODES)[number];
const ROUNDS = 2;

interface LoraBenchOptions {
  readonly preset: PresetName;
  readonly batch: number;
  readonly context: number;
  readonly r: number;
  readonly dropout: number;
  readonly quantizeBase: boolean;
  readonly steps: number;
  readonly threads: number;
}

interface Measured {
  /** Seconds of each step. */
  readonly seconds: readonly number[];
  /** Largest resident memory of the process, in 2^20 bytes. */
  readonly peakRssMb: number;
}

export interface LoraBench {
  readonly preset: PresetName;
  readonly batch: number;
  readonly context: number;
  readonly threads: number;
  /** Median steps. */
  readonly fullStepSeconds: number;
  readonly loraStepSeconds: number;
  readonly stepRatio: number;
  /** The same of the fastest steps. */
  readonly minStepRatio: number;
  readonly fullPeakRssMb: number;
  readonly loraPeakRssMb: number;
  readonly memoryRatio: number;
}

/** Measure both in turn, each twice. */
export async function benchLora(options: LoraBenchOptions): Promise<LoraBench> {
  const { preset, batch, context, threads } = options;
  const runs: Record<Mode, Measured[]> = { full: [], lora: [] };
  for (let round = 0; round < ROUNDS; round++) {
    for (const mode of MODES) {
      const script = fileURLToPath(import.meta.url);
      const args = ['--import', 'tsx', script, JSON.stringify({ mode, ...options })];
      const { stdout } = await promisify(execFile)(process.execPath, args);
      runs[mode].push(JSON.parse(stdout) as Measured);
    }
  }
  const figures = (mode: Mode) => {
    const seconds = runs[mode].flatMap((run) => run.seconds).sort((a, b) => a - b);
    return {
      median: seconds[Math.floor(seconds.length / 2)],
      fastest: seconds[0],
      peak: Math.max(...runs[mode].map(({ peakRssMb }) => peakRssMb)),
    };
  };
  const [full, lora] = [figures('full'), figures('lora')];
  return {
    preset,
    batch,
    context,
    threads,
    fullStepSeconds: full.median,
    loraStepSeconds: lora.median,
    stepRatio: lora.median / full.median,
    minStepRatio: lora.fastest / full.fastest,
    fullPeakRssMb: full.peak,
    loraPeakRssMb: lora.peak,
    memoryRatio: lora.peak / full.peak,
  };
}

/** Fine-tune on random tokens for a few steps. */
async function measure(options: LoraBenchOptions & { readonly mode: Mode }): Promise<Measured> {
  const { mode, preset, batch: B, context: T, r, dropout, steps, threads } = options;
  const config = { ...PRESETS[preset], contextLength: T };
  const runtime = await createNodeRuntime({ threads });
  const base = initializeParameters(gptParameters(config), 1);
  const random = createRandom(1);
  const tokens = (): Int32Array => Int32Array.from({ length: T }, () => random.integer(config.vocabSize));
  const rows = Array.from({ length: B }, () => ({
    ids: tokens(),
    targets: tokens(),
    lossMask: new Float32Array(T).fill(1),
    positions: Int32Array.from({ length: T }, (_, i) => i),
    segments: new Int32Array(T).fill(1),
  }));
  const batch = sftBatch(rows, keyOf(0, 0));
  const lora = applyLora({ config }, { r, alpha: 2 * r, dropout, targetModules: ['c_attn', 'c_proj'] });
  const frozen = options.quantizeBase ? quantizeBase(base) : base;
  const trainer = await createTrainer({
    runtime,
    batch,
    ...(mode === 'full'
      ? { loss: sftLoss(config), state: createTrainState(base) }
      : {
          loss: sftLoss(config, (weights, key) => adaptedParameters(frozen, { ...lora, weights }, key)),
          state: createTrainState(lora.weights),
        }),
  });
  for (let i = 0; i < 2; i++) await trainer.step(batch, 1e-4);
  const seconds: number[] = [];
  for (let i = 0; i < steps; i++) {
    const start = performance.now();
    await trainer.step({ ...batch, dropoutKey: keyOf(0, i) }, 1e-4);
    seconds.push((performance.now() - start) / 1000);
  }
  return { seconds, peakRssMb: Math.round(process.resourceUsage().maxRSS / 1024) };
}

const [, script, options] = process.argv;
if (script === fileURLToPath(import.meta.url))
  console.log(JSON.stringify(await measure(JSON.parse(options))));
