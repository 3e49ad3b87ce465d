/**
 * @file The arithmetic of PPO for language models, as pure functions: rewards per token, advantages, the clipped loss,
 * the KL controller. The loop that uses them is in `rlhf.ts`.
 *
 * Sources: Schulman et al. 2017 (PPO), 2016 (GAE), "Approximating KL divergence" (2020); Ziegler et al. 2019;
 * Stiennon et al. 2020.
 *
 * Legend: B sequences, T length. Position t of a row stands for the action "choose token t + 1"; `mask [B, T]` is 1
 * where that token belongs to the response.
 */

import { maskedMean } from '../nn/losses.ts';
import { clamp, exp, greater, maximum, neg, type Tensor } from '../tensor/index.ts';

/** Largest |log ratio| that is exponentiated. */
const MAX_LOG_RATIO = 20;

/** Per-token numbers of one response, all of the response's length. */
export interface Trajectory {
  /** Rewards of the tokens. */
  readonly rewards: Float64Array;
  /** The critic's values before each token. */
  readonly values: Float64Array;
}

/**
 * The reward of each token: minus the KL penalty, estimated by the log ratio of the token, and at the last token also
 * the score of the whole response.
 */
export function tokenRewards(
  logProbs: ArrayLike<number>,
  referenceLogProbs: ArrayLike<number>,
  score: number,
  klCoefficient: number,
): Float64Array {
  const rewards = Float64Array.from(
    { length: logProbs.length },
    (_, t) => -klCoefficient * (logProbs[t] - referenceLogProbs[t]),
  );
  rewards[rewards.length - 1] += score;
  return rewards;
}

/**
 * Generalised advantage estimation: `δ_t = r_t + γ V_{t+1} - V_t`, `A_t = δ_t + γ λ A_{t+1}`; the value after the last
 * token is zero. Returns are advantages plus values, before any whitening.
 */
export function generalizedAdvantages(
  { rewards, values }: Trajectory,
  gamma: number,
  lambda: number,
): { advantages: Float64Array; returns: Float64Array } {
  const advantages = new Float64Array(rewards.length);
  let next = 0;
  let nextValue = 0;
  for (let t = rewards.length - 1; t >= 0; t--) {
    const delta = rewards[t] + gamma * nextValue - values[t];
    next = delta + gamma * lambda * next;
    advantages[t] = next;
    nextValue = values[t];
  }
  return { advantages, returns: advantages.map((advantage, t) => advantage + values[t]) };
}

/** Mean 0 and deviation 1 over all numbers of all rows. */
export function whiten(rows: readonly Float64Array[]): Float64Array[] {
  const all = rows.flatMap((row) => Array.from(row));
  const mean = all.reduce((a, b) => a + b, 0) / all.length;
  const variance = all.reduce((total, value) => total + (value - mean) ** 2, 0) / all.length;
  return rows.map((row) => row.map((value) => (value - mean) / Math.sqrt(variance + 1e-8)));
}

/** Share of the variance of the returns that the values explain; 1 is perfect, 0 no better than the mean. */
export function explainedVariance(values: ArrayLike<number>, returns: ArrayLike<number>): number {
  const variance = (numbers: readonly number[]): number => {
    const mean = numbers.reduce((a, b) => a + b, 0) / numbers.length;
    return numbers.reduce((total, x) => total + (x - mean) ** 2, 0) / numbers.length;
  };
  const target = Array.from(returns);
  return 1 - variance(target.map((x, i) => x - values[i])) / (variance(target) + 1e-8);
}

/** k3, an unbiased and never negative estimate of KL(policy ‖ reference): `e^{-x} - 1 + x`, x the log ratio. */
export function k3(logRatio: number): number {
  // expm1, because e^{-x} - 1 of a small x would be rounded to below -x.
  return Math.expm1(-logRatio) + logRatio;
}

/** The KL coefficient follows a target (Ziegler et al. 2019): up when KL is above it, down when below. */
export interface KlController {
  readonly target: number;
  readonly horizon: number;
}

/** The next coefficient, after `count` responses with a mean KL of `kl` nats each. */
export function adaptKlCoefficient(
  coefficient: number,
  kl: number,
  count: number,
  { target, horizon }: KlController,
): number {
  const error = Math.min(Math.max(kl / target - 1, -0.2), 0.2);
  return coefficient * (1 + (error * count) / horizon);
}

/** How far the probability ratio may go from 1 before the gradient stops, and a value from its old one. */
export const PPO_CLIPPING = { ratioClip: 0.2, valueClip: 0.2 };

/** All `[B, T]`. */
export interface PolicyBatch {
  readonly logProbs: Tensor;
  readonly oldLogProbs: Tensor;
  readonly advantages: Tensor;
  readonly mask: Tensor;
}

/** All `[B, T]`. */
export interface ValueBatch {
  readonly values: Tensor;
  readonly oldValues: Tensor;
  readonly returns: Tensor;
  readonly mask: Tensor;
}

/**
 * The clipped value loss:
 *
 *     valueLoss = ½ mean max((V - R)², (clip(V, V_old ± ε) - R)²)
 */
export function clippedValueLoss(
  { values, oldValues, returns, mask }: ValueBatch,
  valueClip = PPO_CLIPPING.valueClip,
): Tensor {
  const change = clamp(values.sub(oldValues), -valueClip, valueClip);
  const error = values.sub(returns);
  const clippedError = oldValues.add(change).sub(returns);
  return maskedMean(maximum(error.mul(error), clippedError.mul(clippedError)), mask).mul(0.5);
}

/**
 * The clipped surrogate loss, a mean over tokens, and what tells how far the policy has moved:
 *
 *     ratio = exp(logProbs - oldLogProbs)
 *     policyLoss = mean max(-A ratio, -A clip(ratio, 1 - low, 1 + high))
 */
export function clippedPolicyLoss(
  { logProbs, oldLogProbs, advantages, mask }: PolicyBatch,
  { low, high }: { readonly low: number; readonly high: number },
) {
  const logRatio = clamp(logProbs.sub(oldLogProbs), -MAX_LOG_RATIO, MAX_LOG_RATIO);
  const ratio = exp(logRatio);
  const losses = neg(advantages).mul(ratio);
  const clippedLosses = neg(advantages).mul(clamp(ratio, 1 - low, 1 + high));
  const distance = ratio.sub(1);
  return {
    policyLoss: maskedMean(maximum(losses, clippedLosses), mask),
    clipFraction: maskedMean(greater(clippedLosses, losses).cast('float32'), mask),
    approxKl: maskedMean(distance.sub(logRatio), mask),
    /** Largest |ratio - 1|: zero in the first mini-batch, where policy and old policy are the same. */
    ratioDeviation: maximum(distance, neg(distance)).mul(mask).max(),
  };
}

/** The k3 estimate as part of a loss: the mean over tokens of KL(policy ‖ reference); all `[B, T]`. */
export function klLoss(logProbs: Tensor, referenceLogProbs: Tensor, mask: Tensor): Tensor {
  const logRatio = clamp(logProbs.sub(referenceLogProbs), -MAX_LOG_RATIO, MAX_LOG_RATIO);
  return maskedMean(exp(neg(logRatio)).sub(1).add(logRatio), mask);
}
