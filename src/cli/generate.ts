/**
 * @file `npm run generate`: let a checkpoint write.
 *
 *     npm run generate -- --prompt "你好"                 # the answer, and nothing else, on stdout
 *     npm run generate                                    # a conversation in the terminal
 *     npm run generate -- --prompt "从前" --raw           # continue a text, without the chat template
 */

import type { Command } from 'commander';
import { renderPrompt } from '../chat-format.ts';
import { type Checkpoint, DEFAULT_FOLDER } from '../checkpoint.ts';
import { createDecoder } from '../decoder.ts';
import { UserError } from '../errors.ts';
import { DEFAULT_MAX_NEW_TOKENS, DEFAULT_SAMPLING, generate, rawPrompt } from '../generate.ts';
import { text } from '../i18n.ts';
import { GREEDY, type SamplingOptions } from '../sampling.ts';
import { mergeLora } from '../stages/lora.ts';
import { createRandom, type Runtime } from '../tensor/index.ts';
import type { Device } from '../tensor/runtime/node.ts';
import { baseOfAdapter, resolveAdapter } from './adapters.ts';
import { anySeed, chat, writesRawText } from './chat.ts';
import { openRuntime } from './device.ts';
import { choice, createCommand, integer, number, parseCommand, runCommand } from './options.ts';
import { loadWriter, resolveCheckpoint } from './writer.ts';

interface Options {
  prompt?: string;
  maxLength: number;
  temperature?: number;
  topK?: number;
  topP?: number;
  repetitionPenalty?: number;
  greedy?: boolean;
  checkpoint?: string;
  lora?: string | false;
  interactive?: boolean;
  raw?: boolean;
  seed?: number;
  threads: number;
  device: Device;
}

/** `--greedy` and `--temperature 0` take the best token as it is: the penalty then applies only if asked for. */
function samplingOf({ greedy, temperature, topK, topP, repetitionPenalty }: Options): SamplingOptions {
  if (greedy && temperature !== undefined && temperature > 0) {
    throw new UserError({
      zh: `--greedy 总是选最可能的词元，与 --temperature ${temperature} 互相矛盾；请去掉其中一个`,
      en: `--greedy always takes the likeliest token and contradicts --temperature ${temperature}; remove one of them`,
    });
  }
  const given = { topK, topP, repetitionPenalty };
  const defaults = greedy || temperature === 0 ? GREEDY : DEFAULT_SAMPLING;
  const chosen = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return { ...defaults, ...chosen, temperature: greedy ? 0 : (temperature ?? defaults.temperature) };
}

async function run(options: Options): Promise<void> {
  const sampling = samplingOf(options);
  const { prompt, maxLength: maxNewTokens } = options;
  const interactive = options.interactive ?? (prompt === undefined && Boolean(process.stdin.isTTY));
  if (!interactive && prompt === undefined) {
    throw new UserError({
      zh: '没有提示；请加上 --prompt "文字"，或加上 --interactive 从标准输入逐行读取',
      en: 'there is no prompt; add --prompt "text", or --interactive to read one message a line from standard input',
    });
  }
  const folder = resolveCheckpoint(options.checkpoint ?? baseOfAdapter(options.lora));
  const base = loadWriter(folder);
  const adapter = resolveAdapter({ lora: options.lora, folder, checkpoint: base });
  const checkpoint = adapter ? mergeLora(base, adapter.lora) : base;
  const raw = options.raw ?? writesRawText(checkpoint);
  if (prompt !== undefined && prompt.trim() === '' && !raw) {
    throw new UserError({
      zh: '--prompt 是空的；请在引号里写上要说的话',
      en: '--prompt is empty; write what you want to say between the quotes',
    });
  }
  const runtime = await openRuntime(options);
  if (interactive) {
    await chat({ runtime, checkpoint, sampling, maxNewTokens, raw, prompt, seed: options.seed });
    return;
  }
  await answerOnce(prompt ?? '', { runtime, checkpoint, sampling, maxNewTokens, raw, seed: options.seed });
}

