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
  /** Keep the tokens at least `minP` times as probable as the best; 0 keeps all (Nguyen et al. 2024). */
  readonly minP: number;
  /** Makes tokens that already occurred less likely; 1 changes nothing (Keskar et al. 2019). */
  readonly repetitionPenalty: number;
  /** Taken from the score of a token for each time it was written, from -2 to 2; 0 changes nothing (OpenAI's API). */
  readonly frequencyPenalty: number;
  /** Taken once from the score of a token that was written, from -2 to 2; 0 changes nothing (OpenAI's API). */
  readonly presencePenalty: number;
}

/** Sampling from the model as it is: what reinforcement learning needs. */
export const PLAIN_SAMPLING: SamplingOptions = {
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  frequencyPenalty: 0,
  presencePenalty: 0,
};

export const GREEDY: SamplingOptions = { ...PLAIN_SAMPLING, temperature: 0 };

/** What has been written so far, as the penalties count it. */
export interface TokenHistory {
  /** How often each token was written: what the frequency and presence penalties count. */
  readonly counts: ReadonlyMap<number, number>;
  /** The tokens that the repetition penalty counts. */
  readonly words: ReadonlySet<number>;
}

export const NO_HISTORY: TokenHistory = { counts: new Map(), words: new Set() };

/**
 * A history to which tokens are added as they are written.
 * @param isWord which tokens the repetition penalty counts; all when not given
 */
export function createHistory(
  isWord: (token: number) => boolean = () => true,
): TokenHistory & { add(token: number): void } {
  const counts = new Map<number, number>();
  const words = new Set<number>();
  return {
    counts,
    words,
    add(token) {
      const count = counts.get(token) ?? 0;
      counts.set(token, count + 1);
      if (count === 0 && isWord(token)) words.add(token);
    },
  };
}

/** Throws a UserError that names the first option out of range. */
export function checkSampling(options: SamplingOptions): void {
  const { temperature, topK, topP, minP, repetitionPenalty, frequencyPenalty, presencePenalty } = options;
  const check = (valid: boolean, option: string, value: number, zh: string, en: string): void => {
    if (!valid)
      throw new UserError({
        zh: `--${option} 为 ${value}，应当${zh}。`,
        en: `--${option} is ${value}; it must be ${en}.`,
      });
  };
  const from = (min: number, max: number, option: string, value: number): void =>
    check(value >= min && value <= max, option, value, `在 ${min} 到 ${max} 之间`, `from ${min} to ${max}`);
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
  from(0, 1, 'min-p', minP);
  check(
    repetitionPenalty > 0 && Number.isFinite(repetitionPenalty),
    'repetition-penalty',
    repetitionPenalty,
    '大于 0',
    'above 0',
  );
  from(-2, 2, 'frequency-penalty', frequencyPenalty);
  from(-2, 2, 'presence-penalty', presencePenalty);
}

/** Index of the largest score; the first of equals. */
export function greedy(logits: Float32Array): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i;
  return best;
}

/** The `count` best tokens, the best first, the first of equals before the others. Meant for few: it never sorts all. */
export function likeliest(scores: Float32Array, count: number): Int32Array {
  const best = new Int32Array(Math.min(count, scores.length));
  let found = 0;
  for (let token = 0; token < scores.length; token++) {
    if (found === best.length && !(scores[token] > scores[best[found - 1]])) continue;
    let place = found < best.length ? found++ : found - 1;
    for (; place > 0 && scores[best[place - 1]] < scores[token]; place--) best[place] = best[place - 1];
    best[place] = token;
  }
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
  for (const token of seen)
    result[token] = logits[token] > 0 ? logits[token] / penalty : logits[token] * penalty;
  return result;
}

/** Scores less the penalty times the number of times that a token was written. */
export function penalizeFrequency(
  logits: Float32Array,
  counts: ReadonlyMap<number, number>,
  penalty: number,
): Float32Array {
  if (penalty === 0) return logits;
  const result = logits.slice();
  for (const [token, count] of counts) result[token] -= penalty * count;
  return result;
}

/** Scores less the penalty where a token was written, however often. */
export function penalizePresence(
  logits: Float32Array,
  counts: ReadonlyMap<number, number>,
  penalty: number,
): Float32Array {
  if (penalty === 0) return logits;
  const result = logits.slice();
  for (const token of counts.keys()) result[token] -= penalty;
  return result;
}

/**
 * Scores divided by the temperature. They are counted from the best, which becomes 0 and changes no probability: so the
 * quotient does not overflow, however small the temperature.
 */
export function scaleByTemperature(logits: Float32Array, temperature: number): Float32Array {
  if (temperature === 1) return logits;
  const best = maxOf(logits);
  const result = new Float32Array(logits.length);
  for (let i = 0; i < logits.length; i++) result[i] = (logits[i] - best) / temperature;
  return result;
}

