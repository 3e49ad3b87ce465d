import { connect } from 'node:net';
import OpenAI from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { fitHistory, type Message, renderPrompt } from '../src/chat-format.ts';
import { createDecoder } from '../src/decoder.ts';
import { DEFAULT_SAMPLING, generate, rawPrompt } from '../src/generate.ts';
import { setLanguage } from '../src/i18n.ts';
import { GREEDY, type SamplingOptions, softmaxOf } from '../src/sampling.ts';
import { listen } from '../src/server/listen.ts';
import { createRandom } from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { SPECIAL } from '../src/tokenizer.ts';
import { startServer, type TestServer } from './support/server.ts';
import { tinyCheckpoint } from './support/writer.ts';

const { tokenizer, config, params } = tinyCheckpoint('sft', 128);
const MODEL = 'tiny-sft';
let server: TestServer;
let client: OpenAI;
beforeAll(async () => {
  server = await startServer();
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 });
});
afterAll(async () => {
  expect(await server.stop()).toBe(true);
  expect(server.defects).toEqual([]);
});
afterEach(() => setLanguage('en'));

const hello: Message[] = [{ role: 'user', content: '你好' }];

/** What `npm run generate` would write. */
async function expected(
  prompt: Int32Array,
  { sampling = DEFAULT_SAMPLING, seed = 1, maxNewTokens = 20, stop = [] as string[] } = {},
): Promise<{ text: string; tokens: number[]; logits: Float32Array[] }> {
  const runtime = await createNodeRuntime({ threads: 1 });
  const decoder = await createDecoder({ runtime, config, weights: params, batchSize: 1 });
  const result = { text: '', tokens: [] as number[], logits: [] as Float32Array[] };
  const random = createRandom(seed);
  for await (const each of generate({ decoder, tokenizer, prompt, sampling, random, maxNewTokens, stop })) {
    result.text += each.text;
    result.tokens.push(each.token);
    result.logits.push(each.logits.slice());
  }
  await decoder.release();
  return result;
}

