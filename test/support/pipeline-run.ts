/**
 * @file A five-stage run of a tiny model, as a process of its own that a test can kill.
 *
 *     node --import tsx test/support/pipeline-run.ts FOLDER
 *
 * Prints a line for each step, and one for each stage that ends.
 */

import { writeSync } from 'node:fs';
import { runPipeline } from '../../src/pipeline.ts';
import { tinyPipeline } from './tiny-pipeline.ts';

const say = (line: string): void => void writeSync(1, `${line}\n`);

await runPipeline(await tinyPipeline(process.argv[2]), {
  stageStarts: (stage, resumedAt) => say(`start ${stage} ${resumedAt ?? 0}`),
  step: (stage, { step, total }) => say(`step ${stage} ${step} ${total}`),
  note: ({ en }) => say(`note ${en}`),
  async stageEnds({ stage, outcome }) {
    say(`end ${stage} ${outcome}`);
  },
  interrupted: false,
});