/** Write the answer, and nothing but the answer, to stdout. */
async function answerOnce(
  message: string,
  options: {
    readonly runtime: Runtime;
    readonly checkpoint: Checkpoint;
    readonly sampling: SamplingOptions;
    readonly maxNewTokens: number;
    readonly raw: boolean;
    readonly seed?: number;
  },
): Promise<void> {
  const { runtime, checkpoint, sampling, maxNewTokens, raw, seed = anySeed() } = options;
  const { config, params: weights, tokenizer } = checkpoint;
  const decoder = await createDecoder({ runtime, config, weights, batchSize: 1 });
  const prompt = raw
    ? rawPrompt(tokenizer, message)
    : renderPrompt(tokenizer, [{ role: 'user', content: message }]);
  const random = createRandom(seed);
  for await (const piece of generate({ decoder, tokenizer, prompt, maxNewTokens, sampling, random })) {
    process.stdout.write(piece.text);
  }
  process.stdout.write('\n');
  await decoder.release();
}

function createGenerateCommand(): Command {
  const { temperature, topK, topP, repetitionPenalty } = DEFAULT_SAMPLING;
  const byDefault = (value: number): string => text({ zh: `（默认: ${value}）`, en: ` (default: ${value})` });
  return createCommand('generate', {
    zh: '让训练好的模型回答、续写或聊天',
    en: 'Let a trained model answer, continue a text, or chat',
  })
    .option(
      '--prompt <text>',
      text({
        zh: '对模型说的话；不给时在终端里开始聊天',
        en: 'what to say to the model; without it a terminal starts a chat',
      }),
    )
    .option(
      '--interactive',
      text({ zh: '聊天；输入来自管道时逐行回答', en: 'chat; with piped input, answer line by line' }),
    )
    .option(
      '--checkpoint <dir>',
      text({
        zh: `检查点文件夹（默认: ${DEFAULT_FOLDER} 中最靠后的阶段）`,
        en: `folder of a checkpoint (default: the most advanced stage in ${DEFAULT_FOLDER})`,
      }),
    )
    .option(
      '--lora <path>',
      text({
        zh: '适配器的文件夹，或检查点旁边 lora/ 里的名字（默认: 属于这个检查点的 lora/final，如果有）',
        en: 'folder of an adapter, or its name in lora/ beside the checkpoint (default: lora/final if it belongs to the checkpoint)',
      }),
    )
    .option('--no-lora', text({ zh: '不使用适配器', en: 'use no adapter' }))
    .option(
      '--raw',
      text({
        zh: '不用对话模板，直接续写；只经过预训练的模型总是这样',
        en: 'continue the text without the chat template; a model that was only pretrained always does',
      }),
    )
    .option(
      '--max-length <n>',
      text({ zh: '回答最多多少个词元', en: 'longest answer, in tokens' }),
      integer({ min: 1 }),
      DEFAULT_MAX_NEW_TOKENS,
    )
    .option(
      '--temperature <t>',
      text({
        zh: '越低越稳，越高越活；0 等于 --greedy',
        en: 'low is steady, high is lively; 0 is --greedy',
      }) + byDefault(temperature),
      number({ min: 0 }),
    )
    .option(
      '--top-k <k>',
      text({ zh: '只在最可能的 k 个词元中选；0 不限', en: 'choose among the k best tokens; 0: among all' }) +
        byDefault(topK),
      integer({ min: 0 }),
    )
    .option(
      '--top-p <p>',
      text({
        zh: '只在概率之和达到 p 的最可能词元中选；1 不限',
        en: 'choose among the best tokens whose probabilities reach p; 1: among all',
      }) + byDefault(topP),
      number({ above: 0, max: 1 }),
    )
    .option(
      '--repetition-penalty <r>',
      text({
        zh: '压低回答中已出现的字词，数字和标点除外；1 不压低，--greedy 时默认为 1',
        en: 'make words that the answer has used less likely, but not digits or punctuation; 1: off, as with --greedy',
      }) + byDefault(repetitionPenalty),
      number({ above: 0 }),
    )
    .option('--greedy', text({ zh: '总是选最可能的词元', en: 'always take the likeliest token' }))
    .option(
      '--seed <n>',
      text({
        zh: '随机数种子；同样的种子给出同样的回答',
        en: 'seed of the random numbers; the same seed gives the same answer',
      }),
      integer({ min: 0, max: 2 ** 32 - 1 }),
    )
    .option(
      '--threads <n>',
      text({ zh: '线程数；0 自动选择', en: 'number of threads; 0 chooses' }),
      integer({ min: 0 }),
      0,
    )
    .option(
      '--device <name>',
      text({ zh: '运行设备：cpu、webgpu 或 cuda', en: 'where to run: cpu, webgpu or cuda' }),
      choice(['cpu', 'webgpu', 'cuda']),
      'cpu',
    )
    .action(run);
}

await runCommand(async () => {
  await parseCommand(createGenerateCommand());
});
