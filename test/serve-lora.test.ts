import { spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InvalidArgumentError } from 'commander';
import OpenAI from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { saveLora } from '../src/adapter.ts';
import { saveCheckpoint } from '../src/checkpoint.ts';
import { collectNamedPaths, type NamedPath, servedAdapters } from '../src/cli/served-adapters.ts';
import { createDecoder } from '../src/decoder.ts';
import { createEmbedder } from '../src/embedder.ts';
import { UserError } from '../src/errors.ts';
import { generate, rawPrompt } from '../src/generate.ts';
import { setLanguage } from '../src/i18n.ts';
import { GREEDY } from '../src/sampling.ts';
import { type LoraOptions, mergeLora } from '../src/stages/lora.ts';
import { createRandom } from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { randomLora } from './support/lora.ts';
import { startServer, type TestServer } from './support/server.ts';
import { freshWeights } from './support/tiny.ts';
import { tinyCheckpoint } from './support/writer.ts';

const OPTIONS: LoraOptions = { r: 2, alpha: 4, dropout: 0, targetModules: ['c_attn', 'c_proj'] };
const base = tinyCheckpoint('sft', 128);
const { config, tokenizer } = base;
const poems = randomLora(config, OPTIONS, 5);
const law = randomLora(config, { ...OPTIONS, targetModules: ['linear1', 'linear2'] }, 6);
const PROMPT = '你好';

const folder = mkdtempSync(join(tmpdir(), 'my-llm-serve-'));
const baseFolder = join(folder, 'sft_final');
const adapterAt = (name: string): string => join(folder, 'lora', name);
beforeAll(() => {
  saveCheckpoint(baseFolder, base);
  saveLora(adapterAt('poems'), poems, { ...base, name: baseFolder });
  const other = { ...base, params: freshWeights(config, 9), name: join(folder, 'rlhf_final') };
  saveLora(adapterAt('other'), law, other);
  mkdirSync(adapterAt('damaged'));
  copyFileSync(
    join(adapterAt('poems'), 'adapter_config.json'),
    join(adapterAt('damaged'), 'adapter_config.json'),
  );
  writeFileSync(join(adapterAt('damaged'), 'adapter_model.safetensors'), 'no tensors');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(() => setLanguage('en'));

/** What `npm run generate` would write after the prompt, with these weights. */
async function written(weights: typeof base.params): Promise<string> {
  const runtime = await createNodeRuntime({ threads: 1 });
  const decoder = await createDecoder({ runtime, config, weights, batchSize: 1 });
  const prompt = rawPrompt(tokenizer, PROMPT);
  const how = { sampling: GREEDY, random: createRandom(1), maxNewTokens: 20, stop: [] };
  let text = '';
  for await (const piece of generate({ decoder, tokenizer, prompt, ...how })) text += piece.text;
  await decoder.release();
  return text;
}

describe('a base and its adapters on one server', () => {
  let server: TestServer;
  let client: OpenAI;
  beforeAll(async () => {
    server = await startServer({
      adapters: [
        { id: 'poems', lora: poems },
        { id: 'law', lora: law },
      ],
    });
    client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 });
  });
  afterAll(async () => {
    expect(await server.stop()).toBe(true);
    expect(server.defects).toEqual([]);
  });
  const write = async (model: string): Promise<string> =>
    (await client.completions.create({ model, prompt: PROMPT, temperature: 0, max_tokens: 20 })).choices[0]
      .text;

  test('are models of their own, which name their base', async () => {
    const { data } = await client.models.list();
    expect(data.map((model) => [model.id, (model as { parent?: unknown }).parent])).toEqual([
      ['tiny-sft', null],
      ['poems', 'tiny-sft'],
      ['law', 'tiny-sft'],
    ]);
    expect(await client.models.retrieve('law')).toEqual(data[2]);
  });

  test('write what the merged weights write, side by side, and the base what it wrote without them', async () => {
    const expected = await Promise.all(
      [base, mergeLora(base, poems), mergeLora(base, law)].map(({ params }) => written(params)),
    );
    expect(new Set(expected).size).toBe(3);
    const asked = ['tiny-sft', 'poems', 'law', 'law', 'tiny-sft', 'poems'];
    expect(await Promise.all(asked.map(write))).toEqual([0, 1, 2, 2, 0, 1].map((i) => expected[i]));
    const unnamed = await server.post('/v1/completions', { prompt: PROMPT, temperature: 0, max_tokens: 20 });
    expect(await unnamed.json()).toMatchObject({ model: 'tiny-sft', choices: [{ text: expected[0] }] });
  });

  test('converse, embed and are counted under their names', async () => {
    const body = { model: 'poems', messages: [{ role: 'user' as const, content: PROMPT }], seed: 1 };
    const { model, usage } = await client.chat.completions.create({ ...body, max_tokens: 7 });
    expect([model, usage?.completion_tokens]).toEqual(['poems', 7]);
    const { data } = await client.embeddings.create({
      model: 'law',
      input: PROMPT,
      encoding_format: 'float',
    });
    const runtime = await createNodeRuntime({ threads: 1 });
    const embedder = createEmbedder({ runtime, config, weights: mergeLora(base, law).params });
    expect(data[0].embedding).toEqual([...(await embedder.embed(rawPrompt(tokenizer, PROMPT)))]);
    await embedder.release();
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    expect(metrics).toMatch(/^myllm_slots\{model="law"\} 4$/m);
    expect(metrics).toMatch(/^myllm_generated_tokens_total\{model="poems"\} \d+$/m);
  });
});

