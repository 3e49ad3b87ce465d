/** @file nanoGPT's CPU configuration: a character model of a text file, 2,000 steps, to a validation loss. */

import type { ModelConfig } from '../src/config.ts';
import { readTextFile } from '../src/files.ts';
import { GPT, gptParameters } from '../src/model.ts';
import { learningRateAt } from '../src/nn/optimizer.ts';
import { bindParameters, initializeParameters } from '../src/nn/parameters.ts';
import { createTrainer, createTrainState } from '../src/nn/train-step.ts';
import { keyOf, pretrainLoss } from '../src/stages/pretrain.ts';
import { createRandom, crossEntropy, type Spec, trace } from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';

const BATCH = 12;
const CONTEXT = 64;

export interface NanoGptBench {
  readonly steps: number;
  readonly threads: number;
  /** Mean loss over every character of the last tenth of the text. */
  readonly fullValidationLoss: number;
  /** Time of the training alone. */
  readonly seconds: number;
  readonly stepSeconds: number;
  readonly peakRssMb: number;
}

/** Train on the first nine tenths of a text, character by character, and evaluate on the rest. */
export async function benchNanoGpt(options: {
  readonly file: string;
  readonly steps: number;
  readonly seed: number;
  readonly threads: number;
  readonly onStep?: (step: number, loss: number) => void;
}): Promise<NanoGptBench> {
  const { steps, seed, threads } = options;
  const characters = Array.from(readTextFile(options.file));
  const vocabulary = [...new Set(characters)].sort();
  const index = new Map(vocabulary.map((character, i) => [character, i]));
  const ids = Int32Array.from(characters, (character) => index.get(character)!);
  const edge = Math.floor(ids.length * 0.9);
  const [train, validation] = [ids.subarray(0, edge), ids.subarray(edge)];
  const config: ModelConfig = {
    vocabSize: vocabulary.length,
    contextLength: CONTEXT,
    hiddenSize: 128,
    numLayers: 4,
    numHeads: 4,
    numKvHeads: 4,
    intermediateSize: 512,
    norm: 'layernorm',
    activation: 'gelu',
    ropeBase: 10000,
    dropout: 0,
  };
  const runtime = await createNodeRuntime({ threads });
  const shape = [BATCH, CONTEXT];
  const spec: Spec = { dtype: 'int32', shape };
  const trainer = await createTrainer({
    runtime,
    loss: pretrainLoss(config),
    batch: { ids: spec, targets: spec, dropoutKey: keyOf(0, 0) },
    state: createTrainState(initializeParameters(gptParameters(config), seed)),
    optimizer: { beta2: 0.99 },
  });
  const random = createRandom(seed);
  const schedule = { peak: 1e-3, warmupSteps: 100, totalSteps: steps, finalFraction: 0.1 };
  const start = performance.now();
  for (let step = 0; step < steps; step++) {
    const rows = Array.from({ length: BATCH }, () => random.integer(train.length - CONTEXT));
    const cut = (shift: number) => {
      const data = new Int32Array(BATCH * CONTEXT);
      rows.forEach((row, i) => {
        data.set(train.subarray(row + shift, row + shift + CONTEXT), i * CONTEXT);
      });
      return { ...spec, data };
    };
    const batch = { ids: cut(0), targets: cut(1), dropoutKey: keyOf(0, 0) };
    const { loss } = await trainer.step(batch, learningRateAt(step, schedule));
    options.onStep?.(step + 1, loss);
  }
  const seconds = (performance.now() - start) / 1000;

  const model = new GPT(bindParameters(trainer.state.weights), config);
  const executable = await runtime.compile(
    trace({ ids: spec, targets: spec }, (batch) => ({
      losses: crossEntropy(
        model.logits(model.forward(batch.ids).hidden),
        batch.targets.reshape([BATCH * CONTEXT]),
      ).losses,
    })),
  );
  let total = 0;
  let count = 0;
  for (let at = 0; at + 1 + BATCH * CONTEXT <= validation.length; at += BATCH * CONTEXT) {
    const cut = (shift: number) => ({
      ...spec,
      data: validation.slice(at + shift, at + shift + BATCH * CONTEXT),
    });
    const { losses } = await executable.run({ ids: cut(0), targets: cut(1) });
    for (const loss of losses.data) total += Number(loss);
    count += BATCH * CONTEXT;
  }
  return {
    steps,
    threads,
    fullValidationLoss: total / count,
    seconds,
    stepSeconds: seconds / steps,
    peakRssMb: Math.round(process.resourceUsage().maxRSS / 1024),
  };
}
