/**
 * @file `npm run tokenizer -- train | encode | decode | show | mask`: make a tokenizer, use it, and look inside.
 *
 *     npm run tokenizer -- train --input data/pretrain_data.txt --vocab-size 2000 --output my-tokenizer
 *     npm run tokenizer -- encode --tokenizer my-tokenizer --text 你好
 *     npm run tokenizer -- decode --tokenizer my-tokenizer 410 388
 *     npm run tokenizer -- show --tokenizer my-tokenizer --text 你好
 */

import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { renderConversation, showMask } from '../chat-format.ts';
import { DEFAULT_FOLDER, STAGE_FOLDERS } from '../checkpoint.ts';
import { parseConversations } from '../data/formats.ts';
import { UserError } from '../errors.ts';
import { readTextFile, writeFileAtomic } from '../files.ts';
import { formatDuration, table } from '../format-text.ts';
import { text } from '../i18n.ts';
import { SPECIAL_TOKENS, Tokenizer } from '../tokenizer.ts';
import { createCommand, createSubcommand, integer, parseCommand, runCommand } from './options.ts';
import { createProgress } from './progress.ts';

const FILE_NAME = 'tokenizer.json';
const DEFAULT_TOKENIZER = join(DEFAULT_FOLDER, STAGE_FOLDERS.pretrain);

/** Load a tokenizer from its file, or from the folder (a checkpoint, for example) that holds it. */
function loadTokenizer(path: string): Tokenizer {
  const file = statSync(path, { throwIfNoEntry: false })?.isDirectory() ? join(path, FILE_NAME) : path;
  if (!existsSync(file)) {
    throw new UserError({
      zh: `找不到分词器 ${file}；请用 --tokenizer 指定它，或用 \`npm run tokenizer -- train\` 训练一个`,
      en: `there is no tokenizer at ${file}; name one with --tokenizer, or train one with \`npm run tokenizer -- train\``,
    });
  }
  return Tokenizer.fromJson(readTextFile(file), file);
}

interface TrainOptions {
  input: string[];
  vocabSize: number;
  output: string;
}

function train({ input, vocabSize, output }: TrainOptions): void {
  const texts = input.map(readTextFile);
  const bytes = texts.reduce((sum, each) => sum + Buffer.byteLength(each), 0);
  const start = performance.now();
  let progress: ReturnType<typeof createProgress> | undefined;
  const tokenizer = Tokenizer.train(texts, {
    vocabSize,
    onProgress: (done, total) => {
      progress ??= createProgress({ stage: text({ zh: '训练分词器', en: 'tokenizer' }), total });
      progress.update({ step: done });
    },
  });
  progress?.end();
  const file = join(output, FILE_NAME);
  writeFileAtomic(file, tokenizer.toJson());

  const took = formatDuration((performance.now() - start) / 1000);
  const tokens = texts.reduce((sum, each) => sum + tokenizer.encode(each).length, 0);
  const ratio = (bytes / tokens).toFixed(2);
  console.log(
    text({
      zh: `${tokenizer.vocabSize} 个词元，用时 ${took}，已保存到 ${file}；平均每个词元 ${ratio} 字节`,
      en: `${tokenizer.vocabSize} tokens in ${took}, saved as ${file}; a token stands for ${ratio} bytes on average`,
    }),
  );
  if (tokenizer.vocabSize < vocabSize) {
    console.log(
      text({
        zh: `文本太少，学不到 ${vocabSize} 个词元：已经没有可以合并的了`,
        en: `the text is too small for ${vocabSize} tokens: nothing is left to merge`,
      }),
    );
  }
}

