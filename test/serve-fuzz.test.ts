import { connect } from 'node:net';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { fc } from './support/property.ts';
import { startServer, type TestServer } from './support/server.ts';

let server: TestServer;
const question = { prompt: '你好', temperature: 0, max_tokens: 5 };
let answer: unknown;
const ask = async (): Promise<unknown> => {
  const response = await server.post('/v1/completions', question);
  return ((await response.json()) as { choices: unknown }).choices;
};
beforeAll(async () => {
  server = await startServer({ contextLength: 64 });
  answer = await ask();
});
afterAll(async () => {
  expect(await server.stop()).toBe(true);
});

const VALID: Readonly<Record<string, object>> = {
  '/v1/chat/completions': {
    messages: [
      { role: 'system', content: '短' },
      { role: 'user', content: [{ type: 'text', text: '你好' }] },
    ],
    max_tokens: 3,
    logprobs: true,
    top_logprobs: 2,
    stop: ['。'],
    seed: 1,
  },
  '/v1/completions': { prompt: ['你好', '天'], max_tokens: 3, n: 2, logprobs: 1, temperature: 1, top_p: 0.5 },
  '/v1/embeddings': { input: ['你好', '天'], encoding_format: 'float' },
  '/tokenize': { prompt: '你好' },
  '/detokenize': { tokens: [10, 20] },
};

/** Something in the place of one part of a value, or a part more, or less. */
function mutated(value: unknown): fc.Arbitrary<unknown> {
  const scrap = fc.oneof(
    { weight: 3, arbitrary: fc.jsonValue({ maxDepth: 2 }) },
    fc.constantFrom(
      1e308,
      -1e308,
      2 ** 53,
      -0,
      0.5,
      '',
      '\ud800',
      '\u0000',
      null,
      [],
      {},
      [[]],
      'x'.repeat(5000),
    ),
  );
  if (Array.isArray(value)) {
    return fc.oneof(
      scrap,
      fc.array(scrap, { maxLength: 4 }),
      ...value.map((each, i) => mutated(each).map((other) => value.with(i, other))),
    );
  }
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value);
    return fc.oneof(
      { weight: 1, arbitrary: scrap },
      {
        weight: 1,
        arbitrary: fc.tuple(fc.string(), scrap).map(([key, more]) => ({ ...value, [key]: more })),
      },
      ...entries.map(([key, each]) => ({
        weight: 4,
        arbitrary: mutated(each).map((other) => ({ ...value, [key]: other })),
      })),
    );
  }
  return scrap;
}

test('whatever is posted is answered: with 200, or with 4xx and one sentence', {
  timeout: 60_000,
}, async () => {
  const requests = fc.constantFrom(...Object.keys(VALID)).chain((path) => {
    const json = JSON.stringify(VALID[path]);
    const body = fc.oneof(
      { weight: 6, arbitrary: mutated(VALID[path]).map((value) => JSON.stringify(value)) },
      { weight: 1, arbitrary: fc.string() },
      { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }) },
      { weight: 1, arbitrary: fc.nat(json.length - 1).map((length) => json.slice(0, length)) },
    );
    return fc.record({ path: fc.constant(path), body });
  });
  await fc.assert(
    fc.asyncProperty(requests, async ({ path, body }) => {
      const response = await server.post(path, body);
      const text = await response.text();
      if (response.status === 200) return;
      expect([400, 404]).toContain(response.status);
      const { error } = JSON.parse(text);
      expect(error).toMatchObject({ message: expect.any(String), type: 'invalid_request_error' });
      expect(error.message).not.toMatch(/undefined|\[object|\n/);
    }),
    { numRuns: 400, examples: [[{ path: '/detokenize', body: Uint8Array.of(0, 10) }]] },
  );
  expect(server.defects).toEqual([]);
  expect(await ask()).toEqual(answer);
});

test('connections that say nonsense, or leave, hurt nobody', { timeout: 60_000 }, async () => {
  const port = Number(new URL(server.url).port);
  const json = JSON.stringify({ ...question, max_tokens: 50, stream: true });
  const head = `POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${json.length + 4}\r\n\r\n`;
  const sent = fc.oneof(
    fc.string(),
    fc.string().map((path) => `GET /${encodeURI(path)} HTTP/1.1\r\nHost: x\r\n\r\n`),
    fc.nat(head.length + json.length).map((length) => (head + json).slice(0, length)),
    fc.constant(`${head.replace(/Length: \d+/, 'Length: 99999999')}${json}`),
    fc.constant(`${head.replace(/Content-Length: \d+/, 'Transfer-Encoding: chunked')}zz\r\n${json}`),
  );
  await fc.assert(
    fc.asyncProperty(sent, fc.nat(10), async (text, patience) => {
      const socket = connect(port, '127.0.0.1');
      socket.on('error', () => {});
      socket.write(text);
      await new Promise((resolve) => setTimeout(resolve, patience));
      socket.destroy();
    }),
    { numRuns: 150 },
  );
  expect(await ask()).toEqual(answer);
  // Whoever left is noticed when the socket closes, which may be after the answer.
  const { engine } = server.model;
  await vi.waitFor(() => expect([engine.running, engine.waiting]).toEqual([0, 0]), 10_000);
  expect(server.defects).toEqual([]);
});
