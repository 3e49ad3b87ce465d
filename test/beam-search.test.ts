import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { beamSearch, type Hypothesis, scoreOf } from '../src/beam-search.ts';
import { createDecoder, type Decoder } from '../src/decoder.ts';
import { UserError } from '../src/errors.ts';
import { softmaxOf } from '../src/sampling.ts';
import { createRandom, type Runtime } from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { expectClose } from './support/close.ts';
import { CONFIG, freshWeights } from './support/tiny.ts';

/** Scores of the next token after the tokens of a text. */
type Scores = (tokens: readonly number[]) => readonly number[];

/** A decoder of hand-made scores, which remembers what each sequence holds. */
function tableDecoder(scores: Scores, width: number, maxLength = 20): Decoder & { readonly steps: number } {
  let texts: number[][] = [];
  let steps = 0;
  const logits = (): Float32Array[] => texts.map((tokens) => Float32Array.from(scores(tokens)));
  return {
    batchSize: width,
    maxLength,
    get steps() {
      return steps;
    },
    async prefill() {
      texts = Array.from({ length: width }, () => []);
      return logits().slice(0, 1);
    },
    async step(tokens) {
      steps++;
      texts = texts.map((text, b) => (b < tokens.length ? [...text, tokens[b]] : text));
      return logits();
    },
    reorder(sources) {
      texts = texts.map((text, b) => (b < sources.length ? texts[sources[b]] : text));
    },
    prepare: async () => {},
    release: async () => {},
  };
}

const END = 0;
const ends = (tokens: readonly number[]): boolean => tokens.at(-1) === END;

/** Every text of up to `limit` tokens, the best first. */
function exhaustive(scores: Scores, limit: number, lengthPenalty: number): Hypothesis[] {
  const all: Hypothesis[] = [];
  const visit = (tokens: number[], logProbability: number): void => {
    const ended = ends(tokens);
    if (ended || tokens.length === limit) {
      all.push({ tokens, logProbability, ended });
      return;
    }
    softmaxOf(Float32Array.from(scores(tokens))).forEach((p, token) => {
      visit([...tokens, token], logProbability + Math.log(p));
    });
  };
  visit([], 0);
  return all.sort((a, b) => scoreOf(b, lengthPenalty) - scoreOf(a, lengthPenalty));
}

/** Scores at random, always the same for the same text. */
const randomScores =
  (seed: number, V: number): Scores =>
  (tokens) => {
    const random = createRandom(tokens.reduce((hash, token) => hash * 31 + token + 1, seed));
    return Array.from({ length: V }, () => 2 * random.normal());
  };

describe('beam search', () => {
  test('by hand: the best first token is a dead end that two beams avoid', async () => {
    // After 1 everything is equally likely; after 2 the text ends for certain.
    const log = Math.log;
    const scores: Scores = (tokens) =>
      tokens.length === 0
        ? [-99, log(0.6), log(0.4)]
        : tokens[0] === 1
          ? [log(1 / 3), log(1 / 3), log(1 / 3)]
          : [0, -99, -99];
    const search = (width: number) =>
      beamSearch({ decoder: tableDecoder(scores, width), prompt: [1], maxNewTokens: 2, ends });
    const [greedy] = await search(1);
    expect(greedy.tokens).toEqual([1, 0]);
    expectClose([greedy.logProbability], [log(0.6 / 3)]);
    const [best, second] = await search(2);
    expect(best).toMatchObject({ tokens: [2, 0], ended: true });
    expectClose([best.logProbability], [log(0.4)]);
    expect(second.tokens).toEqual([1, 0]);
  });

  test.each([0, 0.6, 1])('a beam wide enough finds what exhaustive search finds (α = %d)', async (α) => {
    for (let seed = 1; seed <= 8; seed++) {
      const scores = randomScores(seed, 3);
      const limit = 4;
      const found = await beamSearch({
        decoder: tableDecoder(scores, 27),
        prompt: [1],
        maxNewTokens: limit,
        ends,
        lengthPenalty: α,
      });
      const expected = exhaustive(scores, limit, α);
      expect(found.map(({ tokens }) => tokens)).toEqual(expected.slice(0, 27).map(({ tokens }) => tokens));
      expectClose(
        found.map(({ logProbability }) => logProbability),
        expected.slice(0, 27).map(({ logProbability }) => logProbability),
      );
    }
  });

  test('a wider beam finds no worse, one of width 1 is greedy', async () => {
    for (let seed = 1; seed <= 8; seed++) {
      const scores = randomScores(seed, 6);
      const search = (width: number) =>
        beamSearch({
          decoder: tableDecoder(scores, width),
          prompt: [1],
          maxNewTokens: 5,
          ends,
          lengthPenalty: 0,
        });
      const [greedy] = await search(1);
      const [best] = exhaustive(scores, 5, 0);
      const [wide] = await search(36);
      expect(wide.logProbability).toBeGreaterThanOrEqual(greedy.logProbability - 1e-9);
      expect(wide.logProbability).toBeLessThanOrEqual(best.logProbability + 1e-9);
    }
  });

  test('stops as soon as no open text can win', async () => {
    // Ends at once with probability 0.9, else goes on for long.
    const decoder = tableDecoder(() => [Math.log(0.9), Math.log(0.05), Math.log(0.05)], 1, 100);
    const [best] = await beamSearch({ decoder, prompt: [1], maxNewTokens: 90, ends, lengthPenalty: 0 });
    expect(best.tokens).toEqual([0]);
    expect(decoder.steps).toBe(0);
  });

  test('texts without an end are cut off at the limit, and a full context is refused', async () => {
    const decoder = tableDecoder(() => [-99, 1, 0], 2, 10);
    const cut = await beamSearch({ decoder, prompt: [1, 1, 1], maxNewTokens: 50, ends });
    expect(cut.map(({ tokens, ended }) => [tokens.length, ended])).toEqual([
      [7, false],
      [7, false],
    ]);
    await expect(beamSearch({ decoder, prompt: new Int32Array(10), maxNewTokens: 5, ends })).rejects.toThrow(
      UserError,
    );
  });
});

