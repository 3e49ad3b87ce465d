/** @file How fast a model trains: median step, peak memory, and the share of the machine's matrix-product peak. */

import { measureGemm } from '../src/cli/estimate.ts';
import { type ModelConfig, PRESETS, type PresetName } from '../src/config.ts';
import { gptParameters } from '../src/model.ts';
import { countParameters, initializeParameters } from '../src/nn/parameters.ts';
import { createTrainer, createTrainState } from '../src/nn/train-step.ts';
import { keyOf, pretrainLoss } from '../src/stages/pretrain.ts';
import { createRandom, type NdArray, type Runtime } from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';

export interface TrainBench {
  readonly preset: PresetName;
  readonly batch: number;
  readonly context: number;
  readonly threads: number;
  readonly tokensPerSecond: number;
  /** Median of the measured steps. */
  readonly stepSeconds: number;
  readonly minStepSeconds: number;
  /** Largest resident memory of the process, in 2^20 bytes, before the matrix products are measured. */
  readonly peakRssMb: number;
  /** Matrix-product peak of this machine, measured in the same run. */
  readonly gemmGflops: number;
  /** Floating-point operations of the step's matrix products, over the time of the step, over the peak. */
  readonly fractionOfGemmPeak: number;
}

/** Train on random tokens for a few steps. */
export async function benchTrain(options: {
  readonly preset: PresetName;
  readonly batch: number;
  readonly context: number;
  readonly steps: number;
  readonly threads: number;
}): Promise<TrainBench> {
  const { preset, batch: B, context: T, steps, threads } = options;
  const config = { ...PRESETS[preset], contextLength: T };
  const runtime = await createNodeRuntime({ threads });
  const seconds = await timeSteps(runtime, config, { batch: B, steps });
  const peakRssMb = process.resourceUsage().maxRSS / 1024;
  const gemmGflops = await measureGemm(runtime, 2048);
  seconds.sort((a, b) => a - b);
  const specs = gptParameters(config);
  const stepSeconds = seconds[Math.floor(seconds.length / 2)];
  // Forward and backward: six operations a weight and token, and twelve a layer, channel and pair of positions.
  const operations = B * T * (6 * countParameters(specs) + 12 * config.numLayers * config.hiddenSize * T);
  return {
    preset,
    batch: B,
    context: T,
    threads,
    tokensPerSecond: Math.round((B * T) / stepSeconds),
    stepSeconds,
    minStepSeconds: seconds[0],
    peakRssMb: Math.round(peakRssMb),
    gemmGflops: Math.round(gemmGflops),
    fractionOfGemmPeak: operations / stepSeconds / 1e9 / gemmGflops,
  };
}

/** Seconds of some training steps on random tokens; two more before them, which warm up, do not count. */
export async function timeSteps(
  runtime: Runtime,
  config: ModelConfig,
  { batch: B, steps }: { readonly batch: number; readonly steps: number },
): Promise<number[]> {
  const state = createTrainState(initializeParameters(gptParameters(config), 1));
  const shape = [B, config.contextLength];
  const random = createRandom(1);
  const tokens = (): NdArray => ({
    dtype: 'int32',
    shape,
    data: Int32Array.from({ length: shape[0] * shape[1] }, () => random.integer(config.vocabSize)),
  });
  const batch = { ids: tokens(), targets: tokens(), dropoutKey: keyOf(0, 0) };
  const trainer = await createTrainer({ runtime, loss: pretrainLoss(config), batch, state });
  for (let i = 0; i < 2; i++) await trainer.step(batch, 3e-4);
  const seconds: number[] = [];
  for (let i = 0; i < steps; i++) {
    const start = performance.now();
    await trainer.step(batch, 3e-4);
    seconds.push((performance.now() - start) / 1000);
  }
  await trainer.release();
  return seconds;
}
