/**
 * @file Distillation (Hinton et al. 2015): a large model, the teacher, trains a small one, the student.
 *
 *     npm run distill -- --teacher checkpoints/sft_final --preset nano --temperature 2 --alpha 0.5
 *
 * A training text says of every place only which token came next. The teacher says how likely each token would have
 * been, and that a near miss is not as wrong as nonsense: a whole distribution to learn from a place. Dividing the logits of
 * both by a temperature above 1 before the softmax makes the small probabilities larger, where much of that is to be seen.
 *
 *     loss = α τ² KL(teacher_τ || student_τ) + (1 - α) cross entropy
 *
 * The gradient of the first term shrinks with 1/τ²; the factor τ² keeps the balance of the two terms where α puts it.
 *
 * The teacher's weights are constants of the training graph: its forward pass is a part of the step, and nothing of it has
 * a gradient.
 *
 * Legend: B rows a batch, T context length, M places of a batch (`B * T`), V vocabulary; τ is the temperature.
 */

import type { Rendered } from '../chat-format.ts';
import type { ModelConfig } from '../config.ts';
import { type Batches, planBatches } from '../data/batches.ts';
import { type PackedRow, packConversations } from '../data/pack.ts';
import { UserError } from '../errors.ts';
import { GPT } from '../model.ts';
import { klDivergence, maskedMean, withBalance } from '../nn/losses.ts';
import { learningRateAt } from '../nn/optimizer.ts';
import { bindParameters } from '../nn/parameters.ts';
import { createTrainer, createTrainState, type LossAndMetrics, type LossFunction } from '../nn/train-step.ts';
import { rowContext } from '../row-context.ts';
import {
  argmax,
  createRandom,
  crossEntropy,
  equal,
  foldSeed,
  type NdArray,
  type Runtime,
  type Tensor,
  trace,
} from '../tensor/index.ts';
import type { Tokenizer } from '../tokenizer.ts';
import { keyOf } from './pretrain.ts';
import { meansOverTargets, sftBatch, sftBatchSpec } from './sft.ts';
import {
  checkStep,
  type Evaluation,
  loadTrainState,
  requireFitting,
  type StageContext,
  type StageResult,
  saveTrainState,
} from './stage.ts';

export interface DistillOptions {
  /** Passes over the sequences. */
  readonly epochs: number;
  /** Rows of a batch, B. */
  readonly batchSize: number;
  readonly learningRate: number;
  /** τ, above 0: the larger, the flatter both distributions are when they are compared. */
  readonly temperature: number;
  /** α, from 0 (the text alone teaches) to 1 (the teacher alone). */
  readonly alpha: number;
}

/** Sequences of tokens, each with the mask of what is learned from it. */
export interface DistillData {
  /** The sequences of an epoch. */
  readonly train: (epoch: number) => readonly Rendered[];
  readonly heldOut: readonly Rendered[];
}

/** The weights of a model and their shape; a `Checkpoint` is one. */
export interface Model {
  readonly config: ModelConfig;
  readonly params: Readonly<Record<string, NdArray>>;
}

/**
 * What the student and the teacher have to have in common: token by token they answer the same question.
 * @throws UserError that names both and says what differs
 */
export function checkPair(student: Named, teacher: Named): void {
  if (student.tokenizer.toJson() !== teacher.tokenizer.toJson()) {
    throw new UserError({
      zh: `学生 ${student.name} 和教师 ${teacher.name} 的分词器不同，同一个编号不是同一个词元，无从比较；请换用同一个分词器训练的 --student，或去掉它，从头训练一个学生`,
      en: `the student ${student.name} and the teacher ${teacher.name} have different tokenizers, so a number is not the same token to both; give a --student that was trained with the teacher's, or leave it out for a new one`,
    });
  }
  const [ours, theirs] = [student.config.contextLength, teacher.config.contextLength];
  if (ours !== theirs) {
    throw new UserError({
      zh: `学生 ${student.name} 的上下文是 ${ours} 个词元，教师 ${teacher.name} 的是 ${theirs} 个；请换用上下文相同的 --student，或去掉它，从头训练一个学生`,
      en: `the context of the student ${student.name} is ${ours} tokens, that of the teacher ${teacher.name} ${theirs}; give a --student with the same, or leave it out for a new one`,
    });
  }
}

