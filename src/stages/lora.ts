/**
 * @file LoRA: low-rank adaptation (Hu et al. 2021). A trained model learns something new without a weight of it moving.
 *
 *     npm run train-lora -- --base_model checkpoints/sft_final --lora_r 8 --target_modules c_attn c_proj
 *
 * Fine-tuning changes a weight matrix `W [in, out]` by some `ΔW` of the same size. LoRA bets that a `ΔW` of low rank will
 * do, and learns it as a product of two narrow matrices beside the frozen `W`:
 *
 *     h = W x + (α / r) B A x
 *
 * `A` starts random and `B` at zero, so that training starts from the very model that it adapts. As `W` has no gradient
 * and no optimiser state, a step is faster and smaller than full fine-tuning; what has been learned is a file of a few
 * hundred kilobytes, of which one base can have many; and added into `W` it costs nothing at all when the model writes.
 *
 * Rows are vectors here, so `x W` is written for `W x`, and `A` is `[in, r]`, `B` `[r, out]`.
 *
 * Legend: B rows a batch (of `A` and `B` only in the formula), T context length, M rows of a layer's input (`B * T`).
 */

import type { ModelConfig } from '../config.ts';
import { UserError } from '../errors.ts';
import { gptParameters } from '../model.ts';
import { dropout } from '../nn/layers.ts';
import { learningRateAt } from '../nn/optimizer.ts';
import {
  bindParameters,
  initializeParameters,
  type ParameterSpec,
  type Parameters,
  toTensor,
} from '../nn/parameters.ts';
import { createTrainer, createTrainState } from '../nn/train-step.ts';
import { gemm, type NdArray, quantize, type Tensor } from '../tensor/index.ts';
import { keyOf } from './pretrain.ts';
import {
  evaluateSft,
  HELD_OUT_LOSS,
  planConversations,
  type SftData,
  type SftOptions,
  sftBatch,
  sftBatchSpec,
  sftLoss,
} from './sft.ts';
import {
  checkStep,
  type Evaluation,
  loadTrainState,
  type StageContext,
  type StageResult,
  saveTrainState,
} from './stage.ts';

/** The linear layers that can be adapted: of attention (`c_…`) and of the feed-forward layer; `gate` in SwiGLU only. */
export const TARGET_MODULES = ['c_attn', 'c_proj', 'linear1', 'linear2', 'gate'] as const;
export type TargetModule = (typeof TARGET_MODULES)[number];

export interface LoraOptions {
  /** Rank of the update: the width of the passage between `A` and `B`. */
  readonly r: number;
  /** The update is multiplied by `alpha / r`: doubling `r` then leaves its size about the same. */
  readonly alpha: number;
  /** Share of the input that the update does not see in a step of training, in [0, 1). */
  readonly dropout: number;
  /** The layers that are adapted, in every block. */
  readonly targetModules: readonly TargetModule[];
}

/** Weights by name: arrays, or, while a graph is built, symbols. */
type Weights = Readonly<Record<string, NdArray | Tensor>>;

/** An adapter: `A` and `B` of each adapted layer, as `blocks.0.attention.c_attn.lora_A` and `….lora_B`. */
export interface Lora {
  readonly options: LoraOptions;
  readonly weights: Readonly<Record<string, NdArray>>;
}

/** What an adapter is made for; a `Checkpoint` is one. */
export interface BaseModel {
  readonly config: ModelConfig;
  readonly params: Readonly<Record<string, NdArray>>;
}

/** The matrices of an adapter. `A` starts uniform within ±1/√in (Kaiming-uniform with a = √5, as in PEFT), `B` at zero. */
export function loraParameters(config: ModelConfig, options: LoraOptions): Record<string, ParameterSpec> {
  const { r, targetModules } = options;
  const specs: Record<string, ParameterSpec> = {};
  for (const [name, { shape }] of Object.entries(gptParameters(config))) {
    const [, path, layer] = /^(.*\.(\w+))\.weight$/.exec(name) ?? [];
    if (!targetModules.includes(layer as TargetModule)) continue;
    const [inputSize, outputSize] = shape;
    specs[`${path}.lora_A`] = { shape: [inputSize, r], init: { bound: 1 / Math.sqrt(inputSize) } };
    specs[`${path}.lora_B`] = { shape: [r, outputSize], init: { constant: 0 } };
  }
  return specs;
}

