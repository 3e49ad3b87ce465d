/** @file How each preset is trained: the measured defaults of every stage, in one place. */

import type { PresetName } from './config.ts';
import type { BestOfNOptions } from './stages/best-of-n.ts';
import type { DpoOptions } from './stages/dpo.ts';
import type { GrpoOptions } from './stages/grpo.ts';
import type { PretrainOptions } from './stages/pretrain.ts';
import type { RewardOptions } from './stages/reward-model.ts';
import type { RlhfOptions } from './stages/rlhf.ts';
import type { RlvfOptions } from './stages/rlvf.ts';
import type { SftOptions } from './stages/sft.ts';

/** The methods of the last two stages, the usual one first. */
export const RLHF_ALGORITHMS = ['ppo', 'dpo', 'best-of-n'] as const;
export type RlhfAlgorithm = (typeof RLHF_ALGORITHMS)[number];
export const RLVF_ALGORITHMS = ['reinforce', 'grpo', 'best-of-n'] as const;
export type RlvfAlgorithm = (typeof RLVF_ALGORITHMS)[number];

/** Answers are as long and as varied as those of the stage's usual method. */
type BestOfNSettings = Omit<BestOfNOptions, 'maxNewTokens' | 'temperature'>;

export interface Recipe {
  /** `generatedDocuments`: texts of arithmetic and logic made anew for each epoch, beside the bundled text. */
  readonly pretrain: PretrainOptions & { readonly generatedDocuments: number };
  /**
   * `generatedTasks`: exercises made anew for each epoch, beside the bundled conversations; `shortAnswers`: the share of
   * these that are drawn to be answered shortly (three in four of them can be).
   */
  readonly sft: SftOptions & { readonly generatedTasks: number; readonly shortAnswers: number };
  /** `generatedPairs`: answers spoilt on purpose, made anew for each epoch, beside the bundled pairs. */
  readonly reward: RewardOptions & { readonly generatedPairs: number };
  readonly rlhfAlgorithm: RlhfAlgorithm;
  /** PPO. */
  readonly rlhf: RlhfOptions;
  readonly dpo: DpoOptions;
  readonly rlvfAlgorithm: RlvfAlgorithm;
  /** REINFORCE. */
  readonly rlvf: RlvfOptions;
  /** What GRPO has of its own, or other than REINFORCE. */
  readonly grpo: Omit<GrpoOptions, Exclude<keyof RlvfOptions, 'learningRate'>>;
  readonly bestOfN: Readonly<Record<'rlhf' | 'rlvf', BestOfNSettings>>;
}

const USUAL = { rlhfAlgorithm: RLHF_ALGORITHMS[0], rlvfAlgorithm: RLVF_ALGORITHMS[0] };

const REWARD = { rehearsalCoefficient: 0.5 };

/** DAPO's clip-higher (Yu et al. 2025). */
const GRPO = { epochs: 2, clipLow: 0.2, clipHigh: 0.28 };

const REHEARSAL = { rehearsalRows: 1, rehearsalCoefficient: 0.5 };

const RLHF: Omit<RlhfOptions, 'episodes' | 'batchSize' | 'learningRate' | 'maxNewTokens'> = {
  miniBatchSize: 6,
  ppoEpochs: 1,
  temperature: 1,
  klCoefficient: 0.15,
  klTarget: 6,
  klHorizon: 10_000,
  criticLearningRate: 2e-4,
  criticWarmup: 256,
  rehearsalRows: 2,
  rehearsalCoefficient: 0.5,
  gamma: 1,
  lambda: 0.95,
  missingEndPenalty: 1,
};

