/**
 * @file `npm run generate`: let a checkpoint write.
 *
 *     npm run generate -- --prompt "你好"                 # the answer, and nothing else, on stdout
 *     npm run generate                                    # a conversation in the terminal
 *     npm run generate -- --prompt "从前" --raw           # continue a text, without the chat template
 *     npm run generate -- --compare                       # the same prompts, answered by every stage
 */

import { dirname } from 'node:path';
import { type Command, Option } from 'commander';
import { DEFAULT_FOLDER } from '../checkpoint.ts';
import { UserError } from '../errors.ts';
import { type Text, text } from '../i18n.ts';
import { mergeLora } from '../stages/lora.ts';
import { baseOfAdapter, resolveAdapter } from './adapters.ts';
import { type AnswerOptions, answer, answerByBeams } from './answer.ts';
import { answerBestOf } from './best-of.ts';
import { chat } from './chat.ts';
import { compare } from './compare.ts';
import { openRuntime } from './device.ts';
import { addDeviceOptions, type DeviceFlags } from './device-options.ts';
import { collect, createCommand, integer, parseCommand, runCommand } from './options.ts';
import {
  addSamplingOptions,
  type SamplingFlags,
  samplersAmong,
  writingOptionsOf,
} from './sampling-options.ts';
import { loadRewardModel, loadWriter, resolveCheckpoint, writesRawText } from './writer.ts';

interface Options extends SamplingFlags, DeviceFlags {
  readonly prompt: readonly string[];
  readonly checkpoint?: string;
  readonly lora?: string | false;
  readonly rewardModel?: string;
  readonly interactive?: boolean;
  readonly raw?: boolean;
  readonly showProbs?: number;
  readonly bestOf?: number;
  readonly beams?: number;
  readonly compare?: boolean;
}

async function run(options: Options): Promise<void> {
  const writing = writingOptionsOf(options);
  const { prompt: prompts, seed } = options;
  checkCombination(options);
  if (options.compare) {
    await compare(prompts, { ...writing, ...options, runtime: await openRuntime(options) });
    return;
  }
  const interactive = options.interactive ?? (prompts.length === 0 && wantsChat(options));
  if (!interactive && prompts.length === 0) {
    throw new UserError({
      zh: '没有提示；请加上 --prompt "文字"，或加上 --interactive 从标准输入逐行读取',
      en: 'there is no prompt; add --prompt "text", or --interactive to read one message a line from standard input',
    });
  }
  const dir = resolveCheckpoint(options.checkpoint ?? baseOfAdapter(options.lora));
  const base = loadWriter(dir);
  const adapter = resolveAdapter({ lora: options.lora, folder: dir, checkpoint: base });
  const raw = options.raw ?? writesRawText(base);
  if (prompts.some((prompt) => prompt.trim() === '') && !raw) {
    throw new UserError({
      zh: '--prompt 是空的；请在引号里写上要说的话',
      en: '--prompt is empty; write what you want to say between the quotes',
    });
  }
  const runtime = await openRuntime(options);
  if (interactive) {
    const { raw: always, rewardModel, bestOf: candidates } = options;
    const folder = dirname(dir);
    const how = { ...writing, folder, rewardModel, candidates, raw: always, prompt: prompts[0], seed };
    await chat({ runtime, checkpoint: base, adapter, ...how });
    return;
  }
  const checkpoint = adapter ? mergeLora(base, adapter.lora) : base;
  const each = answerer(options, dirname(dir));
  for (const prompt of prompts) await each(prompt, { runtime, checkpoint, ...writing, raw, seed });
}

/** A terminal without a prompt starts a chat, unless something is asked that a chat cannot do. */
function wantsChat({ beams, showProbs }: Options): boolean {
  return Boolean(process.stdin.isTTY) && beams === undefined && showProbs === undefined;
}

/** How a prompt is answered; the reward model, if needed, is found in `folder`. */
function answerer(options: Options, folder: string): (prompt: string, how: AnswerOptions) => Promise<void> {
  const { beams, bestOf: count, showProbs } = options;
  if (beams !== undefined) return (prompt, how) => answerByBeams(prompt, how, beams);
  if (count === undefined) return (prompt, how) => answer(prompt, how, showProbs);
  const rewardModel = loadRewardModel(options.rewardModel, folder);
  return (prompt, how) => answerBestOf(prompt, { ...how, count, rewardModel });
}

