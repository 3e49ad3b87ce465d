import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createDecoder, type SharedDecoder } from '../src/decoder.ts';
import { createEngine, type Engine, type WriteRequest } from '../src/engine.ts';
import { UserError } from '../src/errors.ts';
import { DEFAULT_SAMPLING } from '../src/generate.ts';
import { GREEDY, PLAIN_SAMPLING } from '../src/sampling.ts';
import { createRandom, type Runtime } from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { expectClose } from './support/close.ts';
import { scriptedDecoder, tinyCheckpoint } from './support/writer.ts';

const { tokenizer, config, params } = tinyCheckpoint('sft', 96);
const { vocabSize } = config;
let runtime: Runtime;
beforeAll(async () => {
  runtime = await createNodeRuntime({ threads: 1 });
});

const createTiny = (batchSize: number, smallerBatches?: readonly number[]): Promise<SharedDecoder> =>
  createDecoder({ runtime, config, weights: params, batchSize, smallerBatches });

/** A prompt of so many tokens, another one for each seed. */
const promptOf = (length: number, seed = 1): Int32Array => {
  const random = createRandom(seed);
  return Int32Array.from({ length }, () => 6 + random.integer(vocabSize - 6));
};

interface Written {
  readonly tokens: number[];
  readonly logits: Float32Array[];
  readonly finish: string;
}

/** What the engine writes for a request, with the scores that each token was chosen from. */
async function write(engine: Engine, request: Partial<WriteRequest> & { seed?: number }): Promise<Written> {
  const tokens: number[] = [];
  const logits: Float32Array[] = [];
  const finish = await engine.write({
    prompt: promptOf(5),
    maxNewTokens: 12,
    sampling: PLAIN_SAMPLING,
    random: createRandom(request.seed ?? 1),
    stopTokens: [],
    ...request,
    onToken(token) {
      tokens.push(token.token);
      logits.push(token.logits.slice());
      request.onToken?.(token);
    },
  });
  return { tokens, logits, finish };
}

describe('a decoder whose sequences come and go', () => {
  let alone: SharedDecoder;
  let shared: SharedDecoder;
  beforeAll(async () => {
    alone = await createTiny(1);
    shared = await createTiny(6, [1, 2, 4]);
  });
  afterAll(async () => {
    await alone.release();
    await shared.release();
  });

  test('each sequence has the scores that it would have alone', async () => {
    const random = createRandom(3);
    /** Each sequence: its tokens so far, and how long it stays. */
    const living = new Map<number, { tokens: number[]; until: number }>();
    const seen: { tokens: number[]; logits: Float32Array }[] = [];
    for (let step = 0; step < 60; step++) {
      for (const [sequence, { tokens, until }] of living) {
        if (step < until && tokens.length < config.contextLength) continue;
        living.delete(sequence);
        shared.dismiss(sequence);
      }
      const free = [0, 1, 2, 3, 4, 5].filter((sequence) => !living.has(sequence));
      if (free.length > 0 && random.uniform() < 0.4) {
        const sequence = random.pick(free);
        const prompt = promptOf(1 + random.integer(80), step);
        const logits = await shared.admit(sequence, prompt);
        seen.push({ tokens: [...prompt], logits: logits.slice() });
        living.set(sequence, { tokens: [...prompt], until: step + 1 + random.integer(15) });
      }
      if (living.size === 0) continue;
      const next = new Int32Array(6).fill(-1);
      // Now and then one rests.
      for (const [sequence, { tokens }] of living) {
        if (tokens.length === config.contextLength || random.uniform() < 0.1) continue;
        next[sequence] = 6 + random.integer(vocabSize - 6);
        tokens.push(next[sequence]);
      }
      const logits = await shared.step(next);
      for (const [sequence, { tokens }] of living)
        if (next[sequence] >= 0) seen.push({ tokens: [...tokens], logits: logits[sequence].slice() });
    }
    expect(seen.length).toBeGreaterThan(100);
    for (const { tokens, logits } of seen) {
      // The last token came by a step, unless it belongs to the prompt; both ways give the same scores but for rounding.
      const [whole] = await alone.prefill([tokens]);
      expectClose(logits, whole, { relative: 1e-4, absolute: 1e-4 });
    }
  });

  test('a sequence that has left leaves no traces', async () => {
    const long = promptOf(90, 7);
    const short = promptOf(4, 8);
    const expected = await alone.admit(0, short);
    const first = expected.slice();
    const [second] = await alone.step([9]);
    await shared.admit(0, long);
    await shared.admit(2, long);
    await shared.step([5, -1, 6]);
    shared.dismiss(0);
    shared.dismiss(2);
    expect(await shared.admit(1, short)).toEqual(first);
    expect((await shared.step([-1, 9]))[1]).toEqual(second);
  });

  test('what does not fit is refused', async () => {
    await expect(shared.admit(6, [1])).rejects.toThrow(RangeError);
    await expect(shared.admit(-1, [1])).rejects.toThrow(RangeError);
    await expect(shared.admit(0, [])).rejects.toThrow(RangeError);
    await expect(shared.admit(0, promptOf(97))).rejects.toThrow(/97 tokens/);
    const fresh = await createTiny(2);
    await expect(fresh.step([1])).rejects.toThrow(/prefill/);
    await fresh.release();
  });
});

