/** @file How long a training run will take on this machine, before it starts. */

import type { ModelConfig } from '../config.ts';
import type { SourceText } from '../data/datasets.ts';
import { ROWS_AT_A_TIME } from '../data/rows.ts';
import { gptParameters, hiddenMatrices } from '../model.ts';
import { orthogonalizeOperations } from '../nn/muon.ts';
import { countParameters } from '../nn/parameters.ts';
import type { Recipe, RlhfAlgorithm, RlvfAlgorithm } from '../recipes.ts';
import { STAGES, type StageName } from '../stages/stage.ts';
import { gemm, type NdArray, type Runtime, trace } from '../tensor/index.ts';

/** Share of the matrix-product peak that a training step reaches; measured on two cores (see docs/decisions.md). */
const EFFICIENCY = 0.75;
/** Of text in UTF-8, with a vocabulary of a few thousand, Chinese or English. */
const TOKENS_PER_BYTE = 0.26;
const TOKENS_PER_EXERCISE_DOCUMENT = 110;
/** With its share of a drill. */
const TOKENS_PER_EXERCISE = 78;
const TOKENS_PER_SPOILT_PAIR = 66;
const FIXED_SECONDS = 12;
/** Places of the longest question with its answer, about. */
const LONGEST_ANSWER = 96;
/** What it costs to write and to judge an answer, counted in places of training, as a share of the longest. */
const WRITING = 0.75;
/** Share of the longest that an answer takes in a row which several share. */
const ANSWER = 0.4;

/** What there is to do, and how fast. */
interface Work {
  /** What `measureGemm` found, in GFLOP/s. */
  readonly gflops: number;
  readonly config: ModelConfig;
  readonly recipe: Recipe;
  readonly data: Readonly<Record<'pretrain' | 'sft' | 'reward' | 'rlvf', SourceText>>;
}

/** Seconds for the stages that are not skipped. */
export function estimateSeconds({ skip, ...work }: Work & { readonly skip: ReadonlySet<StageName> }): number {
  const seconds = estimateStages(work);
  return FIXED_SECONDS + sum(STAGES.map((stage) => (skip.has(stage) ? 0 : seconds[stage])));
}

/** Seconds for each stage: its floating-point operations over the speed of matrix products. */
export function estimateStages({ gflops, config, recipe, data }: Work): Readonly<Record<StageName, number>> {
  const { pretrain, sft, reward, rlhf, dpo, rlvf, grpo, bestOfN } = recipe;
  const text = (source: SourceText): number => Buffer.byteLength(source.text) * TOKENS_PER_BYTE;
  const beside = (source: SourceText, tokens: number): number => (source.own ? 0 : tokens);
  const longest = Math.min(config.contextLength, LONGEST_ANSWER);
  // All answers are written and some are learned from: those of a reinforcement step, and one of N.
  const answered = rlvf.iterations * rlvf.groupSize * longest;
  const bestOf = ({ iterations, questions, groupSize, epochs }: (typeof bestOfN)['rlhf']): number =>
    iterations * questions * longest * (WRITING * groupSize + ANSWER * epochs);
  const learnedFrom = rlvf.keptQuestions * rlvf.groupSize;
  /** So many rows with each mini-batch of some answers. */
  const rehearsed = (rows: number, answers: number, miniBatchSize: number): number =>
    Math.ceil((ANSWER * answers) / miniBatchSize) * rows * config.contextLength;
  const rlhfTokens: Readonly<Record<RlhfAlgorithm, number>> = {
    // Policy and critic learn from each answer, and read it before; beside them the policy rehearses whole rows.
    ppo:
      (rlhf.episodes + rlhf.criticWarmup) * longest * (WRITING + ANSWER) +
      rlhf.episodes * longest * ANSWER * 2 * rlhf.ppoEpochs +
      ((rlhf.ppoEpochs * rlhf.episodes) / rlhf.batchSize) *
        rehearsed(rlhf.rehearsalRows, rlhf.batchSize, rlhf.miniBatchSize),
    // Each answer in a row as wide as the longest.
    dpo: (dpo.epochs + 0.4) * text(data.reward) * 2.3,
    'best-of-n': bestOf(bestOfN.rlhf),
  };
  const rlvfTokens: Readonly<Record<RlvfAlgorithm, number>> = {
    reinforce:
      answered * (WRITING * rlvf.questions + ANSWER * 1.3 * rlvf.keptQuestions) +
      rlvf.iterations * rehearsed(rlvf.rehearsalRows, learnedFrom, ROWS_AT_A_TIME),
    grpo:
      answered * (WRITING * rlvf.questions + ANSWER * (grpo.epochs + 0.6) * rlvf.keptQuestions) +
      rlvf.iterations * grpo.epochs * rehearsed(rlvf.rehearsalRows, learnedFrom, grpo.miniBatchSize),
    'best-of-n': bestOf(bestOfN.rlvf),
  };
  // Training tokens; a forward pass alone counts a third. In a file of conversations much is no text.
  const tokens: Record<StageName, number> = {
    pretrain:
      pretrain.epochs *
      (text(data.pretrain) +
        beside(data.pretrain, pretrain.generatedDocuments * TOKENS_PER_EXERCISE_DOCUMENT)),
    sft:
      sft.epochs *
      (text(data.sft) * (data.sft.own ? 0.6 : 0.54) +
        beside(data.sft, sft.generatedTasks * TOKENS_PER_EXERCISE)),
    reward:
      reward.epochs *
      (text(data.reward) + beside(data.reward, reward.generatedPairs * TOKENS_PER_SPOILT_PAIR)),
    rlhf: rlhfTokens[recipe.rlhfAlgorithm],
    rlvf: rlvfTokens[recipe.rlvfAlgorithm],
  };
  const specs = gptParameters(config);
  const attention = 2 * config.numLayers * config.hiddenSize * config.contextLength;
  const operationsOfToken = 6 * (countParameters(specs) + attention);
  const muonStep = sum(
    Object.entries(hiddenMatrices(config)).map(([name, widths]) =>
      orthogonalizeOperations(specs[name].shape[0], widths),
    ),
  );
  /** Muon's products cost as much for a small batch as for a large one. */
  const muonOperations = (stage: StageName): number => {
    if (stage !== 'pretrain' && stage !== 'sft') return 0;
    const { optimizer, batchSize } = recipe[stage];
    return optimizer === 'muon' ? (muonStep * tokens[stage]) / (batchSize * config.contextLength) : 0;
  };
  const secondsOf = (stage: StageName): number =>
    (operationsOfToken * tokens[stage] + muonOperations(stage)) / (EFFICIENCY * 1e9 * gflops);
  return Object.fromEntries(STAGES.map((stage) => [stage, secondsOf(stage)])) as Record<StageName, number>;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0);
}

/** Matrix-product speed in GFLOP/s, the best product of some time: the first ones, when threads and memory are cold, are slow. */
export async function measureGemm(runtime: Runtime, size = 1024, seconds = 0.5): Promise<number> {
  const matrix: NdArray = {
    dtype: 'float32',
    shape: [size, size],
    data: new Float32Array(size * size).fill(0.5),
  };
  const executable = await runtime.compile(
    trace({ a: matrix, b: matrix }, ({ a, b }) => ({ c: gemm(a, b) })),
  );
  let best = Number.POSITIVE_INFINITY;
  const end = performance.now() + 1000 * seconds;
  do {
    const start = performance.now();
    await executable.run({ a: matrix, b: matrix });
    best = Math.min(best, performance.now() - start);
  } while (performance.now() < end);
  await executable.release();
  return (2 * size ** 3) / best / 1e6;
}