/**
 * A new adapter for a model, which it does not change.
 * @throws UserError where the model has no such layer, or the rank is larger than the layers are wide
 */
export function applyLora({ config }: Pick<BaseModel, 'config'>, options: LoraOptions, seed = 1): Lora {
  const specs = loraParameters(config, options);
  for (const target of options.targetModules) {
    if (Object.keys(specs).some((name) => name.endsWith(`.${target}.lora_A`))) continue;
    throw new UserError({
      zh: `这个模型没有名为 ${target} 的层；请从 --target-modules 中去掉它`,
      en: `this model has no layer named ${target}; remove it from --target-modules`,
    });
  }
  if (options.r > config.hiddenSize) {
    throw new UserError({
      zh: `秩 ${options.r} 大于层的宽度 ${config.hiddenSize}，就不再是低秩了；请给出更小的 --lora-r`,
      en: `the rank ${options.r} is larger than the layers are wide (${config.hiddenSize}), that is no low rank; give a smaller --lora-r`,
    });
  }
  return { options, weights: initializeParameters(specs, seed) };
}

/** The parameters of a model with an adapter beside them: what `GPT` is built from to train, or to run unmerged. */
export function adaptedParameters(
  params: Weights,
  { options, weights }: { readonly options: LoraOptions; readonly weights: Weights },
  dropoutKey?: Tensor,
): Parameters {
  const paths = adaptedPaths(weights);
  const scope = (base: Parameters, path: string): Parameters => ({
    get: base.get,
    at: (name) => scope(base.at(name), path === '' ? `${name}` : `${path}.${name}`),
    adapter: paths.includes(path) ? (output, input) => update(output, input, path) : undefined,
  });
  const update = (output: Tensor, input: Tensor, path: string): Tensor => {
    const [A, B] = ['lora_A', 'lora_B'].map((name) => toTensor(weights[`${path}.${name}`]));
    const key = dropoutKey?.add(FIRST_KEY + paths.indexOf(path));
    const narrow = gemm(dropout(input, options.dropout, key), A); // [M, r]
    return gemm(narrow.mul(options.alpha / options.r), B, output); // [M, out]
  };
  return scope(bindParameters(params), '');
}

/** The dropout of the blocks themselves counts its keys from 0. */
const FIRST_KEY = 1 << 16;

/** The model with the update added into its weights: as fast as the base. The model that is given does not change. */
export function mergeLora<M extends BaseModel>(model: M, lora: Lora): M {
  return { ...model, params: addUpdate(model.params, lora, 1) };
}

/** The inverse of `mergeLora`, to within the rounding of float32. */
export function unmergeLora<M extends BaseModel>(model: M, lora: Lora): M {
  return { ...model, params: addUpdate(model.params, lora, -1) };
}

/** `W ± (α / r) A B` where there is an adapter; the other weights are shared with the given ones. */
function addUpdate(
  params: Readonly<Record<string, NdArray>>,
  { options: { r, alpha }, weights }: Lora,
  sign: 1 | -1,
): Record<string, NdArray> {
  const result = { ...params };
  for (const path of adaptedPaths(weights)) {
    const { shape, data: before } = params[`${path}.weight`];
    const [A, B] = ['lora_A', 'lora_B'].map((name) => weights[`${path}.${name}`].data as Float32Array);
    const [inputSize, outputSize] = shape;
    const data = Float32Array.from(before as Float32Array);
    for (let i = 0; i < inputSize; i++) {
      for (let k = 0; k < r; k++) {
        const factor = ((sign * alpha) / r) * A[i * r + k];
        for (let j = 0; j < outputSize; j++) data[i * outputSize + j] += factor * B[k * outputSize + j];
      }
    }
    result[`${path}.weight`] = { dtype: 'float32', shape, data };
  }
  return result;
}

/** Where the adapted layers are in the tree of names. */
function adaptedPaths(weights: Weights): string[] {
  return Object.keys(weights).flatMap((name) => /^(.*)\.lora_A$/.exec(name)?.[1] ?? []);
}

