/**
 * @file `npm run perplexity`: how surprised a checkpoint is by a text.
 *
 *     npm run perplexity -- book.txt
 *     npm run perplexity -- book.txt --checkpoint checkpoints/pretrain_final --stride 256
 */

import { DEFAULT_FOLDER } from '../checkpoint.ts';
import { parsePretrain } from '../data/formats.ts';
import { UserError } from '../errors.ts';
import { readTextFile } from '../files.ts';
import { text } from '../i18n.ts';
import { measurePerplexity } from '../perplexity.ts';
import { openRuntime } from './device.ts';
import { addDeviceOptions, type DeviceFlags } from './device-options.ts';
import { createCommand, integer, parseCommand, runCommand } from './options.ts';
import { createProgress } from './progress.ts';
import { loadWriter, resolveCheckpoint } from './writer.ts';

interface Options extends DeviceFlags {
  readonly checkpoint?: string;
  readonly stride?: number;
  readonly json?: boolean;
}

async function run(file: string, options: Options): Promise<void> {
  const documents = parsePretrain(readTextFile(file), file);
  const { config, params: weights, tokenizer } = loadWriter(resolveCheckpoint(options.checkpoint));
  const { contextLength } = config;
  const { stride = Math.ceil(contextLength / 2) } = options;
  if (stride > contextLength) {
    throw new UserError({
      zh: `--stride ${stride} 超过了模型的上下文 ${contextLength}，窗口之间的文字会被漏掉；请给出 1 到 ${contextLength} 之间的数`,
      en: `--stride ${stride} is longer than the context of the model, ${contextLength}, and would leave out the text between windows; give a number from 1 to ${contextLength}`,
    });
  }
  const runtime = await openRuntime(options);
  let progress: ReturnType<typeof createProgress> | undefined;
  const result = await measurePerplexity({
    runtime,
    config,
    weights,
    tokenizer,
    documents,
    stride,
    onProgress(done, total) {
      if (!process.stderr.isTTY) return;
      const stage = text({ zh: '困惑度', en: 'perplexity' });
      progress ??= createProgress({ stage, total, output: process.stderr });
      progress.update({ step: done });
    },
  });
  progress?.end();
  if (options.json) {
    console.log(JSON.stringify({ ...result, contextLength, stride }));
    return;
  }
  const { tokens, bytes, nats, perToken, perByte, bitsPerByte } = result;
  const figure = (value: number): string => value.toPrecision(5);
  const windows =
    stride === contextLength
      ? {
          zh: `窗口 ${contextLength} 个词元，互不重叠：快一倍，但每个窗口开头的词元几乎没有上文，数值偏高。`,
          en: `Windows of ${contextLength} tokens side by side: twice as fast, but the first tokens of each have hardly any context, and the figures are too high.`,
        }
      : {
          zh: `窗口 ${contextLength} 个词元，每次前移 ${stride} 个，只计新词元：每个词元至少有 ${contextLength - stride} 个词元的上文（文章开头除外）。`,
          en: `Windows of ${contextLength} tokens, each ${stride} after the one before, counting new tokens only: each has at least ${contextLength - stride} tokens before it (but at the beginning of a document).`,
        };
  console.log(
    text({
      zh: `${file}：${documents.length} 篇，${bytes} 字节，${tokens} 词元（每词元 ${(bytes / tokens).toFixed(2)} 字节）
每词元  困惑度 ${figure(perToken)}，${figure(nats / tokens)} nats
每字节  困惑度 ${figure(perByte)}，${figure(bitsPerByte)} bits（不同分词器之间请比较这个数）
${windows.zh}`,
      en: `${file}: ${documents.length} document(s), ${bytes} bytes, ${tokens} tokens (${(bytes / tokens).toFixed(2)} bytes a token)
per token  perplexity ${figure(perToken)}, ${figure(nats / tokens)} nats
per byte   perplexity ${figure(perByte)}, ${figure(bitsPerByte)} bits (compare this one between tokenizers)
${windows.en}`,
    }),
  );
}

await runCommand(async () => {
  const command = createCommand('perplexity', {
    zh: '一篇文字让检查点有多意外：每词元和每字节的困惑度',
    en: 'How surprised a checkpoint is by a text: perplexity per token and per byte',
  })
    .argument(
      '<file>',
      text({
        zh: '文本文件（各篇以单独一行 <|endoftext|> 分开），或含有 text 字段的 .json、.jsonl',
        en: 'a text file (documents parted by a line <|endoftext|>), or .json or .jsonl with the field text',
      }),
    )
    .option(
      '--checkpoint <dir>',
      text({
        zh: `检查点文件夹（默认: ${DEFAULT_FOLDER} 中最靠后的阶段）`,
        en: `folder of a checkpoint (default: the most advanced stage in ${DEFAULT_FOLDER})`,
      }),
    )
    .option(
      '--stride <n>',
      text({
        zh: '每个窗口比前一个靠后多少词元（默认: 上下文的一半；等于上下文则互不重叠）',
        en: 'tokens from one window to the next (default: half of the context; the context: side by side)',
      }),
      integer({ min: 1 }),
    )
    .option('--json', text({ zh: '只打印一行 JSON', en: 'print one line of JSON' }));
  await parseCommand(addDeviceOptions(command).action(run));
});
