/**
 * @file How much memory a training run will need at its peak, from the shapes of its largest graph. An estimate.
 */

import type { ModelConfig } from '../config.ts';
import { gptParameters } from '../model.ts';
import { countParameters } from '../nn/parameters.ts';
import { traceStep } from '../nn/train-step.ts';
import type { Recipe } from '../recipes.ts';
import { pretrainBatchSpec, pretrainLoss } from '../stages/pretrain.ts';
import type { StageName } from '../stages/stage.ts';
import type { Graph, GraphNode, Tensor } from '../tensor/index.ts';

/** Node, the data and the arenas of ONNX Runtime, in bytes: what `mini` takes in a whole run (1.4 GB) beyond the rest. */
const FIXED = 0.75e9;
/** Copies of the weights: two of weights and moments each, and what sampling and judging hold. */
const COPIES = 8;
/** Tokens of a question with its answer, about. */
const SHORT_ROW = 96;

/** Rows and tokens a row of the largest graph that a stage trains with. */
export function largestBatch(
  stage: StageName,
  recipe: Recipe,
  contextLength: number,
  microBatchSize = Number.POSITIVE_INFINITY,
): { readonly rows: number; readonly tokens: number } {
  const { pretrain, sft, reward, rlhf, rlvf } = recipe;
  const short = Math.min(contextLength, SHORT_ROW);
  switch (stage) {
    case 'pretrain':
      return { rows: Math.min(pretrain.batchSize, microBatchSize), tokens: contextLength };
    case 'sft':
      return { rows: Math.min(sft.batchSize, microBatchSize), tokens: contextLength };
    case 'reward':
      return { rows: 2 * Math.min(reward.batchSize, microBatchSize), tokens: short };
    case 'rlhf':
      return { rows: rlhf.miniBatchSize, tokens: short };
    case 'rlvf':
      return { rows: rlvf.keptQuestions * rlvf.groupSize, tokens: short };
  }
}

/** Bytes at the peak of the stages that are not skipped. */
export function estimatePeakBytes(options: {
  readonly config: ModelConfig;
  readonly recipe: Recipe;
  readonly skip: ReadonlySet<StageName>;
  readonly microBatchSize?: number;
}): number {
  const { config, recipe, skip, microBatchSize } = options;
  const specs = gptParameters(config);
  const weights = Object.fromEntries(
    Object.entries(specs).map(([name, { shape }]) => [name, { dtype: 'float32', shape } as const]),
  );
  const stages = (['pretrain', 'sft', 'reward', 'rlhf', 'rlvf'] as const).filter((stage) => !skip.has(stage));
  const peaks = stages.map((stage) => {
    const { rows, tokens } = largestBatch(stage, recipe, config.contextLength, microBatchSize);
    return peakOf(traceStep(pretrainLoss(config), pretrainBatchSpec(rows, tokens), weights));
  });
  return FIXED + COPIES * 4 * countParameters(specs) + Math.max(0, ...peaks);
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
