/**
 * @file Does a model that has read poems keep their form? It is given title and author of poems at the end of the text,
 * which training holds out, and writes them anew. See docs/your-own-data.en.md.
 *
 *     npx tsx docs/examples/poems.ts CHECKPOINT TEXT [COUNT]
 */

import { loadWriter } from '../../src/cli/writer.ts';
import { parsePretrain } from '../../src/data/formats.ts';
import { createDecoder } from '../../src/decoder.ts';
import { readTextFile } from '../../src/files.ts';
import { DEFAULT_SAMPLING, generateBatch, rawPrompt } from '../../src/generate.ts';
import { createRandom, foldSeed } from '../../src/tensor/random.ts';
import { createNodeRuntime } from '../../src/tensor/runtime/node.ts';
import { lineLengths, measureForm, type PoemForm } from './poem-form.ts';

const [folder, file, count = '100'] = process.argv.slice(2);
if (file === undefined) {
  console.error('npx tsx docs/examples/poems.ts CHECKPOINT TEXT [COUNT]');
  process.exit(2);
}

function show(name: string, { lines, formedLines, poems, formedPoems }: PoemForm): void {
  const share = (part: number, whole: number): string =>
    `${((100 * part) / Math.max(whole, 1)).toFixed(1)}% of ${whole}`;
  console.log(
    `${name}: ${share(formedLines, lines)} lines have 5 or 7 characters; ${share(formedPoems, poems)} poems keep one length`,
  );
}

const poems = parsePretrain(readTextFile(file), file).flatMap((document) => document.split(/\n\s*\n/));
show('text', measureForm(poems));

const { config, params: weights, tokenizer } = loadWriter(folder);
const headings = poems.slice(-Number(count)).map((poem) => `${poem.split('\n').slice(0, 2).join('\n')}\n`);
const prompts = headings.map((heading) => rawPrompt(tokenizer, heading));
const runtime = await createNodeRuntime();
const decoder = await createDecoder({ runtime, config, weights, batchSize: 16 });
const written = await generateBatch({
  decoder,
  tokenizer,
  prompts,
  maxNewTokens: config.contextLength,
  // Poems repeat no word for long, and a penalty would also hold back what a form asks for again.
  sampling: { ...DEFAULT_SAMPLING, repetitionPenalty: 1 },
  stop: ['\n\n'],
  randomOf: (index) => createRandom(foldSeed(1, index)),
});
await decoder.release();

const texts = written.map(({ text }) => text);
show('model', measureForm(texts));
for (const [index, text] of texts.slice(0, 3).entries())
  console.log(`\n${headings[index]}${text}\n(${lineLengths(text).join(' ')})`);
