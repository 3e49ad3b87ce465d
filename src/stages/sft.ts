/**
 * @file Lesson 3: supervised fine-tuning. The model that continues text learns to answer (Ouyang et al. 2022).
 *
 *     npm run train -- --skip-pretrain --skip-reward --skip-rlhf --skip-rlvf
 *
 * The objective is still the next token, but only where the assistant speaks: the user's words are read, not learned.
 * Several conversations share a row; attention does not cross from one to the next, and positions start over.
 *
 * Legend: B rows a batch, T context length, V vocabulary.
 */

import { type Message, type Rendered, renderConversation } from '../chat-format.ts';
import type { ModelConfig } from '../config.ts';
import { type Batches, countParts, planBatches, splitRows } from '../data/batches.ts';
import { emptyRow, type PackedRow, packConversations } from '../data/pack.ts';
import { rowBatch } from '../data/rows.ts';
import type { Text } from '../i18n.ts';
import { GPT, hiddenMatrices } from '../model.ts';
import { createAccumulatingTrainer } from '../nn/gradient-accumulation.ts';
import { maskedMean, withBalance } from '../nn/losses.ts';
import { learningRateAt, type OptimizerName } from '../nn/optimizer.ts';
import { bindParameters, type Parameters } from '../nn/parameters.ts';
import { createTrainState, type LossFunction } from '../nn/train-step.ts';
import { rowContext } from '../row-context.ts';
import {
  createRandom,
  crossEntropy,
  type Executable,
  foldSeed,
  type NdArray,
  type Runtime,
  type Spec,
  type Tensor,
  trace,
} from '../tensor/index.ts';
import type { Tokenizer } from '../tokenizer.ts';
import { keyOf } from './pretrain.ts';
import {
  checkStep,
  loadTrainState,
  requireFitting,
  STAGE_NAMES,
  type StageContext,
  type StageResult,
  saveTrainState,
} from './stage.ts';

export interface SftOptions {
  /** Passes over the conversations. */
  readonly epochs: number;
  /** Rows of a batch, B. */
  readonly batchSize: number;
  /** Rows that are computed at a time; a divisor of the batch, and all of it where not given. */
  readonly microBatchSize?: number;
  readonly learningRate: number;
  /** AdamW if undefined. */
  readonly optimizer?: OptimizerName;
}

type Messages = readonly Message[];

export interface SftData {
  /** Conversations of every epoch. */
  readonly conversations: readonly Messages[];
  /** Conversations made anew for each epoch (exercises that must not be learned by heart). */
  readonly generate?: (epoch: number) => readonly Messages[];
  readonly heldOut: readonly Messages[];
}

/**
 * Mean cross entropy over the assistant's tokens, and the balancing loss of experts; all inputs `[B, T]`, `lossMask` 1 where the target is trained on.
 *
 * @param bind makes the parameters of the model from the weights that are trained: these alone, unless others are frozen
 */
export function sftLoss(
  config: ModelConfig,
  bind: (weights: Readonly<Record<string, Tensor>>, dropoutKey: Tensor) => Parameters = bindParameters,
): LossFunction {
  return (weights, batch) => {
    const { ids, targets, lossMask, dropoutKey } = batch;
    const model = new GPT(bind(weights, dropoutKey), config);
    const { hidden, balance } = model.forward(ids, { ...rowContext(batch), dropoutKey });
    const { losses } = crossEntropy(model.logits(hidden), targets.reshape([targets.size]));
    const loss = maskedMean(losses, lossMask.reshape([lossMask.size]));
    return { ...withBalance(loss, balance), weight: lossMask.sum() };
  };
}

/** The conversations as batches of packed rows, each epoch in an order of its own. Says what did not fit. */
export function planConversations(
  { config, tokenizer, seed, io }: StageContext,
  data: SftData,
  options: Pick<SftOptions, 'epochs' | 'batchSize'>,
): Batches<{ readonly rows: readonly PackedRow[] }> {
  const T = config.contextLength;
  const render = (conversations: readonly Messages[]): Rendered[] =>
    conversations.map((messages) => renderConversation(tokenizer, messages));
  const fixed = render(data.conversations);

  const readEpoch = (epoch: number): { rows: readonly PackedRow[] } => {
    const random = createRandom(foldSeed(foldSeed(seed, 'sft'), epoch));
    const conversations = random.shuffle([...fixed, ...render(data.generate?.(epoch) ?? [])]);
    const { rows } = packConversations(conversations, { contextLength: T });
    requireFitting(rows.length, { zh: '微调数据（--data sft=…）', en: 'the SFT data (--data sft=…)' }, T);
    return { rows: random.shuffle(rows) };
  };
  const { report } = packConversations(fixed, { contextLength: T });
  if (report.tooLong + report.fullyMasked > 0) {
    io.note({
      zh: `对话中有 ${report.tooLong} 段长于上下文 ${T} 个词元（已截断或跳过），${report.fullyMasked} 段没有可学习的回答（已跳过）。`,
      en: `${report.tooLong} conversations are longer than the context of ${T} tokens (cut or skipped), ${report.fullyMasked} hold no answer to learn (skipped).`,
    });
  }
  return planBatches(readEpoch, options);
}