/** The text of an option or of a file, or else what is piped in. */
async function inputText(given: string | undefined, file: string | undefined): Promise<string> {
  if (given !== undefined) return given;
  if (file !== undefined) return readTextFile(file);
  if (process.stdin.isTTY) {
    throw new UserError({
      zh: '没有输入；请加上 --text 或 --input，或用管道传入',
      en: 'there is no input; add --text or --input, or pipe it in',
    });
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

interface EncodeOptions {
  tokenizer: string;
  text?: string;
  input?: string;
  allowSpecial?: boolean;
}

async function encode(options: EncodeOptions): Promise<void> {
  const tokenizer = loadTokenizer(options.tokenizer);
  const ids = tokenizer.encode(await inputText(options.text, options.input), options);
  console.log(ids.join(' '));
}

interface DecodeOptions {
  tokenizer: string;
  input?: string;
  skipSpecial?: boolean;
}

async function decode(given: readonly string[], options: DecodeOptions): Promise<void> {
  const tokenizer = loadTokenizer(options.tokenizer);
  const list = await inputText(given.length > 0 ? given.join(' ') : undefined, options.input);
  const ids = (list.match(/[^\s,[\]]+/g) ?? []).map((word) => {
    if (/^\d+$/.test(word)) return Number(word);
    throw new UserError({
      zh: `"${word}" 不是词元编号；请给出用空格或逗号隔开的整数`,
      en: `"${word}" is not a token id; give integers separated by spaces or commas`,
    });
  });
  // Into a file or a pipe goes the text and nothing else.
  process.stdout.write(tokenizer.decode(ids, options) + (process.stdout.isTTY ? '\n' : ''));
}

interface ShowOptions {
  tokenizer: string;
  text?: string;
  from: number;
  count?: number;
}

function show(options: ShowOptions): void {
  const tokenizer = loadTokenizer(options.tokenizer);
  if (options.text === undefined) showVocabulary(tokenizer, options.from, options.count);
  else showMerges(tokenizer, options.text);
}

function showVocabulary(tokenizer: Tokenizer, from: number, count = tokenizer.vocabSize): void {
  if (from >= tokenizer.vocabSize) {
    throw new UserError({
      zh: `--from ${from} 超出词表；编号最大为 ${tokenizer.vocabSize - 1}`,
      en: `--from ${from} is beyond the vocabulary; the last id is ${tokenizer.vocabSize - 1}`,
    });
  }
  const rows = [
    [text({ zh: '编号', en: 'id' }), text({ zh: '词元', en: 'token' }), text({ zh: '由来', en: 'made of' })],
  ];
  const parts = new Map(tokenizer.merges.map(({ left, right, result }) => [result, [left, right]]));
  for (let id = from; id < Math.min(from + count, tokenizer.vocabSize); id++) {
    const origin = parts
      .get(id)
      ?.map((part) => tokenizer.display(part))
      .join(' + ');
    const base =
      id < SPECIAL_TOKENS.length
        ? text({ zh: '特殊词元', en: 'special token' })
        : text({ zh: '字节', en: 'byte' });
    rows.push([String(id), tokenizer.display(id), origin ?? base]);
  }
  console.log(table(rows));
}

function showMerges(tokenizer: Tokenizer, given: string): void {
  const line = (ids: readonly number[]): string => ids.map((id) => tokenizer.display(id)).join(' | ');
  for (const { piece, start, steps } of tokenizer.trace(given)) {
    console.log(JSON.stringify(piece));
    console.log(`  ${line(start)}`);
    for (const { rank, left, right, ids } of steps) {
      const rule = `${tokenizer.display(left)} + ${tokenizer.display(right)}`;
      console.log(`  ${line(ids)}    ← ${text({ zh: '规则', en: 'merge' })} ${rank}: ${rule}`);
    }
    console.log(`  = ${(steps.at(-1)?.ids ?? start).join(' ')}`);
  }
}

function mask({ tokenizer: path, input, count }: { tokenizer: string; input: string; count: number }): void {
  const tokenizer = loadTokenizer(path);
  const conversations = parseConversations(readTextFile(input), input).slice(0, count);
  const color = Boolean(process.stdout.isTTY);
  const views = conversations.map(({ messages }) =>
    showMask(tokenizer, renderConversation(tokenizer, messages), { color }),
  );
  console.log(views.join('\n\n'));
}

function tokenizerOption(command: Command): Command {
  return command.option(
    '--tokenizer <path>',
    text({ zh: '分词器文件，或它所在的文件夹', en: 'the tokenizer file, or the folder that holds it' }),
    DEFAULT_TOKENIZER,
  );
}

function createTokenizerCommand(): Command {
  const command = createCommand('tokenizer', {
    zh: '训练分词器，把文字变成词元编号再变回来，查看词表和合并过程',
    en: 'Train a tokenizer, turn text into token ids and back, look at its vocabulary and merges',
  });

  createSubcommand(command, 'train', { zh: '从文本训练一个分词器', en: 'train a tokenizer on text' })
    .requiredOption(
      '--input <file...>',
      text({ zh: 'UTF-8 文本文件，可以有多个', en: 'text files in UTF-8' }),
    )
    .option(
      '--vocab-size <n>',
      text({ zh: '词表大小', en: 'size of the vocabulary' }),
      integer({ min: 262, max: 1_000_000 }),
      2000,
    )
    .requiredOption(
      '--output <dir>',
      text({ zh: '保存 tokenizer.json 的文件夹', en: 'folder for tokenizer.json' }),
    )
    .action(train);

  tokenizerOption(createSubcommand(command, 'encode', { zh: '把文字变成编号', en: 'turn text into ids' }))
    .option('--text <text>', text({ zh: '要编码的文字', en: 'the text' }))
    .option('--input <file>', text({ zh: '要编码的文件', en: 'a file with the text' }))
    .option(
      '--allow-special',
      text({ zh: '把 <eos> 等文字当作特殊词元', en: 'take texts such as <eos> for special tokens' }),
    )
    .action(encode);

  tokenizerOption(createSubcommand(command, 'decode', { zh: '把编号变回文字', en: 'turn ids into text' }))
    .usage(text({ zh: '[编号...] [选项]', en: '[ids...] [options]' }))
    .argument('[ids...]', text({ zh: '用空格或逗号隔开的编号', en: 'ids, separated by spaces or commas' }))
    .option('--input <file>', text({ zh: '含有编号的文件', en: 'a file with the ids' }))
    .option('--skip-special', text({ zh: '不输出特殊词元', en: 'leave special tokens out' }))
    .action(decode);

  tokenizerOption(
    createSubcommand(command, 'show', {
      zh: '列出词表；给出 --text 时一步步显示它的合并过程',
      en: 'list the vocabulary, or show how a text is merged step by step',
    }),
  )
    .option('--text <text>', text({ zh: '要看合并过程的文字', en: 'the text to merge' }))
    .option('--from <id>', text({ zh: '从哪个编号开始列', en: 'first id to list' }), integer({ min: 0 }), 0)
    .option(
      '--count <n>',
      text({ zh: '列多少个（默认全部）', en: 'how many to list (default: all)' }),
      integer({ min: 1 }),
    )
    .action(show);

  tokenizerOption(
    createSubcommand(command, 'mask', {
      zh: '显示对话的模板和损失掩码：微调只学习标出的词元',
      en: 'show conversations in their template, the tokens that fine-tuning learns marked',
    }),
  )
    .requiredOption('--input <file>', text({ zh: '对话文件', en: 'a file of conversations' }))
    .option('--count <n>', text({ zh: '显示多少段', en: 'how many to show' }), integer({ min: 1 }), 3)
    .action(mask);

  return command;
}

await runCommand(async () => {
  await parseCommand(createTokenizerCommand());
});