describe('on a model', () => {
  let runtime: Runtime;
  const weights = freshWeights(CONFIG, 3);
  const open: Decoder[] = [];
  const decoderOf = async (batchSize: number): Promise<Decoder> => {
    const decoder = await createDecoder({ runtime, config: CONFIG, weights, batchSize });
    open.push(decoder);
    return decoder;
  };
  beforeAll(async () => {
    runtime = await createNodeRuntime({ threads: 1 });
  });
  afterAll(async () => {
    for (const decoder of open) await decoder.release();
  });

  test('reordered sequences go on as what they were copied from', async () => {
    const decoder = await decoderOf(3);
    const single = await decoderOf(1);
    await decoder.prefill([[10, 11], [20, 21, 22, 23], [30]]);
    await decoder.step([12, 24, 31]);
    decoder.reorder([1, 1, 0]);
    const after = (await decoder.step([40, 41, 42])).map((row) => row.slice());
    const texts = [
      [20, 21, 22, 23, 24, 40],
      [20, 21, 22, 23, 24, 41],
      [10, 11, 12, 42],
    ];
    for (const [b, text] of texts.entries()) {
      const [expected] = await single.prefill([text]);
      expectClose(after[b], expected, { relative: 1e-3, absolute: 1e-4 });
    }
    // Those without a source stay.
    decoder.reorder([2]);
    const [first, second] = await decoder.step([50, 51, -1]);
    expectClose(first, (await single.prefill([[...texts[2], 50]]))[0], { relative: 1e-3, absolute: 1e-4 });
    expectClose(second, (await single.prefill([[...texts[1], 51]]))[0], { relative: 1e-3, absolute: 1e-4 });
    await expect(async () => (await decoderOf(1)).reorder([0])).rejects.toThrow(RangeError);
  });

  test('the log-probability of what is found is that of the full forward pass', async () => {
    const prompt = [7, 8, 9];
    const isEnd = (tokens: readonly number[]): boolean => tokens.at(-1)! < 6;
    const found = await beamSearch({ decoder: await decoderOf(4), prompt, maxNewTokens: 5, ends: isEnd });
    expect(found).toHaveLength(4);
    expect(new Set(found.map(({ tokens }) => tokens.join())).size).toBe(4);
    const single = await decoderOf(1);
    for (const { tokens, logProbability } of found) {
      let total = 0;
      for (let at = 0; at < tokens.length; at++) {
        const [logits] = await single.prefill([[...prompt, ...tokens.slice(0, at)]]);
        total += Math.log(softmaxOf(logits)[tokens[at]]);
      }
      expectClose([logProbability], [total], { relative: 1e-4 });
    }
  });
});
