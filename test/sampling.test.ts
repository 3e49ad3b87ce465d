import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { UserError } from '../src/errors.ts';
import {
  checkSampling,
  GREEDY,
  greedy,
  keepTopK,
  keepTopP,
  multinomial,
  PLAIN_SAMPLING,
  penalizeRepetition,
  type SamplingOptions,
  sampleToken,
  scaleByTemperature,
  softmaxOf,
} from '../src/sampling.ts';
import { createRandom } from '../src/tensor/index.ts';
import { expectClose } from './support/close.ts';

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

  test('temperature divides', () => {
    expect(scaleByTemperature(scores(1, -2, 3), 0.5)).toEqual(scores(2, -4, 6));
    expect(scaleByTemperature(scores(1, -2, 3), 2)).toEqual(scores(0.5, -1, 1.5));
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

  test('sampleToken applies penalty, temperature, top-k and top-p in this order', () => {
    const logits = scores(4, 3, 2, 0);
    const options: SamplingOptions = { temperature: 1, topK: 2, topP: 1, repetitionPenalty: 4 };
    // Token 0 falls to 1 and out of the two best.
    expect(sampleToken(logits, options, [0], () => 0)).toBe(1);
    expect(sampleToken(logits, options, [0], () => 0.9999)).toBe(2);
    expect(sampleToken(logits, { ...GREEDY, repetitionPenalty: 4 }, [0], () => 0)).toBe(1);
  });
});

describe('properties', () => {
  const logitsOf = fc
    .array(fc.float({ min: -20, max: 20, noNaN: true }), { minLength: 1, maxLength: 30 })
    .map((values) => Float32Array.from(values));
  const uniform = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

  test('a temperature close to 0 is greedy', () => {
    fc.assert(
      fc.property(logitsOf, uniform, (logits, u) => {
        const best = Math.max(...logits);
        const token = sampleToken(logits, { ...PLAIN_SAMPLING, temperature: 1e-6 }, [], () => u);
        // Of scores that are all but equal any may come.
        expect(logits[token]).toBeGreaterThan(best - 1e-3);
        expect(sampleToken(logits, GREEDY, [], () => u)).toBe(greedy(logits));
      }),
    );
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
    const options = { temperature: 0.8, topK: 10, topP: 0.9, repetitionPenalty: 1.2 };
    fc.assert(
      fc.property(logitsOf, fc.integer({ min: 0 }), (logits, seed) => {
        const draw = (): number[] => {
          const { uniform: next } = createRandom(seed);
          return Array.from({ length: 5 }, () => sampleToken(logits, options, [0], next));
        };
        expect(draw()).toEqual(draw());
      }),
    );
  });

  test('tokens come as often as their probabilities say', () => {
    const logits = withProbabilities(0.6, 0.3, 0.1);
    const random = createRandom(1);
    const counts = [0, 0, 0];
    for (let i = 0; i < 20_000; i++) counts[sampleToken(logits, PLAIN_SAMPLING, [], random.uniform)]++;
    expectClose(
      counts.map((count) => count / 20_000),
      [0.6, 0.3, 0.1],
      { absolute: 0.015, relative: 0 },
    );
  });
});

describe('options out of range are refused by name', () => {
  const invalid: [keyof SamplingOptions, string, number[]][] = [
    ['temperature', '--temperature', [-0.1, Number.NaN, Number.POSITIVE_INFINITY]],
    ['topK', '--top-k', [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]],
    ['topP', '--top-p', [0, -1, 1.01, Number.NaN]],
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
      { temperature: 2, topK: 1, topP: 1e-9, repetitionPenalty: 0.5 },
    ]) {
      expect(() => checkSampling(options)).not.toThrow();
    }
  });
});
