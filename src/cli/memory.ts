/**
 * @file How much memory a training run will need at its peak, from the shapes of its largest graphs. An
 * estimate.
 */

import type { ModelConfig } from '../config.ts';
import { ROWS_AT_A_TIME } from '../data/rows.ts';
import type { Text } from '../i18n.ts';
import { gptParameters } from '../model.ts';
import { traceAddition } from '../nn/gradient-accumulation.ts';
import { ADAMW_DEFAULTS } from '../nn/optimizer.ts';
import { countParameters } from '../nn/parameters.ts';
import { traceStep } from '../nn/train-step.ts';
import type { Recipe } from '../recipes.ts';
import { pretrainBatchSpec, pretrainLoss } from '../stages/pretrain.ts';
import { STAGE_NAMES, type StageName } from '../stages/stage.ts';
import type { Graph, GraphNode, Tensor } from '../tensor/index.ts';

/** Node, the data and the arenas of ONNX Runtime, in bytes: what `mini` takes in a whole run (1.4 GB) beyond the rest. */
const FIXED = 0.75e9;
/** Copies of the weights: two of weights and moments each, and what sampling and judging hold. */
const COPIES = 8;
/** Of the critic of PPO: weights and moments, two of each. */
const COPIES_OF_CRITIC = 6;
/** Of the sums of gradients: one is read, one is written. */
const COPIES_OF_SUMS = 2;
/** Tokens of a question with its answer, about. */
const SHORT_ROW = 128;

/** The largest graph that a stage trains with. */
interface GraphSize {
  readonly rows: number;
  /** Tokens a row. */
  readonly tokens: number;
  /** Whether the rows are only a part of a batch. */
  readonly isPart: boolean;
}

export function largestGraph(
  stage: StageName,
  recipe: Recipe,
  contextLength: number,
  microBatchSize = Number.POSITIVE_INFINITY,
): GraphSize {
  const { rlhf, rlhfAlgorithm, dpo, rlvf, rlvfAlgorithm, grpo, bestOfN } = recipe;
  const short = Math.min(contextLength, SHORT_ROW);
  const cut = (batchSize: number): GraphSize => ({
    rows: Math.min(batchSize, microBatchSize),
    tokens: contextLength,
    isPart: microBatchSize < batchSize,
  });
  const whole = (rows: number): GraphSize => ({ rows, tokens: short, isPart: false });
  /** Rows of conversations, counted in short ones. */
  const inShort = (rows: number): number => Math.ceil((rows * contextLength) / short);
  switch (stage) {
    case 'pretrain':
    case 'sft':
    case 'reward':
      return cut(recipe[stage].batchSize);
    case 'rlhf':
      return whole(
        {
          // Policy and critic have a graph each, and what one has taken the other does not get.
          ppo: 2 * rlhf.miniBatchSize + inShort(rlhf.rehearsalRows),
          dpo: 2 * dpo.batchSize,
          'best-of-n': bestOfN.rlhf.batchSize,
        }[rlhfAlgorithm],
      );
    case 'rlvf': {
      const rehearsed = inShort(rlvf.rehearsalRows);
      if (rlvfAlgorithm === 'reinforce')
        return { rows: ROWS_AT_A_TIME + rehearsed, tokens: short, isPart: true };
      return whole(
        { grpo: grpo.miniBatchSize + rehearsed, 'best-of-n': bestOfN.rlvf.batchSize }[rlvfAlgorithm],
      );
    }
  }
}

/** The stage that needs the most memory of those that are not skipped, and how much at its peak. */
export function estimatePeak(options: {
  readonly config: ModelConfig;
  readonly recipe: Recipe;
  readonly stages: readonly StageName[];
  readonly microBatchSize?: number;
}): { readonly stage: StageName; readonly bytes: number } {
  const { config, recipe, stages, microBatchSize } = options;
  const specs = gptParameters(config);
  const weights = Object.fromEntries(
    Object.entries(specs).map(([name, { shape }]) => [name, { dtype: 'float32', shape } as const]),
  );
  const peaks = stages.map((stage) => {
    const { rows, tokens, isPart } = largestGraph(stage, recipe, config.contextLength, microBatchSize);
    const [loss, batch] = [pretrainLoss(config), pretrainBatchSpec(rows, tokens)];
    const graph = isPart
      ? traceAddition(loss, batch, weights)
      : traceStep(loss, batch, weights, { ...ADAMW_DEFAULTS, matrices: {} });
    const hasCritic = stage === 'rlhf' && recipe.rlhfAlgorithm === 'ppo';
    const copies = COPIES + (isPart ? COPIES_OF_SUMS : 0) + (hasCritic ? COPIES_OF_CRITIC : 0);
    return { stage, bytes: FIXED + copies * 4 * countParameters(specs) + peakOf(graph) };
  });
  return peaks.reduce((most, each) => (each.bytes > most.bytes ? each : most));
}

/** The most bytes that the intermediate results of a graph take at a time, each from its making to its last use. */
export function peakOf({ nodes, outputs }: Graph): number {
  const lastUse = new Map<Tensor, number>();
  nodes.forEach((node, i) => {
    for (const input of node.inputs) if ('node' in input.source) lastUse.set(input, i);
  });
  // What is returned is written into arrays that exist already.
  const returned = new Set(Object.values(outputs));
  const bytes = (tensor: Tensor): number => (returned.has(tensor) ? 0 : 4 * tensor.size);
  let held = 0;
  let peak = 0;
  const free = (node: GraphNode, i: number): void => {
    for (const input of new Set(node.inputs)) if (lastUse.get(input) === i) held -= bytes(input);
  };
  nodes.forEach((node, i) => {
    // A result that nothing reads is dropped at once.
    for (const output of node.outputs) if (lastUse.has(output)) held += bytes(output);
    peak = Math.max(peak, held);
    free(node, i);
  });
  return peak;
}

/**
 * One sentence with what to lower, where the stages may not fit into the memory that is free.
 *
 * @param free bytes that the process may still take; `process.availableMemory()` heeds the limits of containers
 */
export function warnOfMemory(options: Parameters<typeof estimatePeak>[0], free: number): Text | undefined {
  const { stage, bytes } = estimatePeak(options);
  if (bytes <= free) return undefined;
  const name = STAGE_NAMES[stage];
  const lower = estimatePeak({ ...options, microBatchSize: 1 }).bytes < bytes;
  const fix = lower
    ? {
        zh: '加 --micro-batch-size 1（结果相同，内存更少）',
        en: 'add --micro-batch-size 1 (the same result in less memory)',
      }
    : { zh: '用更小的 --preset', en: 'give a smaller --preset' };
  return {
    zh: `${name.zh}估计需要 ${gigabytes(bytes)} 内存，只有 ${gigabytes(free)} 空闲；如果不够，请关闭其他程序，或${fix.zh}。`,
    en: `${name.en} may need ${gigabytes(bytes)} of memory, and ${gigabytes(free)} are free; if that is not enough, close other programs, or ${fix.en}.`,
  };
}

export function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}