export async function supervisedFineTune(
  context: StageContext,
  pretrainedWeights: Readonly<Record<string, NdArray>>,
  data: SftData,
  options: SftOptions,
): Promise<StageResult> {
  const { runtime, config, tokenizer, seed, io } = context;
  const { batchSize: B } = options;
  const T = config.contextLength;
  const batches = planConversations(context, data, options);
  const { totalSteps } = batches;
  const schedule = {
    peak: options.learningRate,
    warmupSteps: Math.ceil(totalSteps * 0.03),
    totalSteps,
    finalFraction: 0.05,
  };

  const matrices = options.optimizer === 'muon' ? hiddenMatrices(config) : {};
  const state = io.resumed ? loadTrainState(io.resumed) : createTrainState(pretrainedWeights, matrices);
  const evaluate = (weights: Readonly<Record<string, NdArray>>): Promise<number | undefined> => {
    const parameters = bindParameters(weights);
    return evaluateSft({ runtime, config, tokenizer, parameters, conversations: data.heldOut });
  };
  const before = io.resumed
    ? (io.resumed.state['before'] as number | undefined)
    : await evaluate(state.weights);
  const parts = countParts(B, options.microBatchSize, STAGE_NAMES.sft);
  const trainer = await createAccumulatingTrainer({
    runtime,
    loss: sftLoss(config),
    batch: sftBatchSpec(B / parts, T),
    parts,
    state,
    matrices,
  });

  for (let step = state.step; step < totalSteps; step++) {
    const { epoch, rows } = batches.at(step);
    const lr = learningRateAt(step, schedule);
    const result = await trainer.step(
      splitRows(rows, parts).map((some, part) => sftBatch(some, keyOf(seed, step, part))),
      lr,
    );
    checkStep('sft', step + 1, result);
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
  const after = await evaluate(weights);
  return {
    weights,
    evaluations: after === undefined ? [] : [{ name: HELD_OUT_LOSS, before, after, unit: 'nats' }],
  };
}

export const HELD_OUT_LOSS: Text = { zh: '留出对话 回答词元损失', en: 'held-out loss on answer tokens' };

/** Mean loss in nats over the assistant's tokens of conversations; undefined where there are none. */
export async function evaluateSft(options: {
  readonly runtime: Runtime;
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
  readonly parameters: Parameters;
  readonly conversations: readonly Messages[];
}): Promise<number | undefined> {
  const { runtime, config, tokenizer, parameters, conversations } = options;
  const T = config.contextLength;
  const B = 8;
  const rendered = conversations.map((messages) => renderConversation(tokenizer, messages));
  const { rows } = packConversations(rendered, { contextLength: T });
  if (rows.length === 0) return undefined;
  const model = new GPT(parameters, config);
  const { dropoutKey: _, ...spec } = sftBatchSpec(B, T);
  const executable = await runtime.compile(
    trace(spec, (batch) => {
      const { ids, targets } = batch;
      const { hidden } = model.forward(ids, rowContext(batch));
      return { losses: crossEntropy(model.logits(hidden), targets.reshape([B * T])).losses };
    }),
  );
  const { losses } = await meansOverTargets(executable, rows, B);
  await executable.release();
  return losses;
}

/**
 * Means over all that is learned in some rows.
 * @param executable reads a batch of B rows; each of its outputs `[B * T]` has a number for each place
 */
export async function meansOverTargets(
  executable: Executable,
  rows: readonly PackedRow[],
  B: number,
): Promise<Record<string, number>> {
  const T = rows[0].ids.length;
  const totals: Record<string, number> = {};
  let count = 0;
  for (let start = 0; start < rows.length; start += B) {
    const batch = sftBatch(rows.slice(start, start + B), keyOf(0, 0), B);
    const { data: mask } = batch.lossMask;
    for (const [name, { data }] of Object.entries(await executable.run(batch))) {
      totals[name] ??= 0;
      for (let i = 0; i < B * T; i++) totals[name] += Number(data[i]) * Number(mask[i]);
    }
    for (let i = 0; i < B * T; i++) count += Number(mask[i]);
  }
  return Object.fromEntries(Object.entries(totals).map(([name, total]) => [name, total / count]));
}

/** The shapes of a batch. */
export function sftBatchSpec(B: number, T: number): Record<string, Spec> {
  return sftBatch([emptyRow(T)], keyOf(0, 0), B);
}

/** Packed rows as what the loss reads: B of them, those that are missing with nothing to learn. */
export function sftBatch(
  rows: readonly PackedRow[],
  dropoutKey: NdArray,
  B = rows.length,
): Record<keyof PackedRow | 'dropoutKey', NdArray> {
  return { ...rowBatch(rows, B), dropoutKey };
}
