import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { saveCheckpoint } from '../src/checkpoint.ts';
import { openRuntime } from '../src/cli/device.ts';
import { findCheckpoint, loadWriter, resolveCheckpoint } from '../src/cli/writer.ts';
import { createDecoder, type Decoder } from '../src/decoder.ts';
import { UserError } from '../src/errors.ts';
import {
  DEFAULT_SAMPLING,
  type GeneratedToken,
  type GenerateOptions,
  generate,
  generateBatch,
  generateText,
  rawPrompt,
  type ScoredToken,
} from '../src/generate.ts';
import { setLanguage } from '../src/i18n.ts';
import { initializeParameters } from '../src/nn/parameters.ts';
import { GREEDY, PLAIN_SAMPLING, type SamplingOptions } from '../src/sampling.ts';
import { rewardParameters } from '../src/scorer.ts';
import { createRandom } from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { SPECIAL } from '../src/tokenizer.ts';
import { runHere } from './support/command.ts';
import { fc } from './support/property.ts';
import { scriptedDecoder, tinyCheckpoint } from './support/writer.ts';

const checkpoint = tinyCheckpoint();
const { tokenizer, config, params } = checkpoint;
const { vocabSize } = config;
let decoder: Decoder;

beforeAll(async () => {
  const runtime = await createNodeRuntime({ threads: 1 });
  decoder = await createDecoder({ runtime, config, weights: params, batchSize: 1 });
});
afterAll(() => decoder.release());
afterEach(() => setLanguage('en'));

async function collect(options: Partial<GenerateOptions>): Promise<GeneratedToken[]> {
  const pieces: GeneratedToken[] = [];
  const complete: GenerateOptions = {
    decoder,
    tokenizer,
    prompt: tokenizer.encode('你好'),
    maxNewTokens: 20,
    sampling: PLAIN_SAMPLING,
    random: createRandom(1),
    ...options,
  };
  for await (const piece of generate(complete)) pieces.push(piece);
  return pieces;
}

