/**
 * @file How a server bears many clients, and nonsense: one client's tokens per second against those of 64 that stream at
 * once, then a thousand malformed requests, and whether it is alive and right after them.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { saveCheckpoint } from '../src/checkpoint.ts';
import { PRESETS, type PresetName } from '../src/config.ts';
import { gptParameters } from '../src/model.ts';
import { initializeParameters } from '../src/nn/parameters.ts';
import { SPECIAL_TOKENS, Tokenizer } from '../src/tokenizer.ts';
import { sendMalformed } from './malformed.ts';
import { median } from './median.ts';

export interface ServeBench {
  readonly preset: PresetName;
  readonly slots: number;
  readonly threads: number;
  /** Tokens per answer. */
  readonly tokens: number;
  readonly oneClientTokensPerSecond: number;
  /** Median milliseconds from a request to its first token. */
  readonly oneClientFirstTokenMs: number;
  readonly clients: number;
  /** All clients together, in the median round. */
  readonly tokensPerSecond: number;
  readonly firstTokenMs: number;
  readonly ratio: number;
  /** Requests that did not bring a whole answer. */
  readonly failed: number;
  readonly malformed: number;
  /** Malformed requests that were neither answered with 4xx nor left or closed. */
  readonly malformedServed: number;
  /** Whether the server answered the same question as before, to the letter, after all of that. */
  readonly rightAfter: boolean;
  /** Largest resident memory of the server, in 2^20 bytes. */
  readonly peakRssMb: number;
}

const TOKENS = 128;
/** One client a few times, then all at once, so often: machines drift, and only what is measured in turn can be compared. */
const ROUNDS = 5;
const ALONE = 4;
const MALFORMED = 1000;

export async function benchServe(options: {
  readonly threads: number;
  readonly slots: number;
  readonly clients: number;
  readonly preset?: PresetName;
}): Promise<ServeBench> {
  const { threads, slots, clients, preset = 'mini' } = options;
  const folder = mkdtempSync(join(tmpdir(), 'my-llm-serve-'));
  let server: ChildProcess | undefined;
  try {
    saveRandomModel(folder, preset);
    server = startServer(folder, slots, threads);
    const url = await addressOf(server);
    const question = { prompt: '天地玄黄', max_tokens: 40, seed: 1 };
    const before = await answer(url, question);

    // The graphs for each size of the batch are compiled when it first occurs.
    await round(url, clients);
    await stream(url, 0);
    const alone: Streamed[] = [];
    const rounds: Round[] = [];
    for (let i = 0; i < ROUNDS; i++) {
      for (let seed = 0; seed < ALONE; seed++) alone.push(await stream(url, seed));
      rounds.push(await round(url, clients));
    }

    const { served } = await sendMalformed(url, MALFORMED);
    const after = await answer(url, question);
    const failed = [...alone, ...rounds.flatMap(({ streams }) => streams)].filter(({ whole }) => !whole);
    const one = TOKENS / median(alone.map(({ seconds }) => seconds));
    const all = (clients * TOKENS) / median(rounds.map(({ seconds }) => seconds));
    return {
      preset,
      slots,
      threads,
      tokens: TOKENS,
      oneClientTokensPerSecond: Math.round(one),
      oneClientFirstTokenMs: median(alone.map(({ firstMs }) => firstMs)),
      clients,
      tokensPerSecond: Math.round(all),
      firstTokenMs: median(rounds.flatMap(({ streams }) => streams.map(({ firstMs }) => firstMs))),
      ratio: all / one,
      failed: failed.length,
      malformed: MALFORMED,
      malformedServed: served,
      rightAfter: after === before && before !== '',
      peakRssMb: peakMemory(server),
    };
  } finally {
    server?.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A model with random weights that never ends an answer by itself. */
function saveRandomModel(folder: string, preset: PresetName): void {
  const text = readFileSync(new URL('../data/pretrain_data.txt', import.meta.url), 'utf8');
  const tokenizer = Tokenizer.train([text], { vocabSize: PRESETS[preset].vocabSize });
  const config = { ...PRESETS[preset], vocabSize: tokenizer.vocabSize };
  const params = initializeParameters(gptParameters(config), 1);
  params['embedding.weight'].data.fill(0 as never, 0, SPECIAL_TOKENS.length * config.hiddenSize);
  saveCheckpoint(folder, { params, config, tokenizer, stage: 'sft' });
}

function startServer(checkpoint: string, slots: number, threads: number): ChildProcess {
  const options = { checkpoint, port: 0, slots, threads };
  const flags = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
  return spawn(process.execPath, ['--import', 'tsx', 'src/cli/serve.ts', '--lang', 'en', ...flags], {
    stdio: ['ignore', 'pipe', 'inherit'],
    cwd: new URL('..', import.meta.url),
  });
}

function addressOf(server: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let printed = '';
    server.stdout!.setEncoding('utf8').on('data', (text: string) => {
      printed += text;
      const url = /http:\/\/127\.0\.0\.1:\d+/.exec(printed)?.[0];
      if (url) resolve(url);
    });
    server.once('exit', (code) => reject(new Error(`the server ended with exit code ${code}`)));
  });
}

interface Streamed {
  readonly seconds: number;
  readonly firstMs: number;
  /** Whether all tokens, the usage and the end came. */
  readonly whole: boolean;
}

/** One client: a chat answer as a stream. */
async function stream(url: string, seed: number): Promise<Streamed> {
  const start = performance.now();
  let firstMs = Number.NaN;
  let text = '';
  try {
    const response = await post(url, '/v1/chat/completions', {
      messages: [{ role: 'user', content: '你好，请说说今天的天气。' }],
      max_tokens: TOKENS,
      seed,
      stream: true,
      stream_options: { include_usage: true },
    });
    const decoder = new TextDecoder();
    for await (const bytes of response.body!) {
      text += decoder.decode(bytes, { stream: true });
      if (Number.isNaN(firstMs) && /"content":"[^"]/.test(text)) firstMs = performance.now() - start;
    }
  } catch {
    // Told as not whole.
  }
  const whole = text.endsWith('data: [DONE]\n\n') && text.includes(`"completion_tokens":${TOKENS}`);
  return { seconds: (performance.now() - start) / 1000, firstMs, whole };
}

interface Round {
  readonly streams: readonly Streamed[];
  readonly seconds: number;
}

/** All clients at once, a stream each. */
async function round(url: string, clients: number): Promise<Round> {
  const start = performance.now();
  const streams = await Promise.all(Array.from({ length: clients }, (_, i) => stream(url, i)));
  return { streams, seconds: (performance.now() - start) / 1000 };
}

async function answer(url: string, body: object): Promise<string> {
  const response = await post(url, '/v1/completions', body);
  return ((await response.json()) as { choices: { text: string }[] }).choices[0].text;
}

function post(url: string, path: string, body: object): Promise<Response> {
  const headers = { 'content-type': 'application/json' };
  return fetch(`${url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
}

/** 0 where the system does not tell. */
function peakMemory({ pid }: ChildProcess): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Math.round(Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024);
  } catch {
    return 0;
  }
}
