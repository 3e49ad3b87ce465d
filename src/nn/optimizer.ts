/** @file AdamW, gradient-norm clipping and the learning-rate schedule: the part of a training step after the gradients. */

import { minimum, scalar, sqrt, type Tensor } from '../tensor/index.ts';

/** What updates the matrices inside the blocks; AdamW updates everything else in either case. */
export const OPTIMIZERS = ['adamw', 'muon'] as const;
export type OptimizerName = (typeof OPTIMIZERS)[number];

export interface AdamWOptions {
  /** Decay of the running mean of gradients. */
  readonly beta1: number;
  /** Decay of the running mean of squared gradients: the smaller the batch, the further back it has to look. */
  readonly beta2: number;
  readonly epsilon: number;
  /** Decoupled weight decay, on matrices only: biases and normalisation weights are left alone. */
  readonly weightDecay: number;
  /** Largest norm of all gradients together; larger ones are scaled down to it. */
  readonly maxGradientNorm: number;
}

export const ADAMW_DEFAULTS: AdamWOptions = {
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
  weightDecay: 0.1,
  maxGradientNorm: 1,
};

/** What AdamW keeps for each weight. */
export interface AdamWState {
  readonly parameter: Tensor;
  /** Running mean of gradients. */
  readonly mean: Tensor;
  /** Running mean of squared gradients. */
  readonly variance: Tensor;
}

/** Euclidean norm of all gradients taken together, a scalar. */
export function gradientNorm(gradients: readonly Tensor[]): Tensor {
  return sqrt(gradients.map((gradient) => gradient.mul(gradient).sum()).reduce((a, b) => a.add(b)));
}

/** Factor that brings a norm down to `max`, and leaves smaller ones alone. */
export function clipCoefficient(norm: Tensor, max: number): Tensor {
  return minimum(scalar(max).div(norm.add(1e-12)), 1);
}

/**
 * One AdamW step (Loshchilov & Hutter 2019), with `g` the clipped gradient and `t` the step number from 1:
 *
 *     m ← β₁ m + (1-β₁) g        v ← β₂ v + (1-β₂) g²
 *     p ← p - lr ( m̂ / (√v̂ + ε) + λ p ),   m̂ = m / (1-β₁ᵗ),  v̂ = v / (1-β₂ᵗ)
 *
 * The scalars are folded together so that large arrays are passed over as few times as possible.
 *
 * @param learningRate scalar
 * @param corrections `[2]`: `1-β₁ᵗ` and `√(1-β₂ᵗ)`
 * @param coefficient scalar factor on the gradient, from `clipCoefficient`
 */
export function adamW(
  { parameter, mean, variance }: AdamWState,
  gradient: Tensor,
  scalars: {
    readonly learningRate: Tensor;
    readonly meanCorrection: Tensor;
    readonly rootVarianceCorrection: Tensor;
    readonly coefficient: Tensor;
  },
  { beta1, beta2, epsilon, weightDecay }: AdamWOptions,
): AdamWState {
  const { learningRate, meanCorrection, rootVarianceCorrection, coefficient } = scalars;
  const nextMean = mean.mul(beta1).add(gradient.mul(coefficient.mul(1 - beta1)));
  const scaled = gradient.mul(coefficient.mul(Math.sqrt(1 - beta2)));
  const nextVariance = variance.mul(beta2).add(scaled.mul(scaled));
  // m̂ / (√v̂ + ε) = m / (√v + ε √(1-β₂ᵗ)) · √(1-β₂ᵗ) / (1-β₁ᵗ)
  const stepSize = learningRate.mul(rootVarianceCorrection).div(meanCorrection);
  const update = nextMean.mul(stepSize).div(sqrt(nextVariance).add(rootVarianceCorrection.mul(epsilon)));
  const isMatrix = parameter.rank >= 2;
  const kept =
    isMatrix && weightDecay > 0 ? parameter.mul(scalar(1).sub(learningRate.mul(weightDecay))) : parameter;
  return { parameter: kept.sub(update), mean: nextMean, variance: nextVariance };
}

/** Linear warm-up, then half a cosine down to `finalFraction` of the peak. */
export interface Schedule {
  readonly peak: number;
  readonly warmupSteps: number;
  readonly totalSteps: number;
  readonly finalFraction: number;
}

/** Learning rate of a step, counted from 0. */
export function learningRateAt(
  step: number,
  { peak, warmupSteps, totalSteps, finalFraction }: Schedule,
): number {
  if (step < warmupSteps) return (peak * (step + 1)) / warmupSteps;
  const progress = Math.min(1, (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps));
  return peak * (finalFraction + (1 - finalFraction) * 0.5 * (1 + Math.cos(Math.PI * progress)));
}