describe('generate', () => {
  test('the texts joined are the decoding of all tokens, and no piece ends inside a character', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }), async (written) => {
        const tokens = [...tokenizer.encode(written), SPECIAL.imEnd];
        const pieces = await collect({
          decoder: scriptedDecoder(tokens, { vocabSize, maxLength: 500 }),
          maxNewTokens: 400,
          sampling: GREEDY,
        });
        expect(pieces.map(({ token }) => token)).toEqual(tokens);
        expect(pieces.map(({ text }) => text).join('')).toBe(tokenizer.decode(tokens, { skipSpecial: true }));
        if (!written.includes('\ufffd')) for (const { text } of pieces) expect(text).not.toContain('\ufffd');
      }),
      { numRuns: 30 },
    );
  });

  test('the same with a model that writes noise, half characters at the end included', async () => {
    for (let seed = 0; seed < 5; seed++) {
      const pieces = await collect({ random: createRandom(seed), stopTokens: [] });
      const tokens = pieces.map(({ token }) => token);
      expect(pieces.map(({ text }) => text).join('')).toBe(tokenizer.decode(tokens, { skipSpecial: true }));
    }
  });

  test('follows the full forward pass of the model: every token is the best after all before it', async () => {
    const prompt = tokenizer.encode('今天');
    const pieces = await collect({ prompt, sampling: GREEDY, maxNewTokens: 6, stopTokens: [] });
    const sequence = [...prompt];
    for (const { token } of pieces) {
      const [logits] = await decoder.prefill([sequence]);
      expect(logits.indexOf(Math.max(...logits))).toBe(token);
      sequence.push(token);
    }
  });

  test.each([SPECIAL.imEnd, SPECIAL.eos])('ends at the stop token %i, which has no text', async (stop) => {
    const [a, b] = tokenizer.encode('你好，世界');
    const pieces = await collect({
      decoder: scriptedDecoder([a, b, stop, a], { vocabSize }),
      sampling: GREEDY,
    });
    expect(pieces.map(({ token }) => token)).toEqual([a, b, stop]);
    expect(pieces.at(-1)).toMatchObject({ token: stop, text: '', finish: 'stop' });
    expect(pieces.slice(0, -1).every(({ finish }) => finish === undefined)).toBe(true);
  });

  test('ends after maxNewTokens, and at the end of the context', async () => {
    const cut = await collect({ maxNewTokens: 3, stopTokens: [] });
    expect(cut).toHaveLength(3);
    expect(cut.at(-1)?.finish).toBe('length');
    const prompt = new Int32Array(config.contextLength - 5).fill(70);
    const full = await collect({ prompt, maxNewTokens: 100, stopTokens: [] });
    expect(full).toHaveLength(5);
    expect(full.at(-1)?.finish).toBe('context');
  });

  test('runs no step for a token that nobody asks for', async () => {
    const scripted = scriptedDecoder([70], { vocabSize });
    let count = 0;
    for await (const _ of generate({
      decoder: scripted,
      tokenizer,
      prompt: [1],
      maxNewTokens: 50,
      sampling: GREEDY,
      random: createRandom(1),
    })) {
      if (++count === 4) break;
    }
    expect(scripted.steps).toEqual([70, 70, 70]);
  });

  test('a prompt without room for an answer is refused with both lengths and the fix', async () => {
    const prompt = new Int32Array(config.contextLength).fill(70);
    await expect(collect({ prompt })).rejects.toThrow(UserError);
    await expect(collect({ prompt })).rejects.toThrow(
      /64 tokens.*holds 64.*shorten the prompt to at most 63/,
    );
    await expect(collect({ prompt: new Int32Array(300).fill(70) })).rejects.toThrow(/300 tokens/);
    setLanguage('zh');
    await expect(collect({ prompt })).rejects.toThrow(/64 个词元.*缩短到 63/);
    await expect(collect({ prompt: [] })).rejects.toThrow(RangeError);
  });

  test('sampling options out of range are refused', async () => {
    await expect(collect({ sampling: { ...PLAIN_SAMPLING, topP: Number.NaN } })).rejects.toThrow(/--top-p/);
  });

  test('the same seed writes the same, another seed something else', async () => {
    const write = (seed: number): Promise<string> =>
      generateText({
        decoder,
        tokenizer,
        prompt: tokenizer.encode('你好'),
        maxNewTokens: 20,
        sampling: DEFAULT_SAMPLING,
        random: createRandom(seed),
      });
    expect(await write(5)).toBe(await write(5));
    expect(await write(5)).not.toBe(await write(6));
  });

  test('ends before a stop string, also where it spreads over tokens, and shows nothing of it', async () => {
    const [hash] = tokenizer.encode('#');
    const tokens = [...tokenizer.encode('今天好'), hash, hash, hash, hash];
    const write = (stop: string[], more: Partial<GenerateOptions> = {}): Promise<GeneratedToken[]> =>
      collect({ decoder: scriptedDecoder(tokens, { vocabSize }), sampling: GREEDY, stop, ...more });
    const pieces = await write(['###']);
    expect(pieces.map(({ text }) => text).join('')).toBe('今天好');
    expect(pieces.at(-1)?.finish).toBe('stop');
    // What was held back appears when the text ends otherwise.
    const cut = await write(['###'], { maxNewTokens: tokens.length - 2 });
    expect(cut.map(({ text }) => text).join('')).toBe('今天好##');
    expect(cut.at(-1)?.finish).toBe('length');
    const ended = scriptedDecoder([...tokenizer.encode('好#'), SPECIAL.imEnd], { vocabSize });
    expect(
      (await write(['###'], { decoder: ended })).map(({ text, finish }) => text + (finish ?? '')).join(''),
    ).toBe('好#stop');
    await expect(write([''])).rejects.toThrow(/--stop/);
  });

  test('gives the scores of each token', async () => {
    for (const { token, logits } of (await collect({ sampling: GREEDY, maxNewTokens: 1 })) as ScoredToken[])
      expect(logits.indexOf(Math.max(...logits))).toBe(token);
  });

  test('the repetition penalty counts words of the answer, not digits, punctuation or the prompt', async () => {
    const [word, other, digit] = tokenizer.encode('ab5');
    /** Wants `first` a little more than `second`, always. */
    const undecided = (first: number, second: number): Decoder => {
      const logits = new Float32Array(vocabSize);
      logits[first] = 10;
      logits[second] = 9.9;
      return {
        ...scriptedDecoder([0], { vocabSize }),
        prefill: async () => [logits],
        step: async () => [logits],
      };
    };
    const write = async (first: number, second: number): Promise<number[]> => {
      const pieces = await collect({
        decoder: undecided(first, second),
        prompt: [first],
        sampling: { ...GREEDY, repetitionPenalty: 1.2 },
        maxNewTokens: 3,
      });
      return pieces.map(({ token }) => token);
    };
    expect(await write(word, other)).toEqual([word, other, word]);
    expect(await write(digit, word)).toEqual([digit, digit, digit]);
  });

  test('the frequency and presence penalties count every token of the answer', async () => {
    const [a, b] = tokenizer.encode('5。');
    const logits = new Float32Array(vocabSize);
    logits[a] = 10;
    logits[b] = 9;
    const same = {
      ...scriptedDecoder([0], { vocabSize }),
      step: async () => [logits],
      prefill: async () => [logits],
    };
    const write = async (sampling: Partial<SamplingOptions>): Promise<number[]> =>
      (
        await collect({ decoder: same, prompt: [a], maxNewTokens: 5, sampling: { ...GREEDY, ...sampling } })
      ).map(({ token }) => token);
    // 10, 9.4, 8.8 for the one, 9, 8.4 for the other.
    expect(await write({ frequencyPenalty: 0.6 })).toEqual([a, a, b, a, b]);
    // Once both were written, they have lost the same.
    expect(await write({ presencePenalty: 1.5 })).toEqual([a, b, a, a, a]);
  });

  test('a batch writes what each prompt gets by itself', async () => {
    const runtime = await createNodeRuntime({ threads: 1 });
    const batched = await createDecoder({ runtime, config, weights: params, batchSize: 3 });
    const prompts = ['你好', '今天天气很好。今天天气很好。', '世', '朋友，你好', ''].map((said) =>
      rawPrompt(tokenizer, said),
    );
    const options = { tokenizer, maxNewTokens: 9, sampling: DEFAULT_SAMPLING, stop: ['天气'] };
    const randomOf = (index: number) => createRandom(100 + index);
    const together = await generateBatch({ ...options, decoder: batched, prompts, randomOf });
    expect(together).toHaveLength(prompts.length);
    for (const [index, prompt] of prompts.entries()) {
      const pieces = await collect({ ...options, prompt, random: randomOf(index) });
      expect(together[index]).toEqual({
        text: pieces.map(({ text }) => text).join(''),
        tokens: pieces.map(({ token }) => token),
        finish: pieces.at(-1)?.finish,
      });
    }
    await expect(
      generateBatch({ ...options, decoder: batched, prompts: [[1], new Int32Array(64)], randomOf }),
    ).rejects.toThrow(/64 tokens/);
    await batched.release();
  });

  test('a raw text begins after the end of another', () => {
    expect([...rawPrompt(tokenizer, '你好')]).toEqual([SPECIAL.eos, ...tokenizer.encode('你好')]);
    expect([...rawPrompt(tokenizer, '')]).toEqual([SPECIAL.eos]);
  });
});

