/**
 * @file How sure a figure is. Another held-out set of the same kind would give another figure; a 95% interval says how
 * far off it could be. Two figures whose intervals overlap widely are not known to differ.
 */

import { createRandom } from '../tensor/random.ts';

/** A figure with its 95% interval, and the number of observations behind it. */
export interface Estimate {
  readonly value: number;
  readonly low: number;
  readonly high: number;
  readonly count: number;
}

/** The standard normal distribution has 95% of its mass within ± this. */
const Z95 = 1.959964;

/**
 * A share with Wilson's score interval (Wilson 1927): unlike `p ± z √(p(1-p)/n)` it never leaves [0, 1], and does not
 * claim certainty where all of a few observations agree.
 */
export function wilson(successes: number, count: number): Estimate {
  if (!(count > 0)) throw new RangeError('a share needs at least one observation');
  const value = successes / count;
  const z2 = Z95 ** 2;
  const center = (successes + z2 / 2) / (count + z2);
  const half = (Z95 / (count + z2)) * Math.sqrt((successes * (count - successes)) / count + z2 / 4);
  return { value, low: Math.max(0, center - half), high: Math.min(1, center + half), count };
}

/** Share of the observations that are true. */
export function shareOf(observations: readonly boolean[]): Estimate {
  return wilson(observations.filter(Boolean).length, observations.length);
}

const RESAMPLES = 1000;

/**
 * A statistic with its percentile bootstrap interval (Efron 1979): the same statistic on a thousand samples drawn from
 * the observations, with replacement. What varies together (the tokens of a document, the answers to a question) must be
 * one observation, or the interval comes out too narrow.
 *
 * @param seed of the resampling: the same seed, the same interval
 */
export function bootstrap<T>(
  observations: readonly T[],
  statistic: (sample: readonly T[]) => number,
  seed: number,
): Estimate {
  const count = observations.length;
  if (count === 0) throw new RangeError('a bootstrap needs at least one observation');
  const random = createRandom(seed);
  const values = Float64Array.from({ length: RESAMPLES }, () =>
    statistic(Array.from({ length: count }, () => observations[random.integer(count)])),
  ).sort();
  const quantile = (share: number): number => {
    const at = share * (RESAMPLES - 1);
    const below = Math.floor(at);
    const above = Math.min(below + 1, RESAMPLES - 1);
    return values[below] + (at - below) * (values[above] - values[below]);
  };
  return { value: statistic(observations), low: quantile(0.025), high: quantile(0.975), count };
}

/** Mean of numbers, with the bootstrap's interval. */
export function meanOf(numbers: readonly number[], seed: number): Estimate {
  return bootstrap(numbers, (sample) => sample.reduce((sum, x) => sum + x, 0) / sample.length, seed);
}

/** One sum over another, such as bits over bytes: `[numerator, denominator]` of each observation. */
export function ratioOf(pairs: readonly (readonly [number, number])[], seed: number): Estimate {
  const ratio = (sample: typeof pairs): number => {
    let above = 0;
    let below = 0;
    for (const [numerator, denominator] of sample) {
      above += numerator;
      below += denominator;
    }
    return above / below;
  };
  return bootstrap(pairs, ratio, seed);
}

/**
 * A statistic with the interval of the jackknife (Tukey 1958): ±1.96 standard errors, from leaving out one observation
 * at a time. For what repeated observations distort, such as the share of distinct words: samples with replacement have
 * too few of them.
 *
 * @param options.least the interval does not reach below
 * @param options.most nor above
 */
export function jackknife<T>(
  observations: readonly T[],
  statistic: (sample: readonly T[]) => number,
  {
    least = Number.NEGATIVE_INFINITY,
    most = Number.POSITIVE_INFINITY,
  }: { readonly least?: number; readonly most?: number } = {},
): Estimate {
  const count = observations.length;
  if (count === 0) throw new RangeError('a jackknife needs at least one observation');
  const value = statistic(observations);
  if (count === 1) return { value, low: value, high: value, count };
  const without = observations.map((_, i) => statistic(observations.filter((_each, j) => j !== i)));
  const mean = without.reduce((sum, x) => sum + x, 0) / count;
  const variance = ((count - 1) / count) * without.reduce((sum, x) => sum + (x - mean) ** 2, 0);
  const half = Z95 * Math.sqrt(variance);
  return { value, low: Math.max(least, value - half), high: Math.min(most, value + half), count };
}
