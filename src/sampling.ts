/** @file From scores to the next token: each sampler is a pure function on logits, applied in a fixed order. */

import { UserError } from './errors.ts';

/** How the next token is chosen. */
export interface SamplingOptions {
  /** Divides the logits: below 1 sharper, above 1 flatter; 0 is greedy. */
  readonly temperature: number;
  /** Keep the `topK` best tokens; 0 keeps all (Fan et al. 2018). */
  readonly topK: number;
  /** Keep the smallest set of best tokens whose probabilities reach `topP`; 1 keeps all (Holtzman et al. 2020). */
  readonly topP: number;
  /** Makes tokens that already occurred less likely; 1 changes nothing (Keskar et al. 2019). */
  readonly repetitionPenalty: number;
}

/** Sampling from the model as it is: what reinforcement learning needs. */
export const PLAIN_SAMPLING: SamplingOptions = { temperature: 1, topK: 0, topP: 1, repetitionPenalty: 1 };

export const GREEDY: SamplingOptions = { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1 };

/** Throws a UserError that names the first option out of range. */
export function checkSampling({ temperature, topK, topP, repetitionPenalty }: SamplingOptions): void {
  const check = (valid: boolean, option: string, value: number, zh: string, en: string): void => {
    if (!valid)
      throw new UserError({
        zh: `--${option} 为 ${value}，应当${zh}。`,
        en: `--${option} is ${value}; it must be ${en}.`,
      });
  };
  check(
    temperature >= 0 && Number.isFinite(temperature),
    'temperature',
    temperature,
    '不小于 0',
    'at least 0',
  );
  check(
    Number.isInteger(topK) && topK >= 0,
    'top-k',
    topK,
    '是不小于 0 的整数',
    'a whole number of at least 0',
  );
  check(topP > 0 && topP <= 1, 'top-p', topP, '大于 0 且不超过 1', 'above 0 and at most 1');
  check(
    repetitionPenalty > 0 && Number.isFinite(repetitionPenalty),
    'repetition-penalty',
    repetitionPenalty,
    '大于 0',
    'above 0',
  );
}

/** Index of the largest score; the first of equals. */
export function greedy(logits: Float32Array): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i;
  return best;
}

/** Positive scores of tokens seen before are divided by the penalty, negative ones multiplied (CTRL). */
export function penalizeRepetition(
  logits: Float32Array,
  seen: Iterable<number>,
  penalty: number,
): Float32Array {
  if (penalty === 1) return logits;
  const result = logits.slice();
  for (const token of new Set(seen))
    result[token] = logits[token] > 0 ? logits[token] / penalty : logits[token] * penalty;
  return result;
}

/** Scores divided by the temperature. */
export function scaleByTemperature(logits: Float32Array, temperature: number): Float32Array {
  return temperature === 1 ? logits : logits.map((logit) => logit / temperature);
}

/** All but the `k` best scores become -∞; ties at the edge are kept. */
export function keepTopK(logits: Float32Array, k: number): Float32Array {
  if (k === 0 || k >= logits.length) return logits;
  const threshold = logits.slice().sort()[logits.length - k];
  return logits.map((logit) => (logit < threshold ? Number.NEGATIVE_INFINITY : logit));
}

/** All but the smallest set of best scores whose probabilities reach `p` become -∞; the best is always kept. */
export function keepTopP(logits: Float32Array, p: number): Float32Array {
  if (p >= 1) return logits;
  const probabilities = softmaxOf(logits);
  const order = Array.from(logits.keys()).sort((a, b) => probabilities[b] - probabilities[a] || a - b);
  const result = new Float32Array(logits.length).fill(Number.NEGATIVE_INFINITY);
  let total = 0;
  for (const token of order) {
    result[token] = logits[token];
    total += probabilities[token];
    if (total >= p) break;
  }
  return result;
}

/** Probabilities of scores. */
export function softmaxOf(logits: Float32Array): Float64Array {
  let max = Number.NEGATIVE_INFINITY;
  for (const logit of logits) max = Math.max(max, logit);
  const probabilities = new Float64Array(logits.length);
  let total = 0;
  for (let i = 0; i < logits.length; i++) total += probabilities[i] = Math.exp(logits[i] - max);
  for (let i = 0; i < logits.length; i++) probabilities[i] /= total;
  return probabilities;
}

/** The token at which the running total of probabilities passes `u`, a uniform number in [0, 1). */
export function multinomial(probabilities: Float64Array, u: number): number {
  let total = 0;
  let last = 0;
  for (let i = 0; i < probabilities.length; i++) {
    if (probabilities[i] === 0) continue;
    last = i;
    total += probabilities[i];
    if (u < total) return i;
  }
  return last;
}

/**
 * Choose the next token: repetition penalty, then temperature, top-k, top-p, then a draw.
 *
 * @param seen tokens so far, for the repetition penalty
 * @param uniform draws a number in [0, 1)
 */
export function sampleToken(
  logits: Float32Array,
  options: SamplingOptions,
  seen: Iterable<number>,
  uniform: () => number,
): number {
  const penalized = penalizeRepetition(logits, seen, options.repetitionPenalty);
  if (options.temperature === 0) return greedy(penalized);
  const scaled = scaleByTemperature(penalized, options.temperature);
  return multinomial(softmaxOf(keepTopP(keepTopK(scaled, options.topK), options.topP)), uniform());
}
