/** @file Pure functions from scores to losses, shared by the stages. */

import {
  abs,
  crossEntropy,
  exp,
  log,
  logSoftmax,
  maximum,
  minimum,
  neg,
  type Tensor,
} from '../tensor/index.ts';
import { BALANCE_WEIGHT } from './mixture-of-experts.ts';
import type { LossAndMetrics } from './train-step.ts';

/** A loss, and the balancing loss of a model with experts beside it, which is reported too. */
export function withBalance(
  loss: Tensor,
  balance: Tensor | undefined,
  metrics: Readonly<Record<string, Tensor>> = {},
): LossAndMetrics {
  if (!balance) return { loss, metrics };
  return { loss: loss.add(balance.mul(BALANCE_WEIGHT)), metrics: { ...metrics, balance } };
}

/** Mean of `values` where `mask` is 1; 0 (not NaN) when the mask is empty. Both of one shape. */
export function maskedMean(values: Tensor, mask: Tensor): Tensor {
  return values.mul(mask).sum().div(maximum(mask.sum(), 1));
}

/** `log σ(x) = min(x, 0) - log(1 + exp(-|x|))`, without overflow on either side. */
export function logSigmoid(x: Tensor): Tensor {
  return minimum(x, 0).sub(log(exp(neg(abs(x))).add(1)));
}

/**
 * Log-probability of each next token.
 *
 * @param logits `[B*T, V]`
 * @param targets int32 `[B, T]`, the token that follows each position
 * @returns log-probabilities `[B, T]`
 */
export function tokenLogProbabilities(logits: Tensor, targets: Tensor): Tensor {
  return neg(crossEntropy(logits, targets.reshape([targets.size])).losses).reshape(targets.shape);
}

/** Entropy in nats of the distribution of each row: `[M, V]` to `[M]`. Reported, not differentiated. */
export function entropyOf(logits: Tensor, targets: Tensor): Tensor {
  const { logProbabilities } = crossEntropy(logits, targets.reshape([targets.size]));
  return neg(exp(logProbabilities).mul(logProbabilities).sum(-1));
}

/** `KL(p || q) = Σ p (log p - log q)` of the distributions of each row of logits: `[M, V]` twice to `[M]`, in nats. */
export function klDivergence(pLogits: Tensor, qLogits: Tensor): Tensor {
  const logP = logSoftmax(pLogits);
  return exp(logP)
    .mul(logP.sub(logSoftmax(qLogits)))
    .sum(-1);
}
