import { describe, expect, test } from 'vitest';
import { UserError } from '../src/errors.ts';
import {
  checkSampling,
  createHistory,
  GREEDY,
  greedy,
  keepMinP,
  keepTopK,
  keepTopP,
  likeliest,
  multinomial,
  NO_HISTORY,
  PLAIN_SAMPLING,
  penalizeFrequency,
  penalizePresence,
  penalizeRepetition,
  type SamplingOptions,
  sampleToken,
  scaleByTemperature,
  shapeLogits,
  softmaxOf,
} from '../src/sampling.ts';
import { createRandom } from '../src/tensor/index.ts';
import { expectClose } from './support/close.ts';
import { fc } from './support/property.ts';

const NONE = Number.NEGATIVE_INFINITY;
const scores = (...values: number[]): Float32Array => Float32Array.from(values);

/** Logits whose probabilities are these. */
const withProbabilities = (...probabilities: number[]): Float32Array =>
  Float32Array.from(probabilities, Math.log);

describe('by hand', () => {
  test('greedy takes the largest, the first of equals', () => {
    expect(greedy(scores(1, 3, 2))).toBe(1);
    expect(greedy(scores(5, -1, 5))).toBe(0);
    expect(greedy(scores(-4, -2, -9))).toBe(1);
  });

  test('softmax, also of scores that would overflow', () => {
    expectClose(softmaxOf(scores(0, Math.log(3))), [0.25, 0.75]);
    expectClose(softmaxOf(scores(1000, 1000, NONE)), [0.5, 0.5, 0]);
  });

  test('temperature divides the distances from the best', () => {
    expect(scaleByTemperature(scores(1, -2, 3), 0.5)).toEqual(scores(-4, -10, 0));
    expect(scaleByTemperature(scores(1, -2, 3), 2)).toEqual(scores(-1, -2.5, 0));
    expect(scaleByTemperature(scores(1, -2, 3), Number.MIN_VALUE)).toEqual(scores(NONE, NONE, 0));
    expectClose(softmaxOf(scaleByTemperature(scores(1, -2, 3), 0.5)), softmaxOf(scores(2, -4, 6)));
  });

  test('the likeliest come in order, the first of equals first', () => {
    expect([...likeliest(scores(1, 4, 2, 4, 3), 4)]).toEqual([1, 3, 4, 2]);
    expect([...likeliest(scores(-1, -2), 5)]).toEqual([0, 1]);
    expect([...likeliest(scores(1, 2), 0)]).toEqual([]);
  });

  test('top-k keeps the k best and what ties with the last of them', () => {
    expect(keepTopK(scores(1, 4, 3, 2), 2)).toEqual(scores(NONE, 4, 3, NONE));
    expect(keepTopK(scores(1, 3, 3, 2), 1)).toEqual(scores(NONE, 3, 3, NONE));
    expect(keepTopK(scores(1, 4), 0)).toEqual(scores(1, 4));
    expect(keepTopK(scores(1, 4), 9)).toEqual(scores(1, 4));
  });

  test('top-p keeps the smallest set that reaches p', () => {
    const logits = withProbabilities(0.1, 0.5, 0.15, 0.25);
    const kept = (p: number): number[] =>
      [...keepTopP(logits, p).keys()].filter((token) => keepTopP(logits, p)[token] !== NONE);
    expect(kept(0.4)).toEqual([1]);
    expect(kept(0.7)).toEqual([1, 3]);
    expect(kept(0.8)).toEqual([1, 2, 3]);
    expect(kept(1)).toEqual([0, 1, 2, 3]);
    // Of two that are alike at the edge, both stay.
    expect(keepTopP(scores(1, 1, 0), 0.1)).toEqual(scores(1, 1, NONE));
  });

  test('min-p keeps what is at least so many times as probable as the best', () => {
    // A quarter of 0.5 is 0.125.
    const logits = withProbabilities(0.5, 0.1, 0.25, 0.15);
    expect([...keepMinP(logits, 0.25)]).toEqual([logits[0], NONE, logits[2], logits[3]]);
    expect([...keepMinP(logits, 0.4)]).toEqual([logits[0], NONE, logits[2], NONE]);
    expect([...keepMinP(logits, 1)]).toEqual([logits[0], NONE, NONE, NONE]);
    expect(keepMinP(logits, 0)).toBe(logits);
  });

  test('the frequency penalty is taken off for each time, the presence penalty once', () => {
    const logits = scores(2, -1, 3, 0);
    const history = createHistory();
    for (const token of [0, 1, 0, 0]) history.add(token);
    expect(penalizeFrequency(logits, history.counts, 0.5)).toEqual(scores(0.5, -1.5, 3, 0));
    expect(penalizePresence(logits, history.counts, 0.5)).toEqual(scores(1.5, -1.5, 3, 0));
    // Below 0 they invite repetition.
    expect(penalizeFrequency(logits, history.counts, -1)).toEqual(scores(5, 0, 3, 0));
    expect(penalizePresence(logits, history.counts, -1)).toEqual(scores(3, 0, 3, 0));
    expect(logits).toEqual(scores(2, -1, 3, 0));
    expect(penalizeFrequency(logits, history.counts, 0)).toBe(logits);
    expect(penalizePresence(logits, history.counts, 0)).toBe(logits);
  });

  test('a history counts every token, and lists those that the repetition penalty counts', () => {
    const history = createHistory((token) => token !== 7);
    for (const token of [5, 7, 5, 7, 7, 6]) history.add(token);
    expect([...history.counts]).toEqual([
      [5, 2],
      [7, 3],
      [6, 1],
    ]);
    expect([...history.words]).toEqual([5, 6]);
  });

  test('the repetition penalty divides positive scores and multiplies negative ones, once a token', () => {
    const logits = scores(2, -2, 3, 0);
    expect(penalizeRepetition(logits, [0, 1, 0], 2)).toEqual(scores(1, -4, 3, 0));
    expect(logits).toEqual(scores(2, -2, 3, 0));
    expect(penalizeRepetition(logits, [0, 1], 1)).toBe(logits);
  });

  test('multinomial finds where the running total passes u', () => {
    const probabilities = Float64Array.of(0.25, 0, 0.5, 0.25);
    expect([0, 0.2499, 0.25, 0.7499, 0.75, 0.9999].map((u) => multinomial(probabilities, u))).toEqual([
      0, 0, 2, 2, 3, 3,
    ]);
    // Rounding may leave the total below 1: the last token that can come is taken.
    expect(multinomial(Float64Array.of(0.5, 0.4999, 0), 0.99999)).toBe(1);
  });

  test('sampleToken applies penalties, temperature, top-k, top-p and min-p in this order', () => {
    const logits = scores(4, 3, 2, 0);
    const draw = (options: Partial<SamplingOptions>, history = NO_HISTORY): number[] =>
      [0, 0.9999].map((u) => sampleToken(logits, { ...PLAIN_SAMPLING, ...options }, history, () => u));
    const written = { counts: new Map([[0, 3]]), words: new Set([0]) };
    // Token 0 falls to 1 and out of the two best.
    expect(draw({ topK: 2, repetitionPenalty: 4 }, written)).toEqual([1, 2]);
    expect(draw({ topK: 2, frequencyPenalty: 1 }, written)).toEqual([1, 2]);
    expect(draw({ topK: 2, presencePenalty: 1.5 }, written)).toEqual([0, 1]);
    expect(draw({ temperature: 0, repetitionPenalty: 4 }, written)).toEqual([1, 1]);
    expect(draw({ temperature: 0, presencePenalty: 1.5 }, written)).toEqual([1, 1]);
    // exp(-1) = 0.37 of the best at temperature 1, exp(-2) = 0.14 at 0.5.
    expect(draw({ minP: 0.2 })).toEqual([0, 1]);
    expect(draw({ minP: 0.2, temperature: 0.5 })).toEqual([0, 0]);
  });
});

