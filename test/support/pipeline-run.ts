/**
 * @file A five-stage run of a tiny model, as a process of its own that a test can kill.
 *
 *     node --import tsx test/support/pipeline-run.ts FOLDER
 *
 * Prints a line for each step, and one for each stage that ends.
 */

import { writeSync } from 'node:fs';
import type { SourceText } from '../../src/data/datasets.ts';
import { runPipeline } from '../../src/pipeline.ts';
import { createNodeRuntime } from '../../src/tensor/runtime/node.ts';
import { CHATS, CONFIG, DOCUMENTS, PAIRS, RLHF, RLVF, TASKS } from './tiny.ts';

const json = (name: string, records: unknown): SourceText => ({
  name: `${name}.json`,
  text: JSON.stringify(records),
  own: true,
});
const say = (line: string): void => void writeSync(1, `${line}\n`);

await runPipeline(
  {
    runtime: await createNodeRuntime({ threads: 1 }),
    config: { ...CONFIG, vocabSize: 320, dropout: 0.1 },
    recipe: {
      pretrain: { epochs: 1, batchSize: 4, learningRate: 1e-2, warmupSteps: 2, generatedDocuments: 0 },
      sft: { epochs: 2, batchSize: 4, learningRate: 1e-2, generatedTasks: 0 },
      reward: { epochs: 1, batchSize: 8, learningRate: 1e-2 },
      rlhf: { ...RLHF, episodes: 24 },
      rlvf: RLVF,
    },
    skip: new Set(),
    seed: 1,
    out: process.argv[2],
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
  },
  {
    stageStarts: (stage, resumedAt) => say(`start ${stage} ${resumedAt ?? 0}`),
    step: (stage, { step, total }) => say(`step ${stage} ${step} ${total}`),
    note: ({ en }) => say(`note ${en}`),
    async stageEnds({ stage, outcome }) {
      say(`end ${stage} ${outcome}`);
    },
    interrupted: false,
  },
);