describe('--lora', () => {
  const adapters = (lora: readonly NamedPath[] | false | undefined, id = 'sft_final') =>
    servedAdapters({ lora, folder: baseFolder, base, id });
  const parse = (...values: string[]): readonly NamedPath[] | undefined =>
    values.reduce<readonly NamedPath[] | undefined>(
      (given, value) => collectNamedPaths(value, given),
      undefined,
    );

  test('takes names and folders, files, or names beside the checkpoint', () => {
    const path = adapterAt('poems');
    const given = parse(`a=${path}`, `诗=${join(path, 'adapter_model.safetensors')}`, 'b=poems');
    expect(given?.map(({ name }) => name)).toEqual(['a', '诗', 'b']);
    const found = adapters(given);
    expect(found.map(({ id }) => id)).toEqual(['a', '诗', 'b']);
    for (const { lora } of found) expect(lora.weights).toEqual(poems.weights);
    expect(parse('a=x=y')).toEqual([{ name: 'a', path: 'x=y' }]);
    // The last word holds, as with other options.
    expect(collectNamedPaths('a=x', false)).toEqual([{ name: 'a', path: 'x' }]);
  });

  test('refuses, in one sentence, what has no name, two of a name, and the name of the base', () => {
    for (const value of ['poems', '=poems', 'poems=', 'two words=poems', ''])
      expect(() => parse(value), value).toThrow(InvalidArgumentError);
    expect(() => parse('poems')).toThrow(/^write NAME=FOLDER/);
    expect(() => parse('a=poems', 'a=law')).toThrow(/the name a is given twice/);
    expect(() => adapters(parse('sft_final=poems'))).toThrow(
      /called sft_final.*name of the base.*--lora NAME=/,
    );
  });

  test.each([
    ['nowhere', /no adapter in nowhere.*check the path/, /nowhere 中没有适配器/],
    ['other', /other belongs to another base \(.*rlhf_final\)/, /other 属于另一个基座/],
    ['damaged', /damaged.*adapter_model\.safetensors/, /damaged.*adapter_model\.safetensors/],
  ])('refuses, in one sentence, an adapter that is %s', (name, en, zh) => {
    for (const [language, sentence] of [
      ['en', en],
      ['zh', zh],
    ] as const) {
      setLanguage(language);
      expect(() => adapters(parse(`a=${name}`))).toThrow(UserError);
      expect(() => adapters(parse(`a=${name}`))).toThrow(sentence);
    }
  });

  test('where it is not given, final is served if it belongs to the base, and stderr says so', () => {
    const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    try {
      expect(adapters(undefined)).toEqual([]);
      saveLora(adapterAt('final'), law, { ...base, name: baseFolder });
      expect(adapters(false)).toEqual([]);
      expect(said).not.toHaveBeenCalled();
      expect(adapters(undefined)).toMatchObject([{ id: 'final', lora: { options: law.options } }]);
      expect(said.mock.calls).toEqual([
        [expect.stringMatching(/^Using the adapter .*final \(--no-lora .*\n$/)],
      ]);
      expect(() => adapters(undefined, 'final')).toThrow(/called final, which is the name of the base/);
    } finally {
      said.mockRestore();
      rmSync(adapterAt('final'), { recursive: true, force: true });
    }
  });
});

describe('the command', () => {
  const start = (...args: string[]) => {
    const child = spawn(process.execPath, ['--import', 'tsx', 'src/cli/serve.ts', '--port', '0', ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const seen = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const)
      child[name].setEncoding('utf8').on('data', (text: string) => {
        seen[name] += text;
      });
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    return { child, seen, ended };
  };

  test('serves adapters, found by name beside their base', { timeout: 60_000 }, async () => {
    const { child, seen, ended } = start(
      '--lang',
      'en',
      '--checkpoint',
      folder,
      '--lora',
      'a=poems',
      '--lora',
      'b=poems',
    );
    await Promise.race([ended, new Promise((resolve) => child.stdout.once('data', resolve))]);
    const url = /Serving sft_final, a, b at (\S+);/.exec(seen.stdout)?.[1];
    expect(url, seen.stderr).toBeDefined();
    const ask = async (model: string): Promise<string> => {
      const response = await fetch(`${url}/v1/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ model, prompt: PROMPT, temperature: 0, max_tokens: 20 }),
      });
      return ((await response.json()) as OpenAI.Completion).choices[0].text;
    };
    expect(await ask('b')).toBe(await written(mergeLora(base, poems).params));
    expect(await ask('sft_final')).toBe(await written(base.params));
    child.kill('SIGINT');
    expect(await ended).toBe(0);
  });

  test('tells a mistake in one sentence', { timeout: 60_000 }, async () => {
    const { seen, ended } = start('--lang', 'zh', '--checkpoint', baseFolder, '--lora', 'poems');
    expect(await ended).toBe(1);
    expect(seen).toEqual({
      stdout: '',
      stderr: expect.stringMatching(/^错误：选项 --lora 的值 "poems" 无效：请写成 名字=文件夹[^\n]*\n$/),
    });
  });
});
