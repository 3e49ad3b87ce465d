/**
 * @file `npm run generate`: let a checkpoint write.
 *
 *     npm run generate -- --prompt "你好"                 # the answer, and nothing else, on stdout
 *     npm run generate                                    # a conversation in the terminal
 *     npm run generate -- --prompt "从前" --raw           # continue a text, without the chat template
 */

import type { Command } from 'commander';
import { DEFAULT_FOLDER } from '../checkpoint.ts';
import { UserError } from '../errors.ts';
import { text } from '../i18n.ts';
import type { Device } from '../tensor/runtime/node.ts';
import { answer } from './answer.ts';
import { chat, writesRawText } from './chat.ts';
import { openRuntime } from './device.ts';
import { choice, createCommand, integer, parseCommand, runCommand } from './options.ts';
import { addSamplingOptions, type SamplingFlags, writingOptionsOf } from './sampling-options.ts';
import { loadWriter, resolveCheckpoint } from './writer.ts';

interface Options extends SamplingFlags {
  prompt?: string;
  checkpoint?: string;
  interactive?: boolean;
  raw?: boolean;
  threads: number;
  device: Device;
}

async function run(options: Options): Promise<void> {
  const writing = writingOptionsOf(options);
  const { prompt, seed } = options;
  const interactive = options.interactive ?? (prompt === undefined && Boolean(process.stdin.isTTY));
  if (!interactive && prompt === undefined) {
    throw new UserError({
      zh: '没有提示；请加上 --prompt "文字"，或加上 --interactive 从标准输入逐行读取',
      en: 'there is no prompt; add --prompt "text", or --interactive to read one message a line from standard input',
    });
  }
  const checkpoint = loadWriter(resolveCheckpoint(options.checkpoint));
  const raw = options.raw ?? writesRawText(checkpoint);
  if (prompt !== undefined && prompt.trim() === '' && !raw) {
    throw new UserError({
      zh: '--prompt 是空的；请在引号里写上要说的话',
      en: '--prompt is empty; write what you want to say between the quotes',
    });
  }
  const runtime = await openRuntime(options);
  if (interactive) await chat({ runtime, checkpoint, ...writing, raw, prompt, seed });
  else await answer(prompt ?? '', { runtime, checkpoint, ...writing, raw, seed });
}

function createGenerateCommand(): Command {
  const command = createCommand('generate', {
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
      '--raw',
      text({
        zh: '不用对话模板，直接续写；只经过预训练的模型总是这样',
        en: 'continue the text without the chat template; a model that was only pretrained always does',
      }),
    );
  return addSamplingOptions(command)
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
