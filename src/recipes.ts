/** @file How each preset is trained: the measured defaults of every stage, in one place. */

import type { PresetName } from './config.ts';
import type { PretrainOptions } from './stages/pretrain.ts';
import type { RewardOptions } from './stages/reward-model.ts';
import type { RlhfOptions } from './stages/rlhf.ts';
import type { RlvfOptions } from './stages/rlvf.ts';
import type { SftOptions } from './stages/sft.ts';

export interface Recipe {
  /** `generatedDocuments`: texts of arithmetic and logic made anew for each epoch, beside the bundled text. */
  readonly pretrain: PretrainOptions & { readonly generatedDocuments: number };
  /** `generatedTasks`: exercises made anew for each epoch, beside the bundled conversations. */
  readonly sft: SftOptions & { readonly generatedTasks: number };
  /** `generatedPairs`: answers spoilt on purpose, made anew for each epoch, beside the bundled pairs. */
  readonly reward: RewardOptions & { readonly generatedPairs: number };
  readonly rlhf: RlhfOptions;
  readonly rlvf: RlvfOptions;
}

const RLHF: Omit<RlhfOptions, 'episodes' | 'batchSize' | 'miniBatchSize' | 'learningRate' | 'maxNewTokens'> =
  {
    ppoEpochs: 2,
    temperature: 1,
    klCoefficient: 0.15,
    klTarget: 6,
    klHorizon: 10_000,
    gamma: 1,
    lambda: 0.95,
    missingEndPenalty: 1,
  };

export const RECIPES: Readonly<Record<PresetName, Recipe>> = {
  nano: {
    pretrain: { epochs: 1, batchSize: 16, learningRate: 3e-3, warmupSteps: 10, generatedDocuments: 100 },
    sft: { epochs: 3, batchSize: 16, learningRate: 3e-3, generatedTasks: 600 },
    reward: { epochs: 2, batchSize: 16, learningRate: 1e-3, generatedPairs: 200 },
    rlhf: { ...RLHF, episodes: 96, batchSize: 16, miniBatchSize: 8, learningRate: 1e-3, maxNewTokens: 24 },
    rlvf: {
      iterations: 10,
      questions: 8,
      keptQuestions: 8,
      groupSize: 4,
      learningRate: 5e-4,
      maxNewTokens: 24,
      temperature: 1,
      klCoefficient: 0.02,
    },
  },
  mini: {
    pretrain: { epochs: 5, batchSize: 4, learningRate: 1e-3, warmupSteps: 100, generatedDocuments: 200 },
    sft: { epochs: 10, batchSize: 4, learningRate: 1e-3, generatedTasks: 2000 },
    reward: { epochs: 2, batchSize: 16, learningRate: 2e-4, generatedPairs: 800 },
    rlhf: {
      ...RLHF,
      episodes: 1024,
      batchSize: 32,
      miniBatchSize: 16,
      learningRate: 2e-4,
      klCoefficient: 0.2,
      maxNewTokens: 48,
    },
    rlvf: {
      iterations: 60,
      questions: 12,
      keptQuestions: 4,
      groupSize: 8,
      learningRate: 2e-4,
      maxNewTokens: 64,
      temperature: 1,
      klCoefficient: 0.05,
    },
  },
  small: {
    pretrain: { epochs: 8, batchSize: 16, learningRate: 8e-4, warmupSteps: 50, generatedDocuments: 600 },
    sft: { epochs: 10, batchSize: 16, learningRate: 3e-4, generatedTasks: 1500 },
    reward: { epochs: 2, batchSize: 16, learningRate: 5e-5, generatedPairs: 800 },
    rlhf: { ...RLHF, episodes: 960, batchSize: 32, miniBatchSize: 16, learningRate: 1e-4, maxNewTokens: 48 },
    rlvf: {
      iterations: 60,
      questions: 16,
      keptQuestions: 8,
      groupSize: 8,
      learningRate: 1e-4,
      maxNewTokens: 48,
      temperature: 1,
      klCoefficient: 0.02,
    },
  },
};