describe('properties', () => {
  const logitsOf = fc
    .array(fc.float({ min: -20, max: 20, noNaN: true }), { minLength: 1, maxLength: 30 })
    .map((values) => Float32Array.from(values));
  const uniform = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

  test('temperature 0 is greedy, and as it falls to 0 sampling becomes so', () => {
    fc.assert(
      fc.property(logitsOf, uniform, (logits, u) => {
        expect(sampleToken(logits, GREEDY, NO_HISTORY, () => u)).toBe(greedy(logits));
        const sample = (temperature: number): number =>
          logits[sampleToken(logits, { ...PLAIN_SAMPLING, temperature }, NO_HISTORY, () => u)];
        // Of scores that are all but equal any may come.
        const best = Math.max(...logits);
        expect(sample(1e-6)).toBeGreaterThan(best - 1e-3);
        expect(sample(Number.MIN_VALUE)).toBe(best);
      }),
    );
  });

  test('the probability of the best grows to 1 as the temperature falls', () => {
    const logits = scores(1, 1.5, 0.5);
    const best = [2, 1, 0.5, 0.1, 0.01].map((t) => softmaxOf(scaleByTemperature(logits, t))[1]);
    expect(best).toEqual(best.toSorted());
    expectClose(best.slice(-1), [1], { absolute: 1e-12, relative: 0 });
  });

  test('top-p always keeps the best, no token better than a dropped one is lost, and p is reached', () => {
    const share = fc.double({ min: 1e-6, max: 1, noNaN: true });
    fc.assert(
      fc.property(logitsOf, share, (logits, p) => {
        const kept = keepTopP(logits, p);
        const probabilities = softmaxOf(logits);
        const inside = probabilities.filter((_, token) => kept[token] !== NONE);
        const outside = probabilities.filter((_, token) => kept[token] === NONE);
        expect(Math.max(...inside)).toBe(Math.max(...probabilities));
        if (outside.length > 0) {
          expect(Math.min(...inside)).toBeGreaterThanOrEqual(Math.max(...outside));
          expect(inside.reduce((a, b) => a + b)).toBeGreaterThanOrEqual(p - 1e-9);
        }
        // Without the last of them, and what ties with it, p is not reached.
        const less = inside.filter((probability) => probability > Math.min(...inside));
        expect(less.reduce((a, b) => a + b, 0)).toBeLessThan(p + 1e-9);
      }),
    );
  });

  test('top-p is the same whether few tokens or many reach p', () => {
    const random = createRandom(3);
    for (const spread of [0.01, 1, 5]) {
      const logits = Float32Array.from({ length: 500 }, () => spread * random.normal());
      const probabilities = softmaxOf(logits);
      const order = [...logits.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
      let count = 0;
      for (let total = 0; total < 0.8; count++) total += probabilities[order[count]];
      const kept = [...keepTopP(logits, 0.8).keys()].filter((i) => keepTopP(logits, 0.8)[i] !== NONE);
      expect(new Set(kept)).toEqual(new Set(order.slice(0, count)));
    }
  });

  test('min-p keeps the tokens whose probability is at least minP of the best', () => {
    fc.assert(
      fc.property(logitsOf, fc.double({ min: 1e-6, max: 1, noNaN: true }), (logits, minP) => {
        const kept = keepMinP(logits, minP);
        const probabilities = softmaxOf(logits);
        const best = Math.max(...probabilities);
        probabilities.forEach((probability, token) => {
          // What lies on the edge may fall on either side.
          if (Math.abs(probability / best / minP - 1) > 1e-6)
            expect(kept[token] !== NONE).toBe(probability >= minP * best);
        });
      }),
    );
  });

  test('top-k keeps the k best scores', () => {
    fc.assert(
      fc.property(logitsOf, fc.integer({ min: 1, max: 40 }), (logits, k) => {
        const kept = keepTopK(logits, k).filter((logit) => logit !== NONE);
        expect(kept.length).toBeGreaterThanOrEqual(Math.min(k, logits.length));
        expect(new Set(kept)).toEqual(new Set(logits.toSorted().reverse().slice(0, k)));
      }),
    );
  });

  test('the same seed draws the same tokens', () => {
    const options = { ...PLAIN_SAMPLING, temperature: 0.8, topK: 10, topP: 0.9, repetitionPenalty: 1.2 };
    const history = { counts: new Map([[0, 1]]), words: new Set([0]) };
    fc.assert(
      fc.property(logitsOf, fc.integer({ min: 0 }), (logits, seed) => {
        const draw = (): number[] => {
          const { uniform: next } = createRandom(seed);
          return Array.from({ length: 5 }, () => sampleToken(logits, options, history, next));
        };
        expect(draw()).toEqual(draw());
      }),
    );
  });

  test('tokens come as often as their probabilities say', () => {
    const logits = withProbabilities(0.6, 0.3, 0.1);
    const random = createRandom(1);
    const counts = [0, 0, 0];
    for (let i = 0; i < 20_000; i++)
      counts[sampleToken(logits, PLAIN_SAMPLING, NO_HISTORY, random.uniform)]++;
    expectClose(
      counts.map((count) => count / 20_000),
      [0.6, 0.3, 0.1],
      { absolute: 0.015, relative: 0 },
    );
  });
});

test('a token drawn from the candidates of top-k is the one drawn from all shaped scores', () => {
  const options = fc.record({
    temperature: fc.double({ min: 0.1, max: 2, noNaN: true }),
    topK: fc.nat(40),
    topP: fc.double({ min: 0.05, max: 1, noNaN: true }),
    minP: fc.double({ min: 0, max: 0.5, noNaN: true }),
    repetitionPenalty: fc.constantFrom(1, 1.3),
    frequencyPenalty: fc.constantFrom(0, 0.5),
    presencePenalty: fc.constantFrom(0, -0.5),
  });
  // Whole numbers, so that there are ties.
  const logits = fc.array(fc.integer({ min: -6, max: 6 }), { minLength: 1, maxLength: 60 });
  const uniform = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  fc.assert(
    fc.property(logits, options, uniform, (values, sampling, u) => {
      const history = createHistory();
      history.add(0);
      const shaped = shapeLogits(scores(...values), sampling, history);
      expect(sampleToken(scores(...values), sampling, history, () => u)).toBe(
        multinomial(softmaxOf(shaped), u),
      );
    }),
    { numRuns: 500 },
  );
});

describe('options out of range are refused by name', () => {
  const invalid: [keyof SamplingOptions, string, number[]][] = [
    ['temperature', '--temperature', [-0.1, Number.NaN, Number.POSITIVE_INFINITY]],
    ['topK', '--top-k', [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]],
    ['topP', '--top-p', [0, -1, 1.01, Number.NaN]],
    ['minP', '--min-p', [-0.1, 1.01, Number.NaN, Number.POSITIVE_INFINITY]],
    ['frequencyPenalty', '--frequency-penalty', [-2.1, 2.1, Number.NaN, Number.NEGATIVE_INFINITY]],
    ['presencePenalty', '--presence-penalty', [-2.1, 2.1, Number.NaN, Number.POSITIVE_INFINITY]],
    ['repetitionPenalty', '--repetition-penalty', [0, -2, Number.NaN, Number.POSITIVE_INFINITY]],
  ];
  test.each(invalid)('%s', (name, option, values) => {
    for (const value of values) {
      const check = (): void => checkSampling({ ...PLAIN_SAMPLING, [name]: value });
      expect(check, String(value)).toThrow(UserError);
      expect(check).toThrow(option);
      expect(check).toThrow(String(value));
    }
  });

  test('what is in range passes', () => {
    for (const options of [
      PLAIN_SAMPLING,
      GREEDY,
      { ...PLAIN_SAMPLING, temperature: 2, topK: 1, topP: 1e-9, minP: 1, repetitionPenalty: 0.5 },
      { ...PLAIN_SAMPLING, frequencyPenalty: -2, presencePenalty: 2 },
    ]) {
      expect(() => checkSampling(options)).not.toThrow();
    }
  });
});
