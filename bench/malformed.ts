/** @file Requests that no client should send: broken JSON and UTF-8, wrong types, huge numbers, too much, and too little. */

import { connect } from 'node:net';
import { createRandom, type Random } from '../src/tensor/random.ts';

/** Something wrong to post. Where there is no `body`, the connection is left early. */
interface Malformed {
  readonly path: string;
  readonly body?: string | Uint8Array;
  /** Whether it is left in the middle of the question, rather than of the answer. */
  readonly interrupted?: boolean;
}

const CHAT = { messages: [{ role: 'user', content: '你好' }], max_tokens: 4, temperature: 0.5, stop: ['。'] };
const TEXT = { prompt: '你好', max_tokens: 4, top_p: 0.5, n: 1 };
const VALID: readonly (readonly [string, Record<string, unknown>])[] = [
  ['/v1/chat/completions', CHAT],
  ['/v1/completions', TEXT],
  ['/v1/embeddings', { input: '你好' }],
  ['/tokenize', { prompt: '你好' }],
  ['/detokenize', { tokens: [10] }],
];

/** Values that are wrong in every field of the requests above. */
const WRONG: readonly unknown[] = [true, { a: 1 }, [{}], [[[1]]], -1.5, 1e300, [null], [-1]];

const KINDS: readonly ((random: Random) => Malformed)[] = [
  function cutOffJson(random) {
    const [path, body] = random.pick(VALID);
    const json = JSON.stringify(body);
    return { path, body: json.slice(0, random.integer(json.length)) };
  },
  function scrambledJson(random) {
    const [path, body] = random.pick(VALID);
    const json = JSON.stringify(body);
    const at = random.integer(json.length);
    return { path, body: `${json.slice(0, at)}}${json.slice(at)}{` };
  },
  function wrongType(random) {
    const [path, body] = random.pick(VALID);
    return { path, body: JSON.stringify({ ...body, [random.pick(Object.keys(body))]: random.pick(WRONG) }) };
  },
  function hugeNumber(random) {
    const [path, field] = random.pick([
      ['/v1/chat/completions', 'temperature'],
      ['/v1/chat/completions', 'top_p'],
      ['/v1/completions', 'seed'],
      ['/v1/completions', 'max_tokens'],
      ['/v1/completions', 'n'],
    ]);
    const { [field]: _, ...rest } = Object.fromEntries(VALID)[path];
    const huge = random.pick(['1e999', '-1e308', '1e40', '9'.repeat(400)]);
    return { path, body: `${JSON.stringify(rest).slice(0, -1)},"${field}":${huge}}` };
  },
  function brokenUtf8(random) {
    const [path, body] = random.pick(VALID);
    const bytes = Buffer.from(JSON.stringify({ ...body, user: '好好好' }));
    bytes[bytes.length - 4 - random.integer(6)] = random.pick([0xff, 0xc0, 0xf8, 0x41]);
    return { path, body: bytes };
  },
  function oversized(random) {
    const [path, body] = random.pick(VALID);
    return { path, body: JSON.stringify({ ...body, user: 'x'.repeat(2 ** 20 + random.integer(1000)) }) };
  },
  function tooLong(random) {
    const content = '好'.repeat(2000 + random.integer(1000));
    return { path: '/v1/chat/completions', body: JSON.stringify({ messages: [{ role: 'user', content }] }) };
  },
  function unknownField(random) {
    const [path, body] = random.pick(VALID);
    return { path, body: JSON.stringify({ ...body, [`x${random.integer(1000)}`]: 1 }) };
  },
  function unknownPath(random) {
    return { path: `/v1/${random.integer(1000)}`, body: '{}' };
  },
  function leftEarly(random) {
    return { path: random.pick(VALID)[0], interrupted: random.uniform() < 0.5 };
  },
];

/**
 * Send so many, a few at a time, the same ones every time.
 * @returns `served`, how many were answered with anything but 4xx; to be closed or left is right too
 */
export async function sendMalformed(url: string, count: number): Promise<{ served: number }> {
  const random = createRandom(1);
  const waiting = Array.from({ length: count }, (_, i) => KINDS[i % KINDS.length](random));
  let served = 0;
  const worker = async (): Promise<void> => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const { path, body, interrupted = false } = next;
      const status = body === undefined ? await leave(url, path, interrupted) : await send(url, path, body);
      if (status !== undefined && (status < 400 || status > 499)) served++;
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  return { served };
}

/** The status; undefined where the server closed the connection. */
async function send(url: string, path: string, body: string | Uint8Array): Promise<number | undefined> {
  try {
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(`${url}${path}`, { method: 'POST', headers, body: body as BodyInit });
    await response.text();
    return response.status;
  } catch {
    return undefined;
  }
}

/** Ask for a long answer, and go in the middle of the question or of the answer. */
function leave(url: string, path: string, interrupted: boolean): Promise<undefined> {
  const { hostname, port } = new URL(url);
  const body = JSON.stringify({
    ...(path.endsWith('chat/completions') ? CHAT : TEXT),
    max_tokens: 200,
    stream: true,
  });
  const head = `POST ${path} HTTP/1.1\r\nHost: ${hostname}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n`;
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname);
    socket.on('error', () => {});
    socket.on('close', () => resolve(undefined));
    const all = head + body;
    socket.write(interrupted ? all.slice(0, all.length / 2) : all, () => {
      setTimeout(() => socket.destroy(), interrupted ? 0 : 20);
    });
  });
}
