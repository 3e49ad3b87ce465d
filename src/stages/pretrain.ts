/**
 * @file Lesson 2: pretraining. The model reads text and learns to predict the next token (Radford et al. 2018).
 *
 *     npm run train -- --skip-sft --skip-reward --skip-rlhf --skip-rlvf
 *
 * Documents are laid end to end, each followed by `<eos>`, and cut into rows of the context length: no padding, every
 * token but the first is a target. Progress is measured in bits per byte of held-out text, which does not depend on the
 * tokenizer.
 *
 * Legend: B rows a batch, T context length, V vocabulary.
 */

import type { ModelConfig } from '../config.ts';
import { countParts, epochOrder, planBatches, splitRows } from '../data/batches.ts';
import { countRows, cutRows, packDocuments } from '../data/pack.ts';
import { GPT, gptParameters, hiddenMatrices } from '../model.ts';
import { createAccumulatingTrainer } from '../nn/gradient-accumulation.ts';
import { withBalance } from '../nn/losses.ts';
import { learningRateAt, type OptimizerName } from '../nn/optimizer.ts';
import { bindParameters, initializeParameters } from '../nn/parameters.ts';
import { createTrainState, type LossFunction } from '../nn/train-step.ts';
import { createRandom, crossEntropy, foldSeed, type NdArray, type Runtime, trace } from '../tensor/index.ts';
import { SPECIAL, type Tokenizer } from '../tokenizer.ts';
import {
  checkStep,
  loadTrainState,
  STAGE_NAMES,
  type StageContext,
  type StageResult,
  saveTrainState,
} from './stage.ts';

export interface PretrainOptions {
  /** Passes over the text. */
  readonly epochs: number;
  /** Rows of a batch, B. */
  readonly batchSize: number;
  /** Rows that are computed at a time; a divisor of the batch, and all of it where not given. */
  readonly microBatchSize?: number;
  /** Peak learning rate. */
  readonly learningRate: number;
  readonly warmupSteps: number;
  /** AdamW if undefined. */
  readonly optimizer?: OptimizerName;
}

export interface PretrainData {
  /** Texts that are read in every epoch. */
  readonly documents: readonly string[];
  /** Texts made anew for each epoch (exercises that must not be learned by heart). */
  readonly generate?: (epoch: number) => readonly string[];
  /** Texts that only the evaluation sees. */
  readonly heldOut: readonly string[];
}

/** Mean next-token cross entropy in nats over `ids`, `targets` int32 `[B, T]`, and the balancing loss of experts. */
export function pretrainLoss(config: ModelConfig): LossFunction {
  return (weights, { ids, targets, dropoutKey }) => {
    const model = new GPT(bindParameters(weights), config);
    const { hidden, balance } = model.forward(ids, { dropoutKey });
    const { losses } = crossEntropy(model.logits(hidden), targets.reshape([targets.size]));
    return withBalance(losses.mean(), balance);
  };
}

