/** @file `npm run bench`: what this machine gives. Run `bench/peers/` in turn with it for ratios. */

import { availableParallelism } from 'node:os';
import {
  choice,
  createCommand,
  createSubcommand,
  integer,
  number,
  parseCommand,
  runCommand,
} from '../src/cli/options.ts';
import { type Text, text } from '../src/i18n.ts';
import { benchDecode } from './decode.ts';
import { benchLora } from './lora.ts';
import { benchModel, showForms } from './model.ts';
import { benchNanoGpt } from './nanogpt.ts';
import { benchOptimizers, LEARNING_RATES } from './optimizers.ts';
import { benchServe } from './serve.ts';
import { benchTokenizer } from './tokenizer.ts';
import { benchTrain } from './train.ts';

await runCommand(async () => {
  const program = createCommand('bench', {
    zh: '测速。机器的快慢会漂移：请与 bench/peers 里的程序交替运行，比较比值。',
    en: 'Measure speed. Machines drift: run the programs of bench/peers in turn and compare ratios.',
  });
  const whole = integer({ min: 1 });
  const describe = (zh: string, en: string): string => text({ zh, en });
  const add = (name: string, description: Text) =>
    createSubcommand(program, name, description)
      .option('--json', describe('只打印一行 JSON', 'print one line of JSON'))
      .option('--threads <n>', describe('线程数', 'number of threads'), whole, availableParallelism());

  /** Of a training step, whose model and batch have sizes. */
  const addStep = (name: string, description: Text, batch: number) =>
    add(name, description)
      .option(
        '--preset <name>',
        describe('模型规模', 'size of the model'),
        choice(['nano', 'mini', 'small']),
        'mini',
      )
      .option('--batch <n>', describe('批大小', 'batch size'), whole, batch)
      .option('--context <n>', describe('上下文长度', 'context length'), whole, 256);

  addStep('train', { zh: '训练一步的速度和内存', en: 'speed and memory of training' }, 16)
    .option('--steps <n>', describe('测量的步数', 'steps to measure'), whole, 8)
    .action(async ({ json, ...options }) => show(await benchTrain(options), json));
  addStep(
    'model',
    {
      zh: '模型的几种结构（多头、分组查询、多查询、混合专家），轮流测：参数、训练、生成',
      en: 'the forms of the model (multi-head, grouped-query, multi-query, experts), in turn: parameters, training, decoding',
    },
    4,
  )
    .option('--steps <n>', describe('每轮训练几步', 'training steps a round'), whole, 4)
    .option('--rounds <n>', describe('轮数', 'rounds'), whole, 3)
    .option('--num-experts <n>', describe('专家数', 'number of experts'), integer({ min: 2 }), 8)
    .option('--experts-per-token <n>', describe('每个词元用几个专家', 'experts of a token'), whole, 2)
    .action(async ({ json, ...options }) => {
      const forms = await benchModel(options);
      console.log(json ? JSON.stringify(forms) : showForms(forms));
    });
  add('decode', { zh: '带 KV 缓存的逐词元生成', en: 'token by token with a KV cache' })
    .option('--batch <n>', describe('同时生成的序列数', 'sequences at a time'), whole, 1)
    .action(async ({ json, ...options }) => show(await benchDecode(options), json));
  add('serve', {
    zh: '服务器：许多客户端同时，和一千个坏请求',
    en: 'the server: many clients at once, and a thousand bad requests',
  })
    .option('--clients <n>', describe('同时有多少客户端', 'clients at once'), whole, 64)
    .option(
      '--slots <n>',
      describe('服务器同时写多少个回答', 'answers that the server writes at a time'),
      whole,
      64,
    )
    .action(async ({ json, ...options }) => show(await benchServe(options), json));
  addStep(
    'lora',
    {
      zh: '一步 LoRA 与一步全量微调：时间和内存',
      en: 'a step of LoRA and one of full fine-tuning: time and memory',
    },
    4,
  )
    .option('--r <n>', describe('LoRA 的秩', 'rank of LoRA'), whole, 8)
    .option(
      '--dropout <p>',
      describe('LoRA 的 dropout', 'dropout of LoRA'),
      number({ min: 0, below: 1 }),
      0.05,
    )
    .option('--quantize-base', describe('把冻结的权重存成 8 位', 'keep the frozen weights in 8 bits'), false)
    .option('--steps <n>', describe('测量的步数', 'steps to measure'), whole, 6)
    .action(async ({ json, ...options }) => show(await benchLora(options), json));
  add('nanogpt', { zh: 'nanoGPT 的 CPU 配置，逐字符训练', en: "nanoGPT's CPU configuration, on characters" })
    .argument('<file>', describe('文本文件', 'a text file'))
    .option('--steps <n>', describe('训练步数', 'training steps'), whole, 2000)
    .option('--seed <n>', describe('随机种子', 'random seed'), integer({ min: 0 }), 1337)
    .action(async (file: string, { json, ...options }) =>
      show(await benchNanoGpt({ file, ...options }), json),
    );
  add('optimizers', {
    zh: 'nano 的预训练，AdamW 与 Muon：到同一验证损失要多少步、多少秒',
    en: 'pretraining of nano with AdamW and with Muon: steps and seconds to the same validation loss',
  })
    .option('--seed <n>', describe('随机种子', 'random seed'), integer({ min: 0 }), 1)
    .option(
      '--adamw-learning-rate <x>',
      describe('AdamW 的峰值学习率', 'peak learning rate of AdamW'),
      number({ above: 0, max: 1 }),
      LEARNING_RATES.adamw,
    )
    .option(
      '--muon-learning-rate <x>',
      describe('Muon 的峰值学习率', 'peak learning rate of Muon'),
      number({ above: 0, max: 1 }),
      LEARNING_RATES.muon,
    )
    .action(async ({ json, ...options }) => show(await benchOptimizers(options), json));
  add('tokenizer', { zh: '分词器的训练和编码', en: 'training and encoding of the tokenizer' })
    .argument('<file>', describe('文本文件', 'a text file'))
    .option('--vocab-size <n>', describe('词表大小', 'size of the vocabulary'), integer({ min: 262 }), 2000)
    .action(async (file: string, { json, vocabSize }) => show(await benchTokenizer(file, vocabSize), json));
  await parseCommand(program);
});

/** Figures as one line of JSON, or one a line. */
function show(result: object, json: boolean | undefined): void {
  if (json) {
    console.log(JSON.stringify(result));
    return;
  }
  for (const [name, value] of Object.entries(result)) {
    console.log(`${name.padEnd(20)} ${typeof value === 'number' ? Number(value.toPrecision(5)) : value}`);
  }
}