/** Up to so many best scores are picked out; for more, sorting all of them is faster. */
const FEW = 32;

/** All but the `k` best scores become -∞; ties at the edge are kept. */
export function keepTopK(logits: Float32Array, k: number): Float32Array {
  if (k === 0 || k >= logits.length) return logits;
  const edge = k <= FEW ? logits[likeliest(logits, k)[k - 1]] : logits.slice().sort()[logits.length - k];
  return keepFrom(logits, edge);
}

/** All but the best scores whose probabilities reach `p` become -∞, the fewest that do; ties at the edge are kept. */
export function keepTopP(logits: Float32Array, p: number): Float32Array {
  if (p >= 1) return logits;
  const probabilities = softmaxOf(logits);
  let total = 0;
  for (const token of likeliest(logits, FEW)) {
    total += probabilities[token];
    if (total >= p) return keepFrom(logits, logits[token]);
  }
  // The distribution is flat, and it takes many.
  const ascending = logits.slice().sort();
  const ordered = softmaxOf(ascending);
  let edge = ordered.length - 1;
  for (total = ordered[edge]; total < p && edge > 0; ) total += ordered[--edge];
  return keepFrom(logits, ascending[edge]);
}

/** All scores become -∞ but those of tokens at least `minP` times as probable as the best. */
export function keepMinP(logits: Float32Array, minP: number): Float32Array {
  // p >= minP · max p  ⇔  z >= max z + ln minP
  return minP === 0 ? logits : keepFrom(logits, maxOf(logits) + Math.log(minP));
}

/** Scores below the edge become -∞. */
function keepFrom(logits: Float32Array, edge: number): Float32Array {
  const result = new Float32Array(logits.length);
  for (let i = 0; i < logits.length; i++) result[i] = logits[i] < edge ? Number.NEGATIVE_INFINITY : logits[i];
  return result;
}

function maxOf(values: Float32Array): number {
  let max = Number.NEGATIVE_INFINITY;
  for (const value of values) if (value > max) max = value;
  return max;
}

/** Probabilities of scores. */
export function softmaxOf(logits: Float32Array): Float64Array {
  const max = maxOf(logits);
  const probabilities = new Float64Array(logits.length);
  let total = 0;
  for (let i = 0; i < logits.length; i++) {
    // Most are excluded once the samplers above have chosen.
    if (logits[i] !== Number.NEGATIVE_INFINITY) total += probabilities[i] = Math.exp(logits[i] - max);
  }
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

/** Scores after the penalties: of repetition, of frequency, of presence. */
export function penalize(
  logits: Float32Array,
  options: SamplingOptions,
  { counts, words }: TokenHistory,
): Float32Array {
  const repetition = penalizeRepetition(logits, words, options.repetitionPenalty);
  const frequency = penalizeFrequency(repetition, counts, options.frequencyPenalty);
  return penalizePresence(frequency, counts, options.presencePenalty);
}

/** Scores from which a token is drawn at a temperature above 0: penalties, then temperature, top-k, top-p and min-p. */
export function shapeLogits(
  logits: Float32Array,
  options: SamplingOptions,
  history: TokenHistory,
): Float32Array {
  return shape(penalize(logits, options, history), options);
}

function shape(scores: Float32Array, { temperature, topK, topP, minP }: SamplingOptions): Float32Array {
  return keepMinP(keepTopP(keepTopK(scaleByTemperature(scores, temperature), topK), topP), minP);
}

/** The tokens that top-k keeps, in the order of the vocabulary; undefined where those are not few. */
function candidates(scores: Float32Array, k: number): number[] | undefined {
  if (k === 0 || k > FEW || k >= scores.length) return undefined;
  const edge = scores[likeliest(scores, k)[k - 1]];
  const tokens: number[] = [];
  for (let token = 0; token < scores.length; token++) if (scores[token] >= edge) tokens.push(token);
  return tokens;
}

/**
 * Choose the next token: the best after the penalties at temperature 0, else one drawn from the shaped scores.
 *
 * @param history what has been written, for the penalties
 * @param uniform draws a number in [0, 1)
 */
export function sampleToken(
  logits: Float32Array,
  options: SamplingOptions,
  history: TokenHistory,
  uniform: () => number,
): number {
  const penalized = penalize(logits, options, history);
  if (options.temperature === 0) return greedy(penalized);
  // Found first, they leave the other samplers a few scores to work on instead of a whole vocabulary.
  const tokens = candidates(penalized, options.topK);
  const scores = tokens ? Float32Array.from(tokens, (token) => penalized[token]) : penalized;
  const drawn = multinomial(softmaxOf(shape(scores, options)), uniform());
  return tokens ? tokens[drawn] : drawn;
}
