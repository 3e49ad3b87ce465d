/**
 * @file `npm run inference`: answer a file of prompts, many at a time.
 *
 *     npm run inference -- --input prompts.jsonl --output answers.jsonl
 *
 * The same command goes on after an interruption. What a prompt is answered depends on the seed and on its place in the
 * file, not on the prompts that happen to be answered beside it.
 */

import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { fitHistory, type Message, renderPrompt } from '../chat-format.ts';
import { type Checkpoint, DEFAULT_FOLDER } from '../checkpoint.ts';
import { parsePrompts } from '../data/prompts.ts';
import { createDecoder } from '../decoder.ts';
import { UserError } from '../errors.ts';
import { readTextFile } from '../files.ts';
import { checkPrompt, generateBatch, rawPrompt } from '../generate.ts';
import { text } from '../i18n.ts';
import { createRandom, foldSeed } from '../tensor/index.ts';
import { appendAnswers, type Prompt, readAnswered } from './answers-file.ts';
import { openRuntime } from './device.ts';
import { addDeviceOptions, type DeviceFlags } from './device-options.ts';
import { createCommand, integer, parseCommand, runCommand } from './options.ts';
import { createProgress } from './progress.ts';
import { addSamplingOptions, type SamplingFlags, writingOptionsOf } from './sampling-options.ts';
import { loadWriter, resolveCheckpoint, writesRawText } from './writer.ts';

interface Options extends SamplingFlags, DeviceFlags {
  readonly input: string;
  readonly output: string;
  readonly checkpoint?: string;
  readonly raw?: boolean;
  readonly batchSize: number;
  readonly seed: number;
}

/** The seed where none is given: a run that goes on must draw the same numbers. */
const DEFAULT_SEED = 1;

async function run(options: Options): Promise<void> {
  const { input, output, batchSize, seed } = options;
  const writing = writingOptionsOf(options);
  if (resolve(input) === resolve(output)) {
    throw new UserError({
      zh: `--output ${output} 就是输入文件；请写到另一个文件`,
      en: `--output ${output} is the input itself; write to another file`,
    });
  }
  const conversations = parsePrompts(readTextFile(input), input);
  const prompts = conversations.map(asPrompt);
  const answered = readAnswered(output, prompts);
  const waiting = [...prompts.keys()].filter((index) => !answered.has(index));
  const say = (zh: string, en: string): unknown => process.stderr.write(`${text({ zh, en })}\n`);
  if (waiting.length === 0) {
    say(
      `${input} 的 ${prompts.length} 条提示都已在 ${output} 中回答过`,
      `${output} already answers all ${prompts.length} prompts of ${input}`,
    );
    return;
  }
  const checkpoint = loadWriter(resolveCheckpoint(options.checkpoint));
  const { config, params: weights, tokenizer } = checkpoint;
  const raw = options.raw ?? writesRawText(checkpoint);
  const limits = { maxLength: config.contextLength, maxNewTokens: writing.maxNewTokens, raw };
  // All of them first, so that a prompt that cannot be answered is found before hours of work.
  const rendered = conversations.map((messages, index) => {
    try {
      return render(checkpoint, messages, limits);
    } catch (error) {
      throw error instanceof UserError ? located(error, input, index) : error;
    }
  });

  const runtime = await openRuntime(options);
  const decoder = await createDecoder({ runtime, config, weights, batchSize });
  const total = prompts.length;
  const stage = text({ zh: '回答', en: 'answers' });
  const progress = createProgress({ stage, total, start: answered.size, output: process.stderr });
  const startedAt = performance.now();
  let tokens = 0;
  for (let first = 0; first < waiting.length; first += batchSize) {
    const part = waiting.slice(first, first + batchSize);
    const answers = await generateBatch({
      ...writing,
      decoder,
      tokenizer,
      prompts: part.map((index) => rendered[index]),
      randomOf: (i) => createRandom(foldSeed(seed, part[i])),
    });
    appendAnswers(
      output,
      answers.map(({ text: response, finish, tokens: { length } }, i) => {
        const index = part[i];
        return { index, prompt: prompts[index], response, finish, tokens: length };
      }),
    );
    tokens += answers.reduce((sum, answer) => sum + answer.tokens.length, 0);
    const tokensPerSecond = (1000 * tokens) / (performance.now() - startedAt);
    progress.update({ step: answered.size + first + part.length, tokensPerSecond });
  }
  progress.end();
  await decoder.release();
  say(`${waiting.length} 个回答已写入 ${output}`, `Wrote ${waiting.length} answers to ${output}`);
}

/** A single question as a text, anything longer as messages. */
function asPrompt(messages: readonly Message[]): Prompt {
  return messages.length === 1 ? messages[0].content : messages;
}

/** @throws UserError if the prompt does not fit, or a conversation is to be continued as raw text */
function render(
  { tokenizer }: Checkpoint,
  messages: readonly Message[],
  { raw, ...limits }: { maxLength: number; maxNewTokens: number; raw: boolean },
): Int32Array {
  if (!raw) return renderPrompt(tokenizer, fitHistory(tokenizer, messages, limits));
  const prompt = asPrompt(messages);
  if (typeof prompt !== 'string') {
    throw new UserError({
      zh: '这是一段对话，而这里是续写文字；请换用经过 SFT 的检查点，并去掉 --raw',
      en: 'this is a conversation, but texts are continued here; use a checkpoint after SFT, without --raw',
    });
  }
  const tokens = rawPrompt(tokenizer, prompt);
  checkPrompt(tokens.length, limits.maxLength);
  return tokens;
}

function located(error: UserError, input: string, index: number): UserError {
  const { message } = error;
  return new UserError({
    zh: `${input} 的第 ${index} 条提示（从 0 数起）：${message}`,
    en: `${input}, prompt ${index} (from 0): ${message}`,
  });
}

function createInferenceCommand(): Command {
  const command = createCommand('inference', {
    zh: '成批回答一个文件中的提示；中断后运行同一条命令会接着回答',
    en: 'Answer a file of prompts in batches; after an interruption the same command goes on',
  })
    .addOption(
      new Option(
        '--input <file>',
        text({
          zh: '提示：每行一条的文本，或 .jsonl、.json（"…"、{"prompt": "…"} 或 {"messages": […]}）',
          en: 'prompts: a text with one a line, or .jsonl or .json ("...", {"prompt": "..."} or {"messages": [...]})',
        }),
      ).makeOptionMandatory(),
    )
    .addOption(
      new Option(
        '--output <file>',
        text({ zh: '回答，每行一个 JSON 对象', en: 'answers, one JSON object a line' }),
      ).makeOptionMandatory(),
    )
    .option(
      '--checkpoint <dir>',
      text({
        zh: `检查点文件夹（默认: ${DEFAULT_FOLDER} 中最靠后的阶段）`,
        en: `folder of a checkpoint (default: the most advanced stage in ${DEFAULT_FOLDER})`,
      }),
    )
    .option(
      '--raw',
      text({ zh: '不用对话模板，直接续写', en: 'continue the texts without the chat template' }),
    )
    .option(
      '--batch-size <n>',
      text({ zh: '同时回答多少条', en: 'how many to answer at a time' }),
      integer({ min: 1, max: 256 }),
      16,
    );
  return addDeviceOptions(addSamplingOptions(command, { seed: DEFAULT_SEED })).action(run);
}

await runCommand(async () => {
  await parseCommand(createInferenceCommand());
});