interface Named {
  readonly name: string;
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
}

/**
 * The loss of M places, from logits `[M, V]`, the tokens that followed, int32 `[M]`, and the mask `[M]` of what is
 * learned; and its two terms: `crossEntropy`, and `kl` at the temperature, without τ².
 *
 * @param logits.teacher may be left out where α is 0
 */
export function distillationLoss(
  logits: { readonly student: Tensor; readonly teacher?: Tensor },
  { targets, mask }: { readonly targets: Tensor; readonly mask: Tensor },
  { temperature, alpha }: Pick<DistillOptions, 'temperature' | 'alpha'>,
): LossAndMetrics {
  const { student, teacher } = logits;
  const hard = maskedMean(crossEntropy(student, targets).losses, mask);
  if (!teacher) return { loss: hard, metrics: { crossEntropy: hard } };
  const soft = maskedMean(klDivergence(teacher.div(temperature), student.div(temperature)), mask);
  const taught = soft.mul(alpha * temperature ** 2);
  const loss = alpha === 1 ? taught : taught.add(hard.mul(1 - alpha));
  return { loss, metrics: { crossEntropy: hard, kl: soft } };
}

/** The loss of a batch of packed rows, as in fine-tuning; the teacher is a constant of it. */
export function distillLoss(config: ModelConfig, teacher: Model, options: DistillOptions): LossFunction {
  const guide = options.alpha > 0 ? modelOf(teacher) : undefined;
  return (weights, batch) => {
    const { ids, targets, lossMask, dropoutKey } = batch;
    const model = new GPT(bindParameters(weights), config);
    const context = rowContext(batch);
    const { hidden, balance } = model.forward(ids, { ...context, dropoutKey });
    const logits = {
      student: model.logits(hidden), // [M, V]
      teacher: guide?.logits(guide.forward(ids, context).hidden),
    };
    const M = targets.size;
    const places = { targets: targets.reshape([M]), mask: lossMask.reshape([M]) };
    const { loss, metrics } = distillationLoss(logits, places, options);
    return withBalance(loss, balance, metrics);
  };
}

/** A student beside its teacher on held-out sequences: means over the places that are learned. */
export interface Closeness {
  /** Cross entropy of the student in nats. */
  readonly loss: number;
  readonly teacherLoss: number;
  /** KL(teacher || student) in nats, at temperature 1. */
  readonly kl: number;
  /** Share of the places where both find the same token the likeliest. */
  readonly agreement: number;
}

/** Compare a student with its teacher; undefined where nothing is held out. */
export async function compareWithTeacher(
  { runtime, config }: { readonly runtime: Runtime; readonly config: ModelConfig },
  weights: Readonly<Record<string, NdArray>>,
  teacher: Model,
  sequences: readonly Rendered[],
): Promise<Closeness | undefined> {
  const T = config.contextLength;
  const B = 8;
  const { rows } = packConversations(sequences, { contextLength: T });
  if (rows.length === 0) return undefined;
  const models = [modelOf({ params: weights, config }), modelOf(teacher)];
  const { dropoutKey: _, lossMask: __, ...spec } = sftBatchSpec(B, T);
  const graph = trace(spec, (batch) => {
    const { ids, targets } = batch;
    const context = rowContext(batch);
    const flat = targets.reshape([B * T]);
    const [student, guide] = models.map((model) => model.logits(model.forward(ids, context).hidden));
    return {
      loss: crossEntropy(student, flat).losses,
      teacherLoss: crossEntropy(guide, flat).losses,
      kl: klDivergence(guide, student),
      agreement: equal(argmax(guide, -1), argmax(student, -1)).cast('float32'),
    };
  });
  const executable = await runtime.compile(graph);
  const { loss, teacherLoss, kl, agreement } = await meansOverTargets(executable, rows, B);
  await executable.release();
  return { loss, teacherLoss, kl, agreement };
}