describe('checkpoints that can write', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'my-llm-generate-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('the most advanced is found, and messages name what is missing', () => {
    expect(findCheckpoint(folder)).toBeUndefined();
    expect(() => resolveCheckpoint(undefined, folder)).toThrow(/npm run train.*--checkpoint/);
    saveCheckpoint(join(folder, 'pretrain_final'), { ...checkpoint, stage: 'pretrain' });
    expect(findCheckpoint(folder)).toBe(join(folder, 'pretrain_final'));
    saveCheckpoint(join(folder, 'sft_final'), checkpoint);
    expect(findCheckpoint(folder)).toBe(join(folder, 'sft_final'));
    expect(resolveCheckpoint(folder)).toBe(join(folder, 'sft_final'));
    expect(resolveCheckpoint(join(folder, 'sft_final', 'model.safetensors'))).toBe(join(folder, 'sft_final'));
    expect(() => resolveCheckpoint(join(folder, 'sft_final', 'config.json'))).toThrow(/is a file/);
    expect(loadWriter(join(folder, 'sft_final')).stage).toBe('sft');
    expect(() => loadWriter(join(folder, 'nowhere'))).toThrow(/nowhere.*missing/);
  });

  test('a reward model is refused for what it is', () => {
    const dir = join(folder, 'reward_model');
    const weights = initializeParameters(rewardParameters(config), 1);
    saveCheckpoint(dir, { ...checkpoint, params: weights, stage: 'reward' });
    expect(() => loadWriter(dir)).toThrow(UserError);
    expect(() => loadWriter(dir)).toThrow(/reward model.*--checkpoint/);
  });

  /** The command in a process of its own. */
  const command = (...options: string[]): Promise<{ stdout: string; stderr: string; code: number }> =>
    promisify(execFile)(process.execPath, [
      '--import',
      'tsx',
      'src/cli/generate.ts',
      '--lang',
      'en',
      ...options,
    ])
      .then((streams) => ({ ...streams, code: 0 }))
      .catch(({ stdout, stderr, code }) => ({ stdout, stderr, code }));

  test('the command prints the answer alone, the same for the same seed', async () => {
    const options = ['--checkpoint', join(folder, 'sft_final'), '--threads', '1', '--max_length', '8'];
    const answer = (...more: string[]): Promise<string> => runHere('generate', [...options, ...more]);
    const first = await answer('--prompt', '你好', '--seed', '3');
    expect(first).toMatch(/^.+\n$/s);
    expect(await answer('--prompt', '你好', '--seed', '3')).toBe(first);
    expect(await answer('--prompt', '你好', '--seed', '4')).not.toBe(first);
    expect(await answer('--prompt', '你好', '--seed', '3', '--raw')).not.toBe(first);
    const stop = first.trim().slice(1, 3);
    const stopped = await answer('--prompt', '你好', '--seed', '3', '--stop', '###', '--stop', stop);
    expect(stopped).toBe(`${first.slice(0, first.indexOf(stop))}\n`);
    // Nothing is left to chance where the best token is taken.
    const greedy = await answer('--prompt', '你好', '--greedy');
    expect(await answer('--prompt', '你好', '--temperature', '0', '--seed', '9')).toBe(greedy);
  });

  test('the command answers piped lines one by one', async () => {
    const options = ['--checkpoint', folder, '--threads', '1', '--max-length', '4', '--greedy'];
    const once = await runHere('generate', [...options, '--prompt', '你好']);
    const piped = await runHere('generate', [...options, '--interactive'], '你好\n世界\n');
    expect(piped.startsWith(once)).toBe(true);
    expect(piped.length).toBeGreaterThan(once.length);
  });

  test('the command refuses contradictions and a missing prompt in one line', async () => {
    const [greedy, silent] = await Promise.all([
      command('--prompt', 'x', '--greedy', '--temperature', '0.5'),
      command(),
    ]);
    expect(greedy).toMatchObject({ code: 1, stdout: '' });
    expect(greedy.stderr).toMatch(/^Error: --greedy .*--temperature 0\.5.*\n$/);
    expect(silent.code).toBe(1);
    expect(silent.stderr).toMatch(/^Error: .*--prompt.*--interactive.*\n$/);
  });
});

test.each(['cpu', 'webgpu', 'cuda'] as const)(
  'the device %s works, or one sentence says why not',
  async (device) => {
    const outcome = await openRuntime({ device, threads: 1 }).catch((error: unknown) => error);
    if (outcome instanceof Error) {
      expect(device).not.toBe('cpu');
      expect(outcome).toBeInstanceOf(UserError);
      expect(outcome.message).toContain(`--device ${device}`);
      expect(outcome.message).toContain('--device cpu');
    } else expect(outcome).toMatchObject({ name: expect.stringContaining(device) });
  },
);