/** The linear layers in eight bits, for a base that stays frozen (after QLoRA, Dettmers et al. 2023). */
export function quantizeBase(params: Readonly<Record<string, NdArray>>): Record<string, NdArray> {
  const result: Record<string, NdArray> = {};
  for (const [name, weight] of Object.entries(params)) {
    // The table of embeddings is read row by row, and the rest is small.
    if (name.startsWith('embedding.') || weight.shape.length !== 2) {
      result[name] = weight;
      continue;
    }
    const { values, scales } = quantize(weight);
    result[name] = values;
    result[name.replace(/weight$/, 'scales')] = scales;
  }
  return result;
}

/**
 * Train an adapter on conversations. The base goes into the graph as constants: gradients, their norm and the
 * optimiser exist for `A` and `B` alone.
 *
 * @param options.quantizeBase whether the frozen weights are kept in eight bits meanwhile
 * @returns the weights of the adapter
 */
export async function trainLora(
  context: StageContext,
  baseWeights: Readonly<Record<string, NdArray>>,
  lora: Lora,
  data: SftData,
  options: SftOptions & { readonly quantizeBase: boolean },
): Promise<StageResult> {
  const { runtime, config, tokenizer, seed, io } = context;
  const { batchSize: B, learningRate } = options;
  const T = config.contextLength;
  const frozen = options.quantizeBase ? quantizeBase(baseWeights) : baseWeights;
  const batches = planConversations(context, data, options);
  const { totalSteps } = batches;
  const warmupSteps = Math.ceil(totalSteps * 0.03);
  const schedule = { peak: learningRate, warmupSteps, totalSteps, finalFraction: 0.05 };

  /** Held-out loss beside the frozen base, and beside the base in full precision where that differs. */
  const evaluate = async (weights: Readonly<Record<string, NdArray>>): Promise<(number | undefined)[]> => {
    const losses: (number | undefined)[] = [];
    for (const params of options.quantizeBase ? [frozen, baseWeights] : [frozen]) {
      const parameters = adaptedParameters(params, { ...lora, weights });
      const conversations = data.heldOut;
      losses.push(await evaluateSft({ runtime, config, tokenizer, parameters, conversations }));
    }
    return losses;
  };
  const state = io.resumed ? loadTrainState(io.resumed) : createTrainState(lora.weights);
  const before = io.resumed
    ? (io.resumed.state['before'] as (number | undefined)[])
    : await evaluate(state.weights);
  const trainer = await createTrainer({
    runtime,
    loss: sftLoss(config, (weights, key) => adaptedParameters(frozen, { ...lora, weights }, key)),
    batch: sftBatchSpec(B, T),
    state,
    // Decay would pull the adapter towards no change at all.
    optimizer: { weightDecay: 0 },
  });

  for (let step = state.step; step < totalSteps; step++) {
    const { epoch, rows } = batches.at(step);
    const lr = learningRateAt(step, schedule);
    const result = await trainer.step(sftBatch(rows, keyOf(seed, step)), lr);
    checkStep('lora', step + 1, result);
    const figures = { epoch: epoch + 1 };
    io.log({ step: step + 1, total: totalSteps, tokens: B * T, lr, ...result, figures });
    io.offer(() => saveTrainState(trainer.state, { before }));
  }

  const { weights } = trainer.state;
  await trainer.release();
  const after = await evaluate(weights);
  return { weights, evaluations: describe(before, after) };
}

function describe(
  before: readonly (number | undefined)[],
  after: readonly (number | undefined)[],
): Evaluation[] {
  const { zh, en } = HELD_OUT_LOSS;
  const names =
    after.length === 1
      ? [HELD_OUT_LOSS]
      : [
          { zh: `${zh}（int8 基座）`, en: `${en} (int8 base)` },
          { zh: `${zh}（float32 基座）`, en: `${en} (float32 base)` },
        ];
  return names.flatMap((name, i) => {
    const loss = after[i];
    return loss === undefined ? [] : [{ name, before: before[i], after: loss, unit: 'nats' as const }];
  });
}