/** @throws UserError for options that mean nothing together */
function checkCombination(options: Options): void {
  const refuse = ({ zh, en }: Text): never => {
    throw new UserError({ zh, en });
  };
  const [sampler] = samplersAmong(options);
  if (options.beams !== undefined && sampler !== undefined) {
    refuse({
      zh: `--beams 寻找整体最可能的回答，不抽样，与 ${sampler} 互相矛盾；请去掉其中一个`,
      en: `--beams looks for the likeliest answer as a whole and does not sample, which contradicts ${sampler}; remove one of them`,
    });
  }
  if (options.interactive && options.prompt.length > 1) {
    refuse({
      zh: '聊天只能以一个 --prompt 开始；请去掉多余的，或去掉 --interactive',
      en: 'a chat can begin with one --prompt only; remove the others, or --interactive',
    });
  }
  if (options.rewardModel !== undefined && options.bestOf === undefined && !options.interactive) {
    refuse({
      zh: '--reward-model 只用于给多个回答打分；请同时加上 --best-of',
      en: '--reward-model only serves to score several answers; add --best-of',
    });
  }
}

function createGenerateCommand(): Command {
  const option = (flags: string, description: Text): Option => new Option(flags, text(description));
  const few = integer({ min: 1, max: 20 });
  const command = createCommand('generate', {
    zh: '让训练好的模型回答、续写或聊天',
    en: 'Let a trained model answer, continue a text, or chat',
  })
    .addOption(
      option('--prompt <text>', {
        zh: '对模型说的话，可以多次使用；不给时在终端里开始聊天',
        en: 'what to say to the model, may be given several times; without it a terminal starts a chat',
      })
        .argParser(collect)
        .default([]),
    )
    .addOption(
      option('--interactive', {
        zh: '聊天；输入来自管道时逐行回答',
        en: 'chat; with piped input, answer line by line',
      }),
    )
    .addOption(
      option('--checkpoint <dir>', {
        zh: `检查点文件夹（默认: ${DEFAULT_FOLDER} 中最靠后的阶段）`,
        en: `folder of a checkpoint (default: the most advanced stage in ${DEFAULT_FOLDER})`,
      }),
    )
    .addOption(
      option('--lora <path>', {
        zh: '适配器的文件夹，或检查点旁边 lora/ 里的名字（默认: 属于这个检查点的 lora/final，如果有）',
        en: 'folder of an adapter, or its name in lora/ beside the checkpoint (default: lora/final if it belongs to the checkpoint)',
      }),
    )
    .addOption(option('--no-lora', { zh: '不使用适配器', en: 'use no adapter' }))
    .addOption(
      option('--raw', {
        zh: '不用对话模板，直接续写；只经过预训练的模型总是这样',
        en: 'continue the text without the chat template; a model that was only pretrained always does',
      }),
    )
    .addOption(
      option('--show-probs [n]', {
        zh: '在回答后列出每个词元的概率和最可能的 n 个词元（不写 n 时为 5）',
        en: 'below the answer, list for each token its probability and the n likeliest (5 without n)',
      })
        .argParser(few)
        .preset('5')
        .conflicts(['interactive', 'beams', 'bestOf', 'compare']),
    )
    .addOption(
      option('--best-of <n>', {
        zh: '抽样 n 个回答，留下奖励模型打分最高的，并列出分数',
        en: 'sample n answers, keep the one that the reward model scores highest, and list the scores',
      })
        .argParser(integer({ min: 1, max: 64 }))
        .conflicts(['beams', 'compare']),
    )
    .addOption(
      option('--reward-model <dir>', {
        zh: '给 --best-of 打分的奖励模型（默认: 检查点旁边的 reward_model）',
        en: 'the reward model that scores for --best-of (default: reward_model beside the checkpoint)',
      }),
    )
    .addOption(
      option('--beams <n>', {
        zh: '不抽样，用宽度为 n 的束搜索寻找整体最可能的回答',
        en: 'do not sample: look for the likeliest answer as a whole with a beam of width n',
      })
        .argParser(integer({ min: 1, max: 64 }))
        .conflicts(['interactive', 'compare']),
    )
    .addOption(
      option('--compare', {
        zh: '用各阶段的模型回答同样的提示，列成一张表；不给 --prompt 时用内置的几句',
        en: 'answer the same prompts with the model of every stage, in a table; without --prompt, some built-in ones',
      }).conflicts(['interactive', 'raw']),
    );
  return addDeviceOptions(addSamplingOptions(command)).action(run);
}

await runCommand(async () => {
  await parseCommand(createGenerateCommand());
});
