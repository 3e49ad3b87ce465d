import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { saveCheckpoint } from '../src/checkpoint.ts';
import { initializeParameters } from '../src/nn/parameters.ts';
import { decodeSafetensors, encodeSafetensors } from '../src/safetensors.ts';
import { rewardParameters } from '../src/scorer.ts';
import { Tokenizer } from '../src/tokenizer.ts';
import { CONFIG, freshWeights, tokenizer } from './support/tiny.ts';

const root = mkdtempSync(join(tmpdir(), 'my-llm-bad-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Run a command as a person does. */
function run(command: string, args: readonly string[]): Promise<Outcome> {
  const child = spawn(process.execPath, ['--import', 'tsx', `src/cli/${command}.ts`, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  return new Promise((done) => {
    child.once('close', (code) => done({ code, stdout, stderr }));
  });
}

const SENTENCE = { en: /^Error: .*\n$/, zh: /^错误：.*\p{Script=Han}.*\n$/u };

/** Exit code 1, one sentence on stderr in the language asked for, no stack, and nothing trained. */
function expectSentence({ code, stdout, stderr }: Outcome, lang: 'zh' | 'en', naming: RegExp): void {
  expect(stderr).toMatch(SENTENCE[lang]);
  expect(stderr).toMatch(naming);
  expect(stderr).not.toMatch(/internal error|内部错误|\n\s+at |undefined|\[object/);
  expect(code).toBe(1);
  expect(stdout).not.toMatch(/\d+\/\d+ .*(loss|损失)/);
}

interface Case {
  readonly name: string;
  readonly args: readonly string[];
  /** What the sentence must hold in any language: file, option, figures. */
  readonly naming: RegExp;
}

/** Each case as a process of its own, two at a time; every other one in Chinese. */
function check(cases: () => readonly Case[]): void {
  it('in one sentence', { timeout: 300_000 }, async () => {
    const waiting = [...cases().entries()];
    const worker = async (): Promise<void> => {
      for (let next = waiting.shift(); next; next = waiting.shift()) {
        const [index, { name, args, naming }] = next;
        const lang = index % 2 === 0 ? 'en' : 'zh';
        const outcome = await run('train', ['--lang', lang, ...args]);
        try {
          expectSentence(outcome, lang, naming);
        } catch (error) {
          (error as Error).message = `${name}: ${(error as Error).message}\n${JSON.stringify(outcome)}`;
          throw error;
        }
      }
    };
    await Promise.all([worker(), worker()]);
  });
}

/** A file in the test's folder. */
function file(name: string, content: string | Uint8Array): string {
  const path = join(root, name);
  writeFileSync(path, content);
  return path;
}

/** A folder of checkpoints with some of them in it, made of tiny models. */
function checkpoints(
  name: string,
  stages: readonly ('pretrain_final' | 'sft_final' | 'reward_model')[],
): string {
  const out = join(root, name);
  mkdirSync(out);
  for (const stage of stages) {
    const params =
      stage === 'reward_model' ? initializeParameters(rewardParameters(CONFIG), 1) : freshWeights();
    saveCheckpoint(join(out, stage), { params, config: CONFIG, tokenizer, stage: stage.split('_')[0] });
  }
  return out;
}

/** A folder whose `pretrain_final` has one file changed. */
function broken(name: string, part: string, change: (content: Buffer) => string | Uint8Array): string {
  const out = checkpoints(name, ['pretrain_final']);
  const path = join(out, 'pretrain_final', part);
  writeFileSync(path, change(readFileSync(path)));
  return out;
}

const [CHAT, PAIR, TASK] = [
  {
    messages: [
      { role: 'user', content: '你好' },
      { role: 'assistant', content: '你好！' },
    ],
  },
  { prompt: '你好', chosen: '你好！', rejected: '走开' },
  { prompt: '1+1等于多少？', expected: '2', type: 'math' },
];
const json = (...records: unknown[]): string => JSON.stringify(records);
const NOWHERE = ['--preset', 'nano', '--out', join(root, 'nowhere')];
const data = (argument: string): string[] => [...NOWHERE, '--data', argument];

describe('a data file that cannot be used is told', () => {
  check(() => [
    { name: 'missing', args: data(`sft=${root}/none.json`), naming: /none\.json/ },
    { name: 'a folder', args: data(`pretrain=${root}`), naming: /my-llm-bad-/ },
    { name: 'empty text', args: data(`pretrain=${file('empty.txt', '')}`), naming: /empty\.txt/ },
    { name: 'blank JSON', args: data(`reward=${file('blank.json', ' \n')}`), naming: /blank\.json/ },
    {
      name: 'not UTF-8',
      args: data(`pretrain=${file('gbk.txt', Uint8Array.of(0xc4, 0xe3, 0xba, 0xc3))}`),
      naming: /gbk\.txt.*UTF-8/,
    },
    {
      name: 'cut-off conversations',
      args: data(`sft=${file('cut.json', json(CHAT, CHAT).slice(0, -20))}`),
      naming: /cut\.json/,
    },
    {
      name: 'cut-off line of pairs',
      args: data(
        `reward=${file('cut.jsonl', `${JSON.stringify(PAIR)}\n${JSON.stringify(PAIR).slice(0, 20)}`)}`,
      ),
      naming: /cut\.jsonl.*2/,
    },
    {
      name: 'a conversation without an answer',
      args: data(`sft=${file('mute.json', json(CHAT, { messages: CHAT.messages.slice(0, 1) }))}`),
      naming: /mute\.json.*2.*assistant/,
    },
    {
      name: 'a task of an unknown type',
      args: data(`rlvf=${file('type.json', json({ ...TASK, type: 'poetry' }))}`),
      naming: /type\.json.*1.*poetry/,
    },
    {
      name: 'a task whose answer is no number',
      args: data(`rlvf=${file('expected.json', json(TASK, { ...TASK, expected: '很多' }))}`),
      naming: /expected\.json.*很多/,
    },
    {
      name: 'two files for one stage',
      args: [...NOWHERE, '--data', file('a.txt', '天地'), file('b.txt', '玄黄')],
      naming: /--data.*a\.txt.*b\.txt/,
    },
    { name: 'too short a text', args: data(`pretrain=${file('short.txt', '天地玄黄')}`), naming: /--data/ },
  ]);
});

describe('options that cannot be used are told', () => {
  check(() => [
    { name: 'unknown', args: ['--bogus'], naming: /--bogus.*--help/ },
    { name: 'misspelt', args: ['--batch_sise=4'], naming: /--batch-sise.*--batch-size/ },
    { name: 'zero', args: ['--batch_size=0'], naming: /--batch-size "0"|--batch-size 的值 "0"/ },
    { name: 'no value', args: ['--out'], naming: /--out/ },
    { name: 'out is a file', args: [...NOWHERE, '--out', file('out', 'x')], naming: /out/ },
    {
      name: 'everything is skipped',
      args: ['--skip-pretrain', '--skip_sft', '--skip-reward', '--skip_rlhf', '--skip-rlvf'],
      naming: /--skip-/,
    },
    {
      name: 'length of a skipped stage',
      args: ['--skip-sft', '--sft_epochs', '3'],
      naming: /--sft-epochs.*--skip-sft/,
    },
    {
      name: 'data of a skipped stage',
      args: ['--skip-rlvf', '--data', `rlvf=${file('tasks.json', json(TASK))}`],
      naming: /--data rlvf=.*tasks\.json.*--skip-rlvf/,
    },
  ]);
});

describe('a checkpoint that cannot be used is told', () => {
  const SKIP = ['--preset', 'nano', '--skip-pretrain', '--out'];

  check(() => [
    {
      name: 'none',
      args: [...SKIP, join(root, 'nothing')],
      naming: /nothing\/pretrain_final\/model\.safetensors.*npm run train/,
    },
    {
      name: 'none of a later stage, before anything is trained',
      args: ['--preset', 'nano', '--skip-reward', '--out', join(root, 'nothing')],
      naming: /nothing\/reward_model\/model\.safetensors.*--skip-reward/,
    },
    {
      name: 'a finished model of another size',
      args: ['--preset', 'nano', '--out', checkpoints('another-size', ['pretrain_final'])],
      naming: /another-size.*--out.*--restart/,
    },
    {
      name: 'cut-off weights',
      args: [...SKIP, broken('cut-weights', 'model.safetensors', (all) => all.subarray(0, all.length - 100))],
      naming: /cut-weights\/pretrain_final\/model\.safetensors/,
    },
    {
      name: 'a header that lies about offsets',
      args: [
        ...SKIP,
        broken('lying', 'model.safetensors', (all) => {
          const text = all.toString('latin1').replace(/"data_offsets":\[0,(\d)/, '"data_offsets":[4,$1');
          return Buffer.from(text, 'latin1');
        }),
      ],
      naming: /lying\/pretrain_final\/model\.safetensors/,
    },
    {
      name: 'NaN in the weights',
      args: [
        ...SKIP,
        broken('nan', 'model.safetensors', (all) => {
          const { tensors, metadata } = decodeSafetensors(all, 'test');
          (tensors['norm.weight'].data as Float32Array)[3] = Number.NaN;
          return encodeSafetensors(tensors, metadata);
        }),
      ],
      naming: /norm\.weight.*nan\/pretrain_final|nan\/pretrain_final.*norm\.weight/,
    },
    {
      name: 'numbers that contradict each other',
      args: [
        ...SKIP,
        broken('odd', 'config.json', (all) => all.toString().replace('"numHeads": 2', '"numHeads": 3')),
      ],
      naming: /odd\/pretrain_final\/config\.json.*numHeads/,
    },
    {
      name: 'another number of layers than the weights have',
      args: [
        ...SKIP,
        broken('layers', 'config.json', (all) => all.toString().replace('"numLayers": 1', '"numLayers": 2')),
      ],
      naming: /layers\/pretrain_final\/model\.safetensors.*blocks\.1/,
    },
    {
      name: 'a tokenizer of another vocabulary',
      args: [
        ...SKIP,
        broken('vocabulary', 'tokenizer.json', () => Tokenizer.train(['天地'], { vocabSize: 263 }).toJson()),
      ],
      naming: /(?=.*tokenizer\.json)(?=.*vocabulary\/pretrain_final).*263/,
    },
    {
      name: 'a tokenizer that is no JSON',
      args: [...SKIP, broken('scrap', 'tokenizer.json', (all) => all.subarray(0, 300))],
      naming: /scrap\/pretrain_final\/tokenizer\.json/,
    },
    {
      name: 'a reward model of another training',
      args: ['--preset', 'nano', '--skip-pretrain', '--skip-sft', '--skip-reward', '--out', otherReward()],
      naming: /sft_final.*reward_model/,
    },
  ]);

  function otherReward(): string {
    const out = checkpoints('other', ['sft_final', 'reward_model']);
    const other = Tokenizer.train(['user', 'assistant', '天地'], { vocabSize: 263 });
    const config = { ...CONFIG, vocabSize: other.vocabSize };
    const params = initializeParameters(rewardParameters(config), 1);
    saveCheckpoint(join(out, 'reward_model'), { params, config, tokenizer: other, stage: 'reward' });
    return out;
  }
});

describe('a run that fails', () => {
  let out: string;
  let long: string;
  beforeAll(() => {
    out = checkpoints('kept', ['pretrain_final']);
    const question = { role: 'user', content: '天'.repeat(100) };
    long = file('long.json', json({ messages: [question, { role: 'assistant', content: '好' }] }));
  });

  const snapshot = (): string[] =>
    readdirSync(join(out, 'pretrain_final')).map(
      (name) => `${name} ${readFileSync(join(out, 'pretrain_final', name)).toString('base64')}`,
    );

  it('leaves earlier checkpoints as they are, and shows a stack only with --debug', async () => {
    const before = snapshot();
    const args = [
      '--preset',
      'nano',
      '--skip-pretrain',
      '--out',
      out,
      '--data',
      `sft=${long}`,
      '--lang',
      'en',
    ];
    const quiet = await run('train', args);
    expectSentence(quiet, 'en', /SFT data.*context of 32 tokens/);
    const loud = await run('train', [...args, '--debug']);
    expect(loud.code).toBe(1);
    expect(loud.stderr).toMatch(/^Error: .*\n/);
    expect(loud.stderr).toMatch(/\n\s+at .*\.ts/);
    expect(snapshot()).toEqual(before);
  });
});

describe('--help', () => {
  it.each([
    ['en', /^Usage: train \[options\]/, /passes over the pretraining text/],
    ['zh', /^用法: train \[选项\]/, /预训练遍数/],
  ] as const)('tells every option (%s)', async (lang, usage, description) => {
    const { code, stdout, stderr } = await run('train', ['--help', '--lang', lang]);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(usage);
    expect(stdout).toMatch(description);
    for (const option of ['--preset', '--skip-rlvf', '--rlhf-episodes', '--batch-size', '--data', '--out'])
      expect(stdout).toContain(option);
    expect(stdout).not.toMatch(/undefined|默认: ）|default: \)/);
  });
});