/** The error of a request that fails. */
async function failure(request: Promise<unknown>): Promise<InstanceType<typeof OpenAI.APIError>> {
  const error = await request.then(
    () => expect.fail('the request was served'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(OpenAI.APIError);
  return error as InstanceType<typeof OpenAI.APIError>;
}

describe('chat completions', () => {
  test('are what generate writes for the same seed, with exact usage', async () => {
    const answer = await client.chat.completions.create({
      model: MODEL,
      messages: hello,
      seed: 5,
      max_tokens: 20,
    });
    const prompt = renderPrompt(tokenizer, hello);
    const { text, tokens } = await expected(prompt, { seed: 5 });
    expect(answer).toMatchObject({
      object: 'chat.completion',
      model: MODEL,
      choices: [
        {
          index: 0,
          message: { role: 'assistant', content: text },
          finish_reason: tokens.length === 20 ? 'length' : 'stop',
          logprobs: null,
        },
      ],
      usage: {
        prompt_tokens: prompt.length,
        completion_tokens: tokens.length,
        total_tokens: prompt.length + tokens.length,
      },
    });
    expect(answer.id).toMatch(/^chatcmpl-\w{32}$/);
  });

  test('obey every sampling option', async () => {
    /** Field, option, a value, and another one. */
    const options = [
      ['temperature', 'temperature', 0.7, 1.4],
      ['top_k', 'topK', 30, 2],
      ['top_p', 'topP', 0.95, 0.3],
      ['min_p', 'minP', 0.01, 0.5],
      ['repetition_penalty', 'repetitionPenalty', 1.3, 2],
      ['frequency_penalty', 'frequencyPenalty', 0.4, 2],
      ['presence_penalty', 'presencePenalty', -0.2, 1.5],
    ] as const;
    const fields = Object.fromEntries(options.map(([field, , value]) => [field, value]));
    const sampling = Object.fromEntries(
      options.map(([, option, value]) => [option, value]),
    ) as unknown as SamplingOptions;
    const ask = async (more: object): Promise<string | null> => {
      const body = { model: MODEL, messages: hello, seed: 9, max_completion_tokens: 30, ...more };
      return (await client.chat.completions.create(body)).choices[0].message.content;
    };
    const prompt = renderPrompt(tokenizer, hello);
    const written = async (chosen: SamplingOptions): Promise<string> =>
      (await expected(prompt, { sampling: chosen, seed: 9, maxNewTokens: 30 })).text;
    const texts = [await ask(fields)];
    expect(texts[0]).toBe(await written(sampling));
    for (const [field, option, , other] of options) {
      const text = await ask({ ...fields, [field]: other });
      expect(text, field).toBe(await written({ ...sampling, [option]: other }));
      texts.push(text);
    }
    expect(new Set(texts).size).toBeGreaterThan(4);
    expect(await ask({ temperature: 0 })).toBe(await written(GREEDY));
    expect(await ask({ temperature: 0, frequency_penalty: 1 })).toBe(
      await written({ ...GREEDY, frequencyPenalty: 1 }),
    );
    expect(await ask({ temperature: null, top_p: null })).toBe(await written(DEFAULT_SAMPLING));
  });

  test('stream the same, token by token, with the usage at the end', async () => {
    const body = { model: MODEL, messages: hello, seed: 5, max_tokens: 20 };
    const whole = await client.chat.completions.create(body);
    const stream = await client.chat.completions.create({
      ...body,
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    expect(new Set(chunks.map(({ id }) => id)).size).toBe(1);
    expect(chunks[0].choices[0].delta).toEqual({ role: 'assistant', content: '' });
    const pieces = chunks.map(({ choices }) => choices[0]?.delta.content ?? '');
    expect(pieces.join('')).toBe(whole.choices[0].message.content);
    expect(pieces.filter((piece) => piece !== '').length).toBeGreaterThan(3);
    const last = chunks.at(-2);
    expect(last?.choices).toMatchObject([{ delta: {}, finish_reason: whole.choices[0].finish_reason }]);
    expect(chunks.filter(({ choices }) => choices[0]?.finish_reason).length).toBe(1);
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: whole.usage });
    expect(chunks.slice(0, -1).every(({ usage }) => usage === null)).toBe(true);

    const plain = await server.post('/v1/chat/completions', { ...body, stream: true });
    expect(plain.headers.get('content-type')).toMatch('text/event-stream');
    const text = await plain.text();
    expect(text).toMatch(/^(data: \{.*\}\n\n)+data: \[DONE\]\n\n$/);
    expect(text).not.toContain('usage');
  });

  test('the text of many streams is whole characters', async () => {
    const stream = await client.chat.completions.create({
      model: MODEL,
      messages: hello,
      temperature: 1.5,
      n: 4,
      max_tokens: 60,
      seed: 3,
      stream: true,
    });
    const whole = await client.chat.completions.create({
      model: MODEL,
      messages: hello,
      temperature: 1.5,
      n: 4,
      max_tokens: 60,
      seed: 3,
    });
    const texts = ['', '', '', ''];
    for await (const { choices } of stream) texts[choices[0].index] += choices[0].delta.content ?? '';
    expect(texts).toEqual(whole.choices.map(({ message }) => message.content));
    expect(new Set(texts).size).toBe(4);
    expect(whole.usage?.prompt_tokens).toBe(renderPrompt(tokenizer, hello).length);
  });

  test('tell probabilities: those of the model, before samplers', async () => {
    const { choices, usage } = await client.chat.completions.create({
      model: MODEL,
      messages: hello,
      seed: 2,
      max_tokens: 8,
      logprobs: true,
      top_logprobs: 3,
    });
    const content = choices[0].logprobs?.content ?? [];
    const { tokens, logits } = await expected(renderPrompt(tokenizer, hello), { seed: 2, maxNewTokens: 8 });
    expect(content.length).toBe(usage?.completion_tokens);
    content.forEach(({ token, logprob, bytes, top_logprobs: top }, i) => {
      const probabilities = softmaxOf(logits[i]);
      expect(logprob).toBeCloseTo(Math.log(probabilities[tokens[i]]), 5);
      expect(bytes).toEqual([...tokenizer.decodeBytes([tokens[i]])]);
      const decoded = tokenizer.decode([tokens[i]]);
      if (decoded.includes('\ufffd')) expect(token).toMatch(/^(\\x[0-9a-f]{2})+$/);
      else expect(token).toBe(decoded);
      expect(top.length).toBe(3);
      expect(top[0].logprob).toBeCloseTo(Math.log(Math.max(...probabilities)), 5);
      expect(top[1].logprob).toBeLessThanOrEqual(top[0].logprob);
    });
    const streamed = await client.chat.completions.create({
      model: MODEL,
      messages: hello,
      seed: 2,
      max_tokens: 8,
      logprobs: true,
      stream: true,
    });
    const pieces = [];
    for await (const chunk of streamed) pieces.push(...(chunk.choices[0].logprobs?.content ?? []));
    expect(pieces.map(({ logprob }) => logprob)).toEqual(content.map(({ logprob }) => logprob));
    expect(pieces.every(({ top_logprobs }) => top_logprobs.length === 0)).toBe(true);
  });

  test('end at stop strings, of which nothing is shown', async () => {
    const free = await client.chat.completions.create({
      model: MODEL,
      messages: hello,
      temperature: 0,
      max_tokens: 30,
    });
    const text = free.choices[0].message.content ?? '';
    const stop = text.slice(4, 7);
    const before = text.slice(0, text.indexOf(stop));
    for (const stops of [stop, ['never written', stop]]) {
      const body = { model: MODEL, messages: hello, temperature: 0, max_tokens: 30, stop: stops };
      const { choices } = await client.chat.completions.create(body);
      expect(choices[0].message.content).toBe(before);
      expect(choices[0].finish_reason).toBe('stop');
      let streamed = '';
      for await (const { choices: parts } of await client.chat.completions.create({
        ...body,
        stream: true,
      })) {
        streamed += parts[0].delta.content ?? '';
        expect(before.startsWith(streamed)).toBe(true);
      }
      expect(streamed).toBe(before);
    }
  });

  test('system messages, parts of texts, and histories that are too long', async () => {
    const ask = async (messages: OpenAI.ChatCompletionMessageParam[]) => {
      const body = { model: MODEL, messages, temperature: 0, max_tokens: 10 };
      const { choices, usage } = await client.chat.completions.create(body);
      return [choices[0].message.content, usage?.prompt_tokens];
    };
    const system: Message[] = [{ role: 'system', content: '你是朋友。' }, ...hello];
    const prompt = renderPrompt(tokenizer, system);
    const { text } = await expected(prompt, { sampling: GREEDY, maxNewTokens: 10 });
    const parts = [
      { type: 'text' as const, text: '你' },
      { type: 'text' as const, text: '好' },
    ];
    for (const role of ['system', 'developer'] as const)
      expect(
        await ask([
          { role, content: '你是朋友。' },
          { role: 'user', content: parts },
        ]),
      ).toEqual([text, prompt.length]);

    const history: Message[] = Array.from({ length: 30 }, (_, i) => ({
      role: i % 2 === 0 ? 'user' : 'assistant',
      content: `今天天气很好${i}`,
    }));
    const long: Message[] = [system[0], ...history, hello[0]];
    const kept = fitHistory(tokenizer, long, { maxLength: 128, maxNewTokens: 10 });
    expect(kept.length).toBeLessThan(long.length);
    expect((await ask(long))[1]).toBe(renderPrompt(tokenizer, kept).length);
  });
});

describe('completions', () => {
  test('go on from texts and from tokens, with echo and several prompts', async () => {
    const prompts = ['你好', '今天天气'];
    const { choices, usage } = await client.completions.create({
      model: MODEL,
      prompt: prompts,
      n: 2,
      temperature: 0,
      max_tokens: 6,
      echo: true,
    });
    for (const [i, prompt] of prompts.entries()) {
      const { text } = await expected(rawPrompt(tokenizer, prompt), { sampling: GREEDY, maxNewTokens: 6 });
      for (const choice of choices.slice(2 * i, 2 * i + 2)) expect(choice.text).toBe(prompt + text);
    }
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    const count = prompts.reduce((sum, prompt) => sum + rawPrompt(tokenizer, prompt).length, 0);
    expect(usage).toEqual({ prompt_tokens: count, completion_tokens: 24, total_tokens: count + 24 });

    const tokens = [...tokenizer.encode('你好')];
    const fromTokens = await client.completions.create({ model: MODEL, prompt: tokens, temperature: 0 });
    expect(fromTokens.choices[0].text).toBe(
      (await expected(Int32Array.from(tokens), { sampling: GREEDY, maxNewTokens: 16 })).text,
    );
  });

  test('tell probabilities and places of tokens', async () => {
    const body = { model: MODEL, prompt: '你好', seed: 4, max_tokens: 12, logprobs: 2 };
    const { choices } = await client.completions.create(body);
    const { tokens = [], token_logprobs, text_offset = [], top_logprobs = [] } = choices[0].logprobs ?? {};
    expect(tokens.length).toBe(12);
    expect(token_logprobs?.every((logprob) => logprob < 0)).toBe(true);
    for (const top of top_logprobs ?? []) expect(Object.keys(top).length).toBe(2);
    tokens.forEach((token, i) => {
      if (!token.startsWith('\\x'))
        expect(choices[0].text.slice(text_offset[i]).startsWith(token)).toBe(true);
    });
    const offsets = [];
    for await (const chunk of await client.completions.create({ ...body, stream: true }))
      offsets.push(...(chunk.choices[0].logprobs?.text_offset ?? []));
    expect(offsets[0]).toBe(0);
    expect(offsets.length).toBe(12);
  });
});

describe('embeddings', () => {
  test('are means of hidden states, as long as 1, alike in both encodings', async () => {
    const input = ['你好', '你好，世界。', '今天天气很好。'.repeat(5)];
    const vectors = (await client.embeddings.create({ model: MODEL, input })).data.map(
      (each) => each.embedding,
    );
    const raw = await server.post('/v1/embeddings', { input, encoding_format: 'float' });
    const { data, usage } = (await raw.json()) as OpenAI.CreateEmbeddingResponse;
    data.forEach(({ embedding, index }, i) => {
      expect(index).toBe(i);
      expect(embedding.length).toBe(config.hiddenSize);
      embedding.forEach((x, j) => {
        expect(x).toBe(vectors[i][j]);
      });
      expect(Math.hypot(...embedding)).toBeCloseTo(1, 5);
    });
    const counts = input.map((text) => rawPrompt(tokenizer, text).length);
    expect(usage.prompt_tokens).toBe(counts.reduce((a, b) => a + b));
    // Alone or with others, padded or not: the same.
    const alone = await client.embeddings.create({ model: MODEL, input: input[1] });
    expect(alone.data[0].embedding).toEqual(vectors[1]);
    const tokens = [...rawPrompt(tokenizer, input[1])];
    expect((await client.embeddings.create({ model: MODEL, input: tokens })).data[0].embedding).toEqual(
      vectors[1],
    );
  });

  test('texts that are empty or too long are named', async () => {
    const long = await failure(client.embeddings.create({ model: MODEL, input: ['你好', '好'.repeat(200)] }));
    expect(long).toMatchObject({ status: 400, param: 'input[1]', code: 'context_length_exceeded' });
    const empty = await failure(client.embeddings.create({ model: MODEL, input: '' }));
    expect(empty).toMatchObject({ status: 400, param: 'input' });
  });
});

describe('the rest of the routes', () => {
  test('models', async () => {
    const { data } = await client.models.list();
    expect(data).toMatchObject([{ id: MODEL, object: 'model', owned_by: 'my-llm' }]);
    expect(await client.models.retrieve(MODEL)).toEqual(data[0]);
    expect(await failure(client.models.retrieve('gpt'))).toMatchObject({
      status: 404,
      code: 'model_not_found',
    });
  });

  test('health and metrics', async () => {
    expect(await (await fetch(`${server.url}/health`)).json()).toEqual({ status: 'ok' });
    const metrics = async (): Promise<Map<string, number>> => {
      const text = await (await fetch(`${server.url}/metrics`)).text();
      expect(text).toMatch(/# TYPE myllm_generated_tokens_total counter/);
      const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
      return new Map(
        lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]),
      );
    };
    const before = await metrics();
    const { usage } = await client.completions.create({
      model: MODEL,
      prompt: '你好',
      max_tokens: 7,
      temperature: 0,
    });
    const after = await metrics();
    const grown = (name: string): number => (after.get(name) ?? 0) - (before.get(name) ?? 0);
    expect(grown(`myllm_generated_tokens_total{model="${MODEL}"}`)).toBe(7);
    expect(grown(`myllm_prompt_tokens_total{model="${MODEL}"}`)).toBe(usage?.prompt_tokens);
    expect(grown('myllm_http_requests_total{route="/v1/completions",status="200"}')).toBe(1);
    expect(grown(`myllm_time_to_first_token_seconds_count{model="${MODEL}"}`)).toBe(1);
    expect(grown(`myllm_time_per_token_seconds_count{model="${MODEL}"}`)).toBe(6);
    expect(after.get(`myllm_texts_running{model="${MODEL}"}`)).toBe(0);
    expect(after.get(`myllm_slots{model="${MODEL}"}`)).toBe(4);
  });

  test('tokenize and detokenize', async () => {
    const ask = async (path: string, body: object) => (await server.post(path, body)).json();
    const tokens = [...tokenizer.encode('你好，世界。')];
    expect(await ask('/tokenize', { prompt: '你好，世界。' })).toEqual({
      count: tokens.length,
      max_model_len: 128,
      tokens,
    });
    expect(await ask('/detokenize', { model: MODEL, tokens })).toEqual({ prompt: '你好，世界。' });
    const prompt = [...renderPrompt(tokenizer, hello)];
    expect(await ask('/tokenize', { messages: hello })).toMatchObject({ tokens: prompt });
    expect(await ask('/tokenize', { messages: hello, add_generation_prompt: false })).toMatchObject({
      tokens: prompt.slice(0, -(prompt.length - prompt.lastIndexOf(SPECIAL.imStart))),
    });
    expect((await server.post('/detokenize', { tokens: [tokenizer.vocabSize] })).status).toBe(400);
  });
});

describe('mistakes are told as OpenAI tells them', () => {
  const chat = { model: MODEL, messages: hello };

  test.each([
    ['an unknown model', { ...chat, model: 'gpt' }, 404, 'model'],
    ['no messages', { model: MODEL, messages: [] }, 400, 'messages'],
    ['messages of another type', { model: MODEL, messages: '你好' }, 400, 'messages'],
    [
      'an unknown role',
      { model: MODEL, messages: [{ role: 'tool', content: 'x' }] },
      400,
      'messages[0].role',
    ],
    [
      'an image',
      { model: MODEL, messages: [{ role: 'user', content: [{ type: 'image_url' }] }] },
      400,
      'messages[0].content',
    ],
    ['a misspelt option', { ...chat, temprature: 1 }, 400, 'temprature'],
    ['an option over two lines', { ...chat, 'top\np': 1 }, 400, 'top\np'],
    ['tools', { ...chat, tools: [] }, 400, 'tools'],
    ['temperature below', { ...chat, temperature: -1 }, 400, 'temperature'],
    ['temperature above', { ...chat, temperature: 2.1 }, 400, 'temperature'],
    ['temperature as text', { ...chat, temperature: '1' }, 400, 'temperature'],
    ['top_p 0', { ...chat, top_p: 0 }, 400, 'top_p'],
    ['top_k of a half', { ...chat, top_k: 0.5 }, 400, 'top_k'],
    ['min_p above', { ...chat, min_p: 2 }, 400, 'min_p'],
    ['max_tokens 0', { ...chat, max_tokens: 0 }, 400, 'max_tokens'],
    ['a huge seed', { ...chat, seed: 1e300 }, 400, 'seed'],
    ['n 0', { ...chat, n: 0 }, 400, 'n'],
    ['more answers than can wait', { ...chat, n: 100 }, 400, 'n'],
    ['an empty stop string', { ...chat, stop: '' }, 400, 'stop'],
    ['five stop strings', { ...chat, stop: ['1', '2', '3', '4', '5'] }, 400, 'stop'],
    ['frequency_penalty above', { ...chat, frequency_penalty: 3 }, 400, 'frequency_penalty'],
    ['repetition_penalty 0', { ...chat, repetition_penalty: 0 }, 400, 'repetition_penalty'],
    ['top_logprobs alone', { ...chat, top_logprobs: 3 }, 400, 'top_logprobs'],
    ['top_logprobs above', { ...chat, logprobs: true, top_logprobs: 21 }, 400, 'top_logprobs'],
    ['JSON mode', { ...chat, response_format: { type: 'json_object' } }, 400, 'response_format'],
    ['stream_options alone', { ...chat, stream_options: { include_usage: true } }, 400, 'stream_options'],
    [
      'a message longer than the context',
      { model: MODEL, messages: [{ role: 'user', content: '好'.repeat(300) }] },
      400,
      'messages',
    ],
  ])('%s', async (_, body, status, param) => {
    const response = await server.post('/v1/chat/completions', body);
    const { error } = (await response.json()) as { error: Record<string, unknown> };
    expect([response.status, error['param']]).toEqual([status, param]);
    expect(error).toEqual({
      message: expect.stringMatching(/^[^\n]{10,}$/),
      type: 'invalid_request_error',
      param,
      code: error['code'],
    });
  });

  test.each([
    ['a prompt longer than the context', { prompt: '好'.repeat(300) }, 'prompt'],
    ['an unknown token', { prompt: [5, 100_000] }, 'prompt'],
    ['a negative token', { prompt: [-1] }, 'prompt'],
    ['no prompt', {}, 'prompt'],
    ['no prompts', { prompt: [] }, 'prompt'],
    ['a suffix', { prompt: 'x', suffix: 'y' }, 'suffix'],
    ['best_of', { prompt: 'x', best_of: 3 }, 'best_of'],
    ['echo with probabilities', { prompt: 'x', echo: true, logprobs: 1 }, 'logprobs'],
  ])('%s', async (_, body, param) => {
    const response = await server.post('/v1/completions', body);
    expect([response.status, ((await response.json()) as { error: { param: string } }).error.param]).toEqual([
      400,
      param,
    ]);
  });

  test('to the client of OpenAI', async () => {
    const body = { ...chat, messages: hello, temperature: 9 };
    const error = await failure(client.chat.completions.create(body));
    expect(error).toBeInstanceOf(OpenAI.BadRequestError);
    expect(error).toMatchObject({
      status: 400,
      type: 'invalid_request_error',
      param: 'temperature',
      code: 'invalid_value',
    });
    expect(await failure(client.chat.completions.create({ ...body, model: 'gpt' }))).toBeInstanceOf(
      OpenAI.BadRequestError,
    );
    const unknown = client.chat.completions.create({ ...body, temperature: 1, model: 'gpt' });
    expect(await failure(unknown)).toBeInstanceOf(OpenAI.NotFoundError);
  });

  test('in Chinese', async () => {
    setLanguage('zh');
    for (const body of [{ ...chat, temperature: 9 }, { ...chat, tools: [] }, { ...chat, model: 'gpt' }, {}]) {
      const response = await server.post('/v1/chat/completions', body);
      const { error } = (await response.json()) as { error: { message: string } };
      expect(error.message).toMatch(/\p{Script=Han}/u);
    }
  });

  test('of the protocol: JSON, UTF-8, type, size, method, path', async () => {
    const status = async (body: string | Uint8Array, headers?: Record<string, string>): Promise<number> => {
      const response = await server.post('/v1/chat/completions', body, headers);
      expect(await response.json()).toMatchObject({ error: { type: 'invalid_request_error' } });
      return response.status;
    };
    expect(await status('{"model": ')).toBe(400);
    expect(await status('')).toBe(400);
    expect(await status('null')).toBe(400);
    expect(await status('[]')).toBe(400);
    expect(await status('['.repeat(500_000))).toBe(400);
    expect(await status(Uint8Array.of(0x22, 0xc4, 0xe3, 0x22))).toBe(400);
    expect(await status(JSON.stringify(chat), { 'content-type': 'text/plain' })).toBe(415);
    expect(await status(`"${'x'.repeat(2 ** 20)}"`)).toBe(413);
    const get = await fetch(`${server.url}/v1/chat/completions`);
    expect([get.status, get.headers.get('allow')]).toEqual([405, 'POST']);
    expect((await fetch(`${server.url}/v1/models`, { method: 'DELETE' })).status).toBe(405);
    const nowhere = await fetch(`${server.url}/v1/nowhere`);
    expect([nowhere.status, await nowhere.json()]).toMatchObject([404, { error: { code: 'unknown_url' } }]);
  });
});

describe('many clients', () => {
  test('are served side by side, each as if alone', async () => {
    const ask = async (i: number): Promise<string> =>
      (
        await client.chat.completions.create({
          model: MODEL,
          messages: [{ role: 'user', content: '你好'.repeat(1 + (i % 7)) }],
          seed: i,
          max_tokens: 5 + i,
        })
      ).choices[0].message.content ?? '';
    const together = await Promise.all(Array.from({ length: 16 }, (_, i) => ask(i)));
    for (const i of [0, 7, 15]) expect(together[i]).toBe(await ask(i));
  });

  test('one who leaves frees a place at once: with a stream, with a request, and from the queue', async () => {
    const small = await startServer({ slots: 1, queue: 1, contextLength: 4096 });
    const own = new OpenAI({ baseURL: `${small.url}/v1`, apiKey: 'none', maxRetries: 0 });
    const endless = { model: MODEL, prompt: '你好', max_tokens: 4000, temperature: 0 };
    const { engine } = small.model;
    const { write } = engine;
    let written = 0;
    vi.spyOn(engine, 'write').mockImplementation((request) =>
      write({
        ...request,
        onToken(token) {
          written++;
          request.onToken(token);
        },
      }),
    );
    const idle = async (): Promise<void> => {
      const before = written;
      while (engine.running + engine.waiting > 0) await new Promise((resolve) => setTimeout(resolve, 5));
      expect(written - before).toBeLessThan(1000);
    };
    const stream = await own.completions.create({ ...endless, stream: true });
    let count = 0;
    for await (const _ of stream) if (++count === 3) break;
    await idle();
    expect(written).toBeGreaterThan(2);

    const [first, second] = [new AbortController(), new AbortController()];
    const asked = [first, second].map(({ signal }) => own.completions.create(endless, { signal }));
    const failures = Promise.allSettled(asked);
    while (engine.running + engine.waiting < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    const full = await small.post('/v1/completions', endless);
    expect([full.status, full.headers.get('retry-after')]).toEqual([429, '1']);
    expect(await full.json()).toMatchObject({
      error: { type: 'rate_limit_error', code: 'rate_limit_exceeded' },
    });
    expect(await failure(own.completions.create(endless))).toBeInstanceOf(OpenAI.RateLimitError);
    second.abort();
    first.abort();
    await idle();
    expect((await failures).every(({ status }) => status === 'rejected')).toBe(true);

    const { choices } = await own.completions.create({ ...endless, max_tokens: 5 });
    expect(choices[0].text).toBe(
      (await expected(rawPrompt(tokenizer, '你好'), { sampling: GREEDY, maxNewTokens: 5 })).text,
    );
    expect(small.defects).toEqual([]);
    expect(await small.stop()).toBe(true);
  });
});

describe('stopping', () => {
  test('lets answers end, and takes no new ones', async () => {
    const own = await startServer({ contextLength: 512 });
    const body = { prompt: '你好', max_tokens: 300, temperature: 0, stream: true };
    const answering = await own.post('/v1/completions', body);
    const stopped = own.stop(60_000);
    await expect(fetch(`${own.url}/health`)).rejects.toThrow();
    expect(await answering.text()).toMatch(/\[DONE\]\n\n$/);
    expect(await stopped).toBe(true);
  });

  test('cuts off what takes too long', async () => {
    const own = await startServer({ contextLength: 8192 });
    const answering = await own.post('/v1/completions', {
      prompt: '你好',
      max_tokens: 8000,
      temperature: 0,
      stream: true,
    });
    const cut = expect(answering.text()).rejects.toThrow();
    expect(await own.stop(50)).toBe(false);
    await cut;
    expect(own.defects).toEqual([]);
  });

  test('a connection that is kept is told 503', async () => {
    const own = await startServer({ contextLength: 512 });
    const socket = connect(Number(new URL(own.url).port), '127.0.0.1');
    let received = '';
    socket.setEncoding('utf8').on('data', (text: string) => {
      received += text;
    });
    const body = JSON.stringify({ prompt: '你好', max_tokens: 300, temperature: 0 });
    const request = (path: string, text: string): string =>
      `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;
    socket.write(request('/v1/completions', body));
    while (own.model.engine.running === 0) await new Promise((resolve) => setTimeout(resolve, 2));
    const stopped = own.stop(60_000);
    socket.write(request('/tokenize', '{"prompt":"x"}'));
    await new Promise((resolve) => socket.once('close', resolve));
    expect(await stopped).toBe(true);
    expect(received).toMatch(
      /^HTTP\/1.1 200 OK[\s\S]*"completion_tokens":300[\s\S]*HTTP\/1.1 503 [\s\S]*shutting_down/,
    );
  });

  test('a port that is taken is told in one sentence', async () => {
    const port = Number(new URL(server.url).port);
    const app = { fetch: () => new Response(), drain: () => {} };
    await expect(listen(app, { host: '127.0.0.1', port })).rejects.toThrow(
      new RegExp(`port ${port} is taken.*--port`),
    );
    await expect(listen(app, { host: '203.0.113.1', port: 0 })).rejects.toThrow(
      /--host 203.0.113.1 is no address/,
    );
  });
});

describe('a server with a key, for pages, of a model that was only pretrained', () => {
  let own: TestServer;
  beforeAll(async () => {
    own = await startServer({ apiKey: 'secret', origins: ['http://page.test'], stage: 'pretrain' });
  });
  afterAll(async () => {
    await own.stop();
  });

  test('asks for the key', async () => {
    const ask = async (headers: Record<string, string>): Promise<number> =>
      (await fetch(`${own.url}/v1/models`, { headers })).status;
    expect(await ask({})).toBe(401);
    expect(await ask({ authorization: 'secret' })).toBe(401);
    expect(await ask({ authorization: 'Bearer Secret' })).toBe(401);
    expect(await ask({ authorization: 'Bearer secret' })).toBe(200);
    expect((await fetch(`${own.url}/health`)).status).toBe(200);
    const wrong = new OpenAI({ baseURL: `${own.url}/v1`, apiKey: 'wrong', maxRetries: 0 });
    const error = await failure(Promise.resolve(wrong.models.list()));
    expect(error).toBeInstanceOf(OpenAI.AuthenticationError);
    expect(error).toMatchObject({ code: 'invalid_api_key' });
  });

  test('lets pages of the origin in, and no others', async () => {
    const preflight = async (origin: string): Promise<string | null> => {
      const response = await fetch(`${own.url}/v1/chat/completions`, {
        method: 'OPTIONS',
        headers: {
          origin,
          'access-control-request-method': 'POST',
          'access-control-request-headers': 'authorization',
        },
      });
      return response.headers.get('access-control-allow-origin');
    };
    expect(await preflight('http://page.test')).toBe('http://page.test');
    expect(await preflight('http://other.test')).toBeNull();
    const refused = await fetch(`${own.url}/v1/models`, { headers: { origin: 'http://page.test' } });
    expect([refused.status, refused.headers.get('access-control-allow-origin')]).toEqual([
      401,
      'http://page.test',
    ]);
  });

  test('continues texts, and does not chat', async () => {
    const authorization = 'Bearer secret';
    const text = await own.post('/v1/completions', { prompt: '你好', max_tokens: 3 }, { authorization });
    expect(await text.json()).toMatchObject({ model: 'tiny-pretrain', usage: { completion_tokens: 3 } });
    const chat = await own.post('/v1/chat/completions', { messages: hello }, { authorization });
    expect(chat.status).toBe(400);
    expect(await chat.text()).toMatch(/only pretrained.*\/v1\/completions/);
  });
});
