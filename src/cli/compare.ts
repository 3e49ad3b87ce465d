/** @file The same prompts answered by the model of every stage, side by side: what each stage of training changed. */

import { dirname, join } from 'node:path';
import { DEFAULT_FOLDER, STAGE_FOLDERS } from '../checkpoint.ts';
import { createDecoder } from '../decoder.ts';
import { UserError } from '../errors.ts';
import { generateBatch } from '../generate.ts';
import { text } from '../i18n.ts';
import { STAGE_NAMES } from '../stages/stage.ts';
import { createRandom, foldSeed, type Runtime } from '../tensor/index.ts';
import { promptTokens } from './answer.ts';
import { anySeed, type WritingOptions } from './sampling-options.ts';
import { columnsOf, withoutControls } from './terminal.ts';
import { wrappedTable } from './wrap.ts';
import { findStages, loadWriter, resolveCheckpoint, writesRawText } from './writer.ts';

/** What is asked where no prompt is given. */
const PROMPTS = ['你好', '你是谁？', '天空为什么是蓝色的？', '我今天心情不好。', '27+15等于多少？'];

/** Most prompts that are answered at a time. */
const LARGEST_BATCH = 8;

export interface CompareOptions extends WritingOptions {
  readonly runtime: Runtime;
  /** A folder of checkpoints, or a checkpoint in it. */
  readonly checkpoint?: string;
  readonly seed?: number;
}

/**
 * Print a table with a row for each prompt and a column for each stage in the folder. The pretrained model continues the
 * prompt as a text. Every model draws the same random numbers.
 */
export async function compare(given: readonly string[], options: CompareOptions): Promise<void> {
  const folder =
    options.checkpoint === undefined ? DEFAULT_FOLDER : dirname(resolveCheckpoint(options.checkpoint));
  const stages = findStages(folder);
  if (stages.length === 0) {
    throw new UserError({
      zh: `${options.checkpoint ?? folder} 中没有可以比较的检查点；请先运行 npm run train，或用 --checkpoint 指定检查点所在的文件夹`,
      en: `${options.checkpoint ?? folder} has no checkpoints to compare; run npm run train first, or name the folder that holds them with --checkpoint`,
    });
  }
  const prompts = given.length > 0 ? given : PROMPTS;
  const { seed = anySeed() } = options;
  const columns: string[][] = [];
  for (const stage of stages)
    columns.push(await answersOf(join(folder, STAGE_FOLDERS[stage]), prompts, { ...options, seed }));
  const heading = [text({ zh: '提示', en: 'Prompt' }), ...stages.map((stage) => text(STAGE_NAMES[stage]))];
  const rows = prompts.map((prompt, i) => [prompt, ...columns.map((answers) => answers[i])]);
  const shown = rows.map((row) => row.map((cell) => withoutControls(cell).replaceAll('\t', ' ').trim()));
  process.stdout.write(`${wrappedTable([heading, ...shown], columnsOf(process.stdout))}\n`);
}

async function answersOf(
  dir: string,
  prompts: readonly string[],
  { runtime, seed, ...writing }: CompareOptions & { readonly seed: number },
): Promise<string[]> {
  const checkpoint = loadWriter(dir);
  const { config, params: weights, tokenizer } = checkpoint;
  const batchSize = Math.min(prompts.length, LARGEST_BATCH);
  const decoder = await createDecoder({ runtime, config, weights, batchSize });
  const raw = writesRawText(checkpoint);
  const answers = await generateBatch({
    ...writing,
    decoder,
    tokenizer,
    prompts: prompts.map((prompt) => promptTokens(tokenizer, prompt, raw)),
    randomOf: (index) => createRandom(foldSeed(seed, index)),
  });
  await decoder.release();
  return answers.map((each, i) => (raw ? prompts[i] + each.text : each.text));
}
