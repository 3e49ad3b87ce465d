/**
 * @file AdamW and Muon on the same work: `nano`'s pretraining on the bundled data, from the same weights, over the same
 * batches, each at a learning rate of its own. Told are steps and seconds to the same validation loss, the worse of the two
 * final ones.
 */

import { loadData } from '../src/cli/training-data.ts';
import { PRESETS } from '../src/config.ts';
import { conversations, exerciseDocuments, pretrainDocuments, tokenizerTexts } from '../src/data/datasets.ts';
import { OPTIMIZERS, type OptimizerName } from '../src/nn/optimizer.ts';
import { RECIPES } from '../src/recipes.ts';
import { evaluatePretrain, type PretrainData, pretrain } from '../src/stages/pretrain.ts';
import { loadTrainState, type SavedState, type StageContext, type StageIo } from '../src/stages/stage.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { Tokenizer } from '../src/tokenizer.ts';

/** Steps between two evaluations. */
const INTERVAL = 4;

/** The best of those that were tried (docs/decisions.md). */
export const LEARNING_RATES: Readonly<Record<OptimizerName, number>> = { adamw: 0.003, muon: 0.04 };

export interface OptimizersBench {
  readonly steps: number;
  readonly adamwLearningRate: number;
  readonly muonLearningRate: number;
  readonly seed: number;
  readonly threads: number;
  /** Validation bits per byte after all steps. */
  readonly adamwBitsPerByte: number;
  readonly muonBitsPerByte: number;
  /** The worse of the two. */
  readonly targetBitsPerByte: number;
  /** Steps after which an evaluation first reached the target; one is made every few steps. */
  readonly adamwStepsToTarget: number;
  readonly muonStepsToTarget: number;
  /** Medians. */
  readonly adamwStepSeconds: number;
  readonly muonStepSeconds: number;
  /** Steps to the target times their median. */
  readonly adamwSecondsToTarget: number;
  readonly muonSecondsToTarget: number;
}

interface Run {
  /** Validation bits per byte after so many steps. */
  readonly evaluations: readonly { readonly step: number; readonly bitsPerByte: number }[];
  readonly stepSeconds: number;
}

/** Train with one and then with the other. */
export async function benchOptimizers(options: {
  readonly threads: number;
  readonly seed: number;
  readonly adamwLearningRate: number;
  readonly muonLearningRate: number;
}): Promise<OptimizersBench> {
  const { threads, seed, adamwLearningRate, muonLearningRate } = options;
  const learningRates: Readonly<Record<OptimizerName, number>> = {
    adamw: adamwLearningRate,
    muon: muonLearningRate,
  };
  const { generatedDocuments, ...recipe } = RECIPES.nano.pretrain;
  const bundled = loadData([]);
  const documents = pretrainDocuments(bundled.pretrain);
  const texts = tokenizerTexts(documents.train, conversations(bundled.sft).train, seed);
  const tokenizer = Tokenizer.train(texts, { vocabSize: PRESETS.nano.vocabSize });
  const config = { ...PRESETS.nano, vocabSize: tokenizer.vocabSize };
  const context = { runtime: await createNodeRuntime({ threads }), config, tokenizer, seed };
  const data: PretrainData = {
    documents: documents.train,
    heldOut: documents.heldOut,
    generate: (epoch) => exerciseDocuments(generatedDocuments, seed, epoch),
  };
  const runs = {} as Record<OptimizerName, Run>;
  for (const optimizer of OPTIMIZERS)
    runs[optimizer] = await trainWith(context, data, {
      ...recipe,
      learningRate: learningRates[optimizer],
      optimizer,
    });

  const { adamw, muon } = runs;
  const final = ({ evaluations }: Run): number => evaluations[evaluations.length - 1].bitsPerByte;
  const target = Math.max(final(adamw), final(muon));
  const stepsToTarget = ({ evaluations }: Run): number =>
    evaluations.find(({ bitsPerByte }) => bitsPerByte <= target)!.step;
  return {
    steps: adamw.evaluations[adamw.evaluations.length - 1].step,
    adamwLearningRate,
    muonLearningRate,
    seed,
    threads,
    adamwBitsPerByte: final(adamw),
    muonBitsPerByte: final(muon),
    targetBitsPerByte: target,
    adamwStepsToTarget: stepsToTarget(adamw),
    muonStepsToTarget: stepsToTarget(muon),
    adamwStepSeconds: adamw.stepSeconds,
    muonStepSeconds: muon.stepSeconds,
    adamwSecondsToTarget: stepsToTarget(adamw) * adamw.stepSeconds,
    muonSecondsToTarget: stepsToTarget(muon) * muon.stepSeconds,
  };
}

/** Pretrain, keeping weights on the way; they are evaluated afterwards, outside the measured time. */
async function trainWith(
  context: Omit<StageContext, 'io'>,
  data: PretrainData,
  options: Parameters<typeof pretrain>[2],
): Promise<Run> {
  const kept: SavedState[] = [];
  const seconds: number[] = [];
  let lastAt = Number.NaN;
  let isDue = false;
  const io: StageIo = {
    log({ step, total }) {
      seconds.push((performance.now() - lastAt) / 1000);
      isDue = step % INTERVAL === 0 || step === total;
    },
    note: () => {},
    offer(make) {
      // The trainer writes over its arrays: what is kept has to be a copy.
      if (isDue) kept.push(structuredClone(make()));
      lastAt = performance.now();
    },
  };
  await pretrain({ ...context, io }, data, options);
  const evaluations: { step: number; bitsPerByte: number }[] = [];
  for (const saved of kept) {
    const { step, weights } = loadTrainState(saved);
    const evaluated = await evaluatePretrain({ ...context, weights, documents: data.heldOut });
    evaluations.push({ step, bitsPerByte: evaluated!.bitsPerByte });
  }
  // The first has no beginning.
  const sorted = seconds.slice(1).sort((a, b) => a - b);
  return { evaluations, stepSeconds: sorted[Math.floor(sorted.length / 2)] };
}