function modelOf({ params, config }: Model): GPT {
  return new GPT(bindParameters(params), config);
}

/** The sequences as batches of packed rows, each epoch in an order of its own. */
function planSequences(
  { config, seed }: StageContext,
  data: DistillData,
  options: DistillOptions,
): Batches<{ readonly rows: readonly PackedRow[] }> {
  const T = config.contextLength;
  return planBatches((epoch) => {
    const random = createRandom(foldSeed(foldSeed(seed, 'distill'), epoch));
    const { rows } = packConversations(random.shuffle([...data.train(epoch)]), { contextLength: T });
    requireFitting(rows.length, { zh: '蒸馏的数据（--data）', en: 'the data (--data)' }, T);
    return { rows: random.shuffle(rows) };
  }, options);
}

/**
 * Train a student, whose configuration is the context's and which has the teacher's tokenizer.
 * @returns its weights, and the figures of `Closeness` before and after
 */
export async function distill(
  context: StageContext,
  studentWeights: Readonly<Record<string, NdArray>>,
  teacher: Model,
  data: DistillData,
  options: DistillOptions,
): Promise<StageResult & { readonly teacherLoss: number | undefined }> {
  const { runtime, config, seed, io } = context;
  const { batchSize: B } = options;
  const T = config.contextLength;
  const batches = planSequences(context, data, options);
  const { totalSteps } = batches;
  const warmupSteps = Math.ceil(totalSteps * 0.03);
  const schedule = { peak: options.learningRate, warmupSteps, totalSteps, finalFraction: 0.05 };

  const state = io.resumed ? loadTrainState(io.resumed) : createTrainState(studentWeights);
  const compare = (weights: Readonly<Record<string, NdArray>>): Promise<Closeness | undefined> =>
    compareWithTeacher(context, weights, teacher, data.heldOut);
  const before = io.resumed
    ? (io.resumed.state['before'] as Closeness | undefined)
    : await compare(state.weights);
  const trainer = await createTrainer({
    runtime,
    loss: distillLoss(config, teacher, options),
    batch: sftBatchSpec(B, T),
    state,
  });

  for (let step = state.step; step < totalSteps; step++) {
    const { epoch, rows } = batches.at(step);
    const lr = learningRateAt(step, schedule);
    const result = await trainer.step(sftBatch(rows, keyOf(seed, step)), lr);
    checkStep('distill', step + 1, result);
    const figures = { epoch: epoch + 1, ...result.metrics };
    io.log({ step: step + 1, total: totalSteps, tokens: B * T, lr, ...result, figures });
    io.offer(() => saveTrainState(trainer.state, { before }));
  }

  const { weights } = trainer.state;
  await trainer.release();
  const after = await compare(weights);
  return {
    weights,
    evaluations: before && after ? describe(before, after) : [],
    teacherLoss: after?.teacherLoss,
  };
}

function describe(before: Closeness, after: Closeness): Evaluation[] {
  const figure = (
    key: 'loss' | 'kl' | 'agreement',
    unit: Evaluation['unit'],
    name: Evaluation['name'],
  ): Evaluation => ({ name, before: before[key], after: after[key], unit });
  return [
    figure('loss', 'nats', { zh: '留出数据 损失', en: 'held-out loss' }),
    figure('kl', 'nats', { zh: '留出数据 与教师的 KL', en: 'held-out KL from the teacher' }),
    figure('agreement', 'share', {
      zh: '留出数据 首选词元与教师相同',
      en: 'held-out agreement with the teacher on the likeliest token',
    }),
  ];
}