export async function pretrain(
  { runtime, config, tokenizer, seed, io }: StageContext,
  data: PretrainData,
  options: PretrainOptions,
): Promise<StageResult> {
  const { batchSize: B } = options;
  const T = config.contextLength;
  const encode = (documents: readonly string[]): Int32Array[] =>
    documents.map((document) => tokenizer.encode(document));
  const texts = encode(data.documents);

  /** The text of an epoch as one stream, and the order in which its rows are read. */
  const readEpoch = (epoch: number): { stream: Int32Array; rows: readonly number[] } => {
    const random = createRandom(foldSeed(foldSeed(seed, 'pretrain'), epoch));
    const documents = random.shuffle([...texts, ...encode(data.generate?.(epoch) ?? [])]);
    const stream = packDocuments(documents, { contextLength: T, separator: SPECIAL.eos });
    return { stream, rows: epochOrder(countRows(stream.length, T), seed, epoch) };
  };
  const batches = planBatches(readEpoch, options);
  const { totalSteps } = batches;
  const schedule = {
    peak: options.learningRate,
    warmupSteps: options.warmupSteps,
    totalSteps,
    finalFraction: 0.1,
  };

  const matrices = options.optimizer === 'muon' ? hiddenMatrices(config) : {};
  const state = io.resumed
    ? loadTrainState(io.resumed)
    : createTrainState(initializeParameters(gptParameters(config), foldSeed(seed, 'weights')), matrices);
  const evaluate = (weights: Readonly<Record<string, NdArray>>) =>
    evaluatePretrain({ runtime, config, tokenizer, weights, documents: data.heldOut });
  const before = io.resumed
    ? (io.resumed.state['before'] as number | undefined)
    : (await evaluate(state.weights))?.bitsPerByte;
  const parts = countParts(B, options.microBatchSize, STAGE_NAMES.pretrain);
  const spec = pretrainBatchSpec(B / parts, T);
  const loss = pretrainLoss(config);
  const trainer = await createAccumulatingTrainer({ runtime, loss, batch: spec, parts, state, matrices });

  for (let step = state.step; step < totalSteps; step++) {
    const { epoch, stream, rows } = batches.at(step);
    const batch = splitRows(rows, parts).map((some, part) => {
      const { ids, targets } = cutRows(stream, { contextLength: T, rows: some });
      return {
        ids: { ...spec.ids, data: ids },
        targets: { ...spec.targets, data: targets },
        dropoutKey: keyOf(seed, step, part),
      };
    });
    const lr = learningRateAt(step, schedule);
    const result = await trainer.step(batch, lr);
    checkStep('pretrain', step + 1, result);
    io.log({
      step: step + 1,
      total: totalSteps,
      tokens: B * T,
      lr,
      ...result,
      figures: { epoch: epoch + 1, ...result.metrics },
    });
    io.offer(() => saveTrainState(trainer.state, { before }));
  }

  const { weights } = trainer.state;
  await trainer.release();
  const after = (await evaluate(weights))?.bitsPerByte;
  const name = { zh: '验证集 每字节比特', en: 'validation bits per byte' };
  return {
    weights,
    evaluations: after === undefined ? [] : [{ name, before, after, unit: 'bits/byte' }],
  };
}

/**
 * Loss in nats per token and bits per raw byte of documents, laid end to end as in training; undefined without
 * documents.
 */
export async function evaluatePretrain(options: {
  readonly runtime: Runtime;
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
  readonly weights: Readonly<Record<string, NdArray>>;
  readonly documents: readonly string[];
}): Promise<{ loss: number; bitsPerByte: number } | undefined> {
  const { runtime, config, tokenizer, weights, documents } = options;
  if (documents.length === 0) return undefined;
  const T = config.contextLength;
  const B = 8;
  const model = new GPT(bindParameters(weights), config);
  const spec = { dtype: 'int32', shape: [B, T] } as const;
  const executable = await runtime.compile(
    trace({ ids: spec, targets: spec }, ({ ids, targets }) => ({
      losses: crossEntropy(model.logits(model.forward(ids).hidden), targets.reshape([B * T])).losses,
    })),
  );
  const stream = packDocuments(
    documents.map((document) => tokenizer.encode(document)),
    // Less than a row is enough to be measured.
    { contextLength: 1, separator: SPECIAL.eos },
  );
  let nats = 0;
  let tokens = 0;
  let bytes = 0;
  for (let start = 0; start < stream.length - 1; start += B * T) {
    const ids = new Int32Array(B * T);
    const targets = new Int32Array(B * T);
    ids.set(stream.subarray(start, Math.min(start + B * T, stream.length - 1)));
    targets.set(stream.subarray(start + 1, Math.min(start + 1 + B * T, stream.length)));
    const { losses } = await executable.run({
      ids: { ...spec, data: ids },
      targets: { ...spec, data: targets },
    });
    const count = Math.min(B * T, stream.length - 1 - start);
    for (let i = 0; i < count; i++) {
      nats += Number(losses.data[i]);
      tokens++;
      // Raw bytes of the token itself; <eos> stands for no byte of the text.
      bytes += targets[i] === SPECIAL.eos ? 0 : tokenizer.tokenLength(targets[i]);
    }
  }
  await executable.release();
  return { loss: nats / tokens, bitsPerByte: nats / Math.LN2 / bytes };
}

/** The shapes of a batch. */
export function pretrainBatchSpec(B: number, T: number) {
  return {
    ids: { dtype: 'int32', shape: [B, T] },
    targets: { dtype: 'int32', shape: [B, T] },
    dropoutKey: { dtype: 'int32', shape: [] },
  } as const;
}

/**
 * The dropout key of a step, or of a part of it: a function of seed, step and part alone, so that a resumed run drops the
 * same activations.
 */
export function keyOf(seed: number, step: number, part = 0): NdArray {
  const key = foldSeed(seed, step);
  return { dtype: 'int32', shape: [], data: Int32Array.of(part === 0 ? key : foldSeed(key, part)) };
}