export const RECIPES: Readonly<Record<PresetName, Recipe>> = {
  nano: {
    ...USUAL,
    dpo: { epochs: 2, batchSize: 16, learningRate: 1e-3, beta: 0.1 },
    grpo: { ...GRPO, miniBatchSize: 16, learningRate: 5e-4 },
    bestOfN: {
      rlhf: { iterations: 6, questions: 16, groupSize: 4, epochs: 1, batchSize: 2, learningRate: 1e-3 },
      rlvf: { iterations: 10, questions: 8, groupSize: 4, epochs: 1, batchSize: 2, learningRate: 5e-4 },
    },
    pretrain: {
      epochs: 1,
      batchSize: 16,
      learningRate: 2e-2,
      warmupSteps: 10,
      optimizer: 'muon',
      generatedDocuments: 100,
    },
    sft: {
      epochs: 3,
      batchSize: 16,
      learningRate: 2e-2,
      optimizer: 'muon',
      generatedTasks: 200,
      shortAnswers: 0.4,
    },
    reward: { epochs: 2, batchSize: 8, learningRate: 1e-3, generatedPairs: 180, ...REWARD },
    rlhf: {
      ...RLHF,
      criticWarmup: 64,
      ppoEpochs: 2,
      episodes: 320,
      batchSize: 16,
      learningRate: 1e-3,
      maxNewTokens: 24,
    },
    rlvf: {
      iterations: 10,
      questions: 8,
      keptQuestions: 8,
      groupSize: 4,
      learningRate: 5e-4,
      maxNewTokens: 24,
      temperature: 1,
      klCoefficient: 0.02,
      ...REHEARSAL,
    },
  },
  mini: {
    ...USUAL,
    dpo: { epochs: 2, batchSize: 8, learningRate: 2e-4, beta: 0.1 },
    grpo: { ...GRPO, miniBatchSize: 8, learningRate: 1e-4 },
    bestOfN: {
      rlhf: { iterations: 64, questions: 16, groupSize: 4, epochs: 1, batchSize: 4, learningRate: 1e-4 },
      rlvf: { iterations: 60, questions: 12, groupSize: 8, epochs: 1, batchSize: 4, learningRate: 1e-4 },
    },
    pretrain: {
      epochs: 3,
      batchSize: 8,
      learningRate: 4e-3,
      warmupSteps: 50,
      optimizer: 'muon',
      generatedDocuments: 200,
    },
    sft: {
      epochs: 3,
      batchSize: 4,
      learningRate: 2e-3,
      optimizer: 'muon',
      generatedTasks: 4000,
      shortAnswers: 0.4,
    },
    reward: { epochs: 3, batchSize: 4, learningRate: 2e-4, generatedPairs: 1200, ...REWARD },
    rlhf: {
      ...RLHF,
      episodes: 1920,
      batchSize: 64,
      learningRate: 4e-4,
      klCoefficient: 0.1,
      maxNewTokens: 48,
    },
    rlvf: {
      iterations: 50,
      questions: 12,
      keptQuestions: 4,
      groupSize: 8,
      learningRate: 2e-4,
      maxNewTokens: 80,
      temperature: 1,
      klCoefficient: 0.05,
      ...REHEARSAL,
    },
  },
  small: {
    ...USUAL,
    dpo: { epochs: 2, batchSize: 8, learningRate: 5e-5, beta: 0.1 },
    grpo: { ...GRPO, miniBatchSize: 8, learningRate: 5e-5 },
    bestOfN: {
      rlhf: { iterations: 16, questions: 16, groupSize: 4, epochs: 1, batchSize: 4, learningRate: 5e-5 },
      rlvf: { iterations: 60, questions: 16, groupSize: 8, epochs: 1, batchSize: 4, learningRate: 5e-5 },
    },
    pretrain: { epochs: 8, batchSize: 16, learningRate: 8e-4, warmupSteps: 50, generatedDocuments: 600 },
    sft: { epochs: 10, batchSize: 16, learningRate: 3e-4, generatedTasks: 1500, shortAnswers: 0.4 },
    reward: { epochs: 2, batchSize: 4, learningRate: 5e-5, generatedPairs: 1200, ...REWARD },
    rlhf: {
      ...RLHF,
      episodes: 960,
      batchSize: 32,
      learningRate: 1e-4,
      maxNewTokens: 48,
    },
    rlvf: {
      iterations: 60,
      questions: 16,
      keptQuestions: 8,
      groupSize: 8,
      learningRate: 1e-4,
      maxNewTokens: 48,
      temperature: 1,
      klCoefficient: 0.02,
      ...REHEARSAL,
    },
  },
};