describe('an engine', () => {
  const open = async (slots: number, queue = 100, smaller?: readonly number[]): Promise<Engine> =>
    createEngine({ decoder: await createTiny(slots, smaller), tokenizer, queue });

  test('writes the same for the same seed, alone or among others, to the last bit', async () => {
    const engine = await open(5, 100, [1, 2]);
    const mine = { prompt: promptOf(9, 40), seed: 7, maxNewTokens: 40 };
    for (const sampling of [PLAIN_SAMPLING, GREEDY, { ...DEFAULT_SAMPLING, frequencyPenalty: 0.5 }]) {
      const alone = await write(engine, { ...mine, sampling });
      expect(alone.tokens.length).toBe(40);
      // Others of all lengths come before, with and after it, more than there are slots.
      const others = Array.from({ length: 12 }, (_, i) =>
        write(engine, { prompt: promptOf(1 + 7 * i, i), seed: i, maxNewTokens: 3 + 5 * i, sampling }),
      );
      const among = write(engine, { ...mine, sampling });
      const late = Array.from({ length: 6 }, (_, i) => write(engine, { prompt: promptOf(2, i), sampling }));
      expect(await among).toEqual(alone);
      expect((await Promise.all(others)).map(({ tokens }) => tokens.length)).toEqual(
        others.map((_, i) => Math.min(3 + 5 * i, 96 - (1 + 7 * i))),
      );
      expect((await write(engine, { ...mine, sampling, seed: 8 })).tokens === alone.tokens).toBe(false);
      await Promise.all(late);
    }
    await engine.close();
  });

  test('a place that becomes free is taken at the next step', async () => {
    const engine = await open(2);
    const order: string[] = [];
    const job = (name: string, maxNewTokens: number): Promise<Written> =>
      write(engine, { maxNewTokens, onToken: () => void order.push(name) });
    const all = [job('A', 2), job('B', 6), job('C', 2), job('D', 1)];
    expect([engine.running + engine.waiting, engine.hasRoomFor(98), engine.hasRoomFor(99)]).toEqual([
      4,
      true,
      false,
    ]);
    await Promise.all(all);
    // Two at a time: C comes when A has gone, D when C has, and B has a token from every step.
    expect(order.join(' ')).toBe('A B A B C C B D B B B');
    expect([engine.running, engine.waiting]).toEqual([0, 0]);
    await engine.close();
  });

  test('one who aborts leaves at once: from the middle of a text, and from the queue', async () => {
    const engine = await open(1);
    const [first, second, third] = [new AbortController(), new AbortController(), new AbortController()];
    let count = 0;
    const a = write(engine, {
      signal: first.signal,
      maxNewTokens: 80,
      onToken: () => {
        if (++count === 3) first.abort(new Error('gone'));
      },
    });
    const b = write(engine, { signal: second.signal });
    const c = write(engine, { signal: third.signal, maxNewTokens: 4 });
    second.abort();
    await expect(b).rejects.toThrow(/abort/i);
    expect(engine.waiting + engine.running).toBe(2);
    await expect(a).rejects.toThrow('gone');
    expect(count).toBe(3);
    expect((await c).finish).toBe('length');
    await expect(write(engine, { signal: AbortSignal.abort() })).rejects.toThrow(/abort/i);
    await engine.close();
  });

  test('one who aborts does not disturb the others', async () => {
    const engine = await open(3);
    const mine = { prompt: promptOf(6, 4), seed: 3, maxNewTokens: 20 };
    const alone = await write(engine, mine);
    const leaving = Array.from({ length: 6 }, (_, i) => {
      const controller = new AbortController();
      let left = i;
      return write(engine, {
        prompt: promptOf(3 + i, i),
        signal: controller.signal,
        onToken: () => {
          if (left-- === 0) controller.abort(new Error('gone'));
        },
      });
    });
    const settled = Promise.allSettled(leaving);
    expect(await write(engine, mine)).toEqual(alone);
    expect((await settled).every(({ status }) => status === 'rejected')).toBe(true);
    await engine.close();
  });

  test('the queue is bounded, and what cannot be written is refused', async () => {
    const engine = await open(1, 1);
    const [a, b, c] = [write(engine, {}), write(engine, {}), write(engine, {})];
    await expect(c).rejects.toThrow(/1 places and the queue of 1/);
    await Promise.all([a, b]);
    await expect(write(engine, { prompt: [] })).rejects.toThrow(RangeError);
    await expect(write(engine, { prompt: promptOf(96) })).rejects.toThrow(RangeError);
    await expect(write(engine, { sampling: { ...PLAIN_SAMPLING, topP: 2 } })).rejects.toThrow(UserError);
    await expect(write(engine, { stop: [''] })).rejects.toThrow(UserError);
    expect((await write(engine, { prompt: promptOf(95) })).finish).toBe('context');
    await engine.close();
    await expect(write(engine, {})).rejects.toThrow(/closed/);
  });

  test('stop strings and stop tokens end a text', async () => {
    const tokens = [...tokenizer.encode('你好，世界。')];
    const engine = createEngine({ decoder: scriptedDecoder(tokens, { vocabSize }), tokenizer, queue: 1 });
    let text = '';
    const finish = await engine.write({
      prompt: [9],
      maxNewTokens: 50,
      sampling: GREEDY,
      random: createRandom(1),
      stop: ['世界'],
      onToken: (token) => {
        text += token.text;
      },
    });
    expect([text, finish]).toEqual(['你好，', 'stop']);
  });

  test('a failure of the decoder or of one who listens is told, and the engine goes on', async () => {
    const decoder = scriptedDecoder([70], { vocabSize });
    let broken = true;
    const engine = createEngine({
      decoder: { ...decoder, step: (t) => (broken ? Promise.reject(new Error('broken')) : decoder.step(t)) },
      tokenizer,
      queue: 2,
    });
    const both = await Promise.allSettled([write(engine, {}), write(engine, {})]);
    expect(both.map((each) => (each as PromiseRejectedResult).reason.message)).toEqual(['broken', 'broken']);
    broken = false;
    const deaf = write(engine, {
      onToken: () => {
        throw new Error('deaf');
      },
    });
    const other = write(engine, { maxNewTokens: 3 });
    await expect(deaf).rejects.toThrow('deaf');
    expect((await other).tokens).toEqual([70, 70, 70]);
  });

  test('closing rejects what is unfinished', async () => {
    const engine = await open(1);
    const unfinished = Promise.allSettled([write(engine, { maxNewTokens: 80 }), write(engine, {})]);
    await engine.close();
    expect((await unfinished).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  });
});
