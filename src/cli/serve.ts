/**
 * @file `npm run serve`: a model behind OpenAI's API.
 *
 *     npm run serve                                       # http://127.0.0.1:8000, for this machine alone
 *     npm run serve -- --port 8001 --checkpoint checkpoints/sft_final
 *     npm run serve -- --lora poems=checkpoints/lora/poems # one more model, `poems`: the base with this adapter
 */

import { basename, resolve } from 'node:path';
import type { Command } from 'commander';
import { DEFAULT_FOLDER } from '../checkpoint.ts';
import { text } from '../i18n.ts';
import { createApp } from '../server/app.ts';
import { type Listening, listen } from '../server/listen.ts';
import { closeModel, openModels, type ServedModel } from '../server/models.ts';
import { baseOfAdapter } from './adapters.ts';
import { openRuntime } from './device.ts';
import { describeError } from './failure.ts';
import { type CommonOptions, collect, createCommand, integer, parseCommand, runCommand } from './options.ts';
import { collectNamedPaths, type NamedPath, servedAdapters } from './served-adapters.ts';
import { loadWriter, resolveCheckpoint } from './writer.ts';

interface Options extends CommonOptions {
  port: number;
  host: string;
  checkpoint?: string;
  lora?: readonly NamedPath[] | false;
  apiKey?: string;
  cors: readonly string[];
  slots: number;
  queue: number;
  threads: number;
}

/** Milliseconds that answers under way are given to end when the server is stopped. */
const PATIENCE = 10_000;

async function run(options: Options): Promise<void> {
  const { port, host, lora, apiKey, slots, queue, debug } = options;
  const firstAdapter = lora ? lora[0].path : undefined;
  const folder = resolveCheckpoint(options.checkpoint ?? baseOfAdapter(firstAdapter));
  const checkpoint = loadWriter(folder);
  const id = basename(resolve(folder));
  const adapters = servedAdapters({ lora, folder, base: checkpoint, id });
  // Threads that spin would take the cores from those who ask.
  const runtime = await openRuntime({ ...options, spinning: false });
  const models = await openModels({ id, runtime, checkpoint, slots, queue }, adapters);
  const app = createApp({
    models,
    apiKey,
    origins: options.cors.length > 0 ? options.cors : undefined,
    onError: (error) => {
      process.stderr.write(`${debug && error instanceof Error ? error.stack : describeError(error)}\n`);
    },
  });
  const server = await listen(app, { host, port });
  announce(server.url, models, options);
  await stopped(server);
  for (const model of models) await closeModel(model);
}

function announce(url: string, models: readonly ServedModel[], { host, apiKey }: Options): void {
  const [{ id, raw }] = models;
  const ids = models.map((model) => model.id);
  const [path, body] = raw
    ? ['/v1/completions', { model: id, prompt: '水是' }]
    : ['/v1/chat/completions', { model: id, messages: [{ role: 'user', content: '你好' }] }];
  const key = apiKey === undefined ? '' : ` -H "Authorization: Bearer ${apiKey}"`;
  process.stdout.write(
    `${text({ zh: `${ids.join('、')} 已在 ${url} 上提供服务，Ctrl-C 停止。试一试：`, en: `Serving ${ids.join(', ')} at ${url}; Ctrl-C stops it. Try:` })}\n` +
      `  curl ${url}${path} -H "Content-Type: application/json"${key} -d '${JSON.stringify(body)}'\n`,
  );
  if (apiKey === undefined && !/^(127\.|::1$|localhost$)/.test(host)) {
    process.stderr.write(
      text({
        zh: '注意：别的机器也能访问，而且不要密钥；要密钥请加上 --api-key\n',
        en: 'Note: other machines can use it too, without a key; --api-key asks for one\n',
      }),
    );
  }
}

/** Resolves when the server has been told to stop and has stopped. A second Ctrl-C does not wait. */
function stopped(server: Listening): Promise<void> {
  return new Promise((resolve) => {
    let patience = PATIENCE;
    const stop = async (): Promise<void> => {
      if (patience === PATIENCE) {
        process.stderr.write(
          text({
            zh: `\n正在停止：最多等 ${PATIENCE / 1000} 秒，让没写完的回答写完；再按一次 Ctrl-C 立即停止。\n`,
            en: `\nStopping: answers under way have ${PATIENCE / 1000} seconds to end; Ctrl-C again stops at once.\n`,
          }),
        );
      } else process.exit(130);
      const allEnded = server.stop(patience);
      patience = 0;
      if (!(await allEnded)) {
        process.stderr.write(
          text({ zh: '没写完的回答被中断了。\n', en: 'Unfinished answers were cut off.\n' }),
        );
      }
      resolve();
    };
    process.on('SIGINT', stop);
    process.on('SIGTERM', stop);
  });
}

function createServeCommand(): Command {
  return createCommand('serve', {
    zh: '用 OpenAI 的接口提供一个模型，供别的程序使用',
    en: "Offer a model to other programs through OpenAI's API",
  })
    .option(
      '--port <n>',
      text({ zh: '端口；0 任选一个空闲的', en: 'port; 0: any that is free' }),
      integer({ min: 0, max: 65535 }),
      8000,
    )
    .option(
      '--host <address>',
      text({
        zh: '在哪个地址上听；0.0.0.0 让别的机器也能访问',
        en: 'address to listen on; 0.0.0.0 serves other machines too',
      }),
      '127.0.0.1',
    )
    .option(
      '--checkpoint <dir>',
      text({
        zh: `检查点文件夹（默认: ${DEFAULT_FOLDER} 中最靠后的阶段）`,
        en: `folder of a checkpoint (default: the most advanced stage in ${DEFAULT_FOLDER})`,
      }),
    )
    .option(
      '--lora <name=dir>',
      text({
        zh: '把基座加上这个适配器，作为又一个模型提供；文件夹也可以是检查点旁边 lora/ 里的名字；可以多次使用（默认: 属于这个检查点的 lora/final，如果有，叫 final）',
        en: 'serve the base with this adapter as one more model; instead of a folder, its name in lora/ beside the checkpoint will do; may be given several times (default: lora/final if it belongs to the checkpoint, as final)',
      }),
      collectNamedPaths,
    )
    .option('--no-lora', text({ zh: '不提供适配器', en: 'serve no adapter' }))
    .option('--api-key <key>', text({ zh: '只服务出示这个密钥的程序', en: 'serve only who sends this key' }))
    .option(
      '--cors <origin>',
      text({
        zh: '允许这个来源的网页使用，例如 http://localhost:5173；* 是所有网页；可以多次使用',
        en: 'let pages of this origin use it, such as http://localhost:5173; *: all; may be given several times',
      }),
      collect,
      [],
    )
    .option(
      '--slots <n>',
      text({ zh: '同时写多少个回答', en: 'answers that are written at a time' }),
      integer({ min: 1, max: 1024 }),
      16,
    )
    .option(
      '--queue <n>',
      text({
        zh: '最多多少个回答排队等候，再多就答复 429',
        en: 'answers that may wait for that; more are told 429',
      }),
      integer({ min: 0, max: 100_000 }),
      256,
    )
    .option(
      '--threads <n>',
      text({ zh: '线程数；0 自动选择', en: 'number of threads; 0 chooses' }),
      integer({ min: 0 }),
      0,
    )
    .action(run);
}

await runCommand(async () => {
  await parseCommand(createServeCommand());
});
