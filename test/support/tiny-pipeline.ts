/** @file The whole pipeline at the smallest size that still trains: five stages in a few seconds. */

import type { SourceText } from '../../src/data/datasets.ts';
import type { PipelineOptions } from '../../src/pipeline.ts';
import { createNodeRuntime } from '../../src/tensor/runtime/node.ts';
import { BEST_OF_N, CHATS, CONFIG, DOCUMENTS, DPO, GRPO, PAIRS, RLHF, RLVF, TASKS } from './tiny.ts';

const json = (name: string, records: unknown): SourceText => ({
  name: `${name}.json`,
  text: JSON.stringify(records),
  own: true,
});

/** Options of a run into the folder `out`, saved after every step. */
export async function tinyPipeline(out: string): Promise<PipelineOptions> {
  return {
    runtime: await createNodeRuntime({ threads: 1 }),
    config: { ...CONFIG, vocabSize: 320, dropout: 0.1 },
    recipe: {
      pretrain: { epochs: 1, batchSize: 4, learningRate: 1e-2, warmupSteps: 2, generatedDocuments: 0 },
      sft: { epochs: 2, batchSize: 4, learningRate: 1e-2, generatedTasks: 0, shortAnswers: 0.4 },
      reward: { epochs: 1, batchSize: 8, learningRate: 1e-2, generatedPairs: 20, rehearsalCoefficient: 0.5 },
      rlhfAlgorithm: 'ppo',
      rlhf: { ...RLHF, episodes: 24 },
      dpo: DPO,
      rlvfAlgorithm: 'reinforce',
      rlvf: RLVF,
      grpo: GRPO,
      bestOfN: { rlhf: BEST_OF_N, rlvf: BEST_OF_N },
    },
    skip: new Set(),
    seed: 1,
    out,
    data: {
      pretrain: { name: 'text.txt', text: DOCUMENTS.join('\n<|endoftext|>\n'), own: true },
      sft: json(
        'sft',
        CHATS.map((messages) => ({ messages })),
      ),
      reward: json('reward', PAIRS),
      rlvf: json('rlvf', TASKS),
    },
    restart: false,
    saveInterval: 0,
  };
}
