/**
 * @file What a policy rehearses while it learns something else. Steps towards a reward know nothing of what it does not
 * measure, and destroy it in passing; a few rows of the exercises that taught it, with each step, keep it (PPO-ptx; Ouyang
 * et al. 2022).
 */

import { prefixed, unprefixed } from '../nn/names.ts';
import type { LossFunction } from '../nn/train-step.ts';
import type { NdArray, Spec } from '../tensor/index.ts';
import { keyOf } from './pretrain.ts';
import { planConversations, type SftData, sftBatch, sftBatchSpec } from './sft.ts';
import type { StageContext } from './stage.ts';

const PREFIX = 'rehearsal';

/** What a method asks to be rehearsed. */
export interface RehearsalOptions {
  /** Rows of conversations with each part of its own batch that is computed at a time; 0 rehearses nothing. */
  readonly rehearsalRows: number;
  /** The weight of their loss. */
  readonly rehearsalCoefficient: number;
}

/** What a training step reads beside its own batch, under names of its own. */
export interface Rehearsal {
  readonly spec: Readonly<Record<string, Spec>>;
  /** The rows of a step, counted from 0. */
  at(step: number): Record<string, NdArray>;
}

/** @param rows rows of packed conversations a step; none at all for 0 */
export function planRehearsal(
  context: StageContext,
  data: SftData | undefined,
  rows: number,
): Rehearsal | undefined {
  if (data === undefined || rows === 0) return undefined;
  const batches = planConversations(context, data, { epochs: 1, batchSize: rows });
  return {
    spec: prefixed(PREFIX, sftBatchSpec(rows, context.config.contextLength)),
    at: (step) => prefixed(PREFIX, sftBatch(batches.at(step).rows, keyOf(context.seed, step))),
  };
}

/** A loss plus `coefficient` times that of what is rehearsed, where a batch has it. */
export function withRehearsal(own: LossFunction, rehearsed: LossFunction, coefficient: number): LossFunction {
  return (weights, batch) => {
    const result = own(weights, batch);
    const rows = unprefixed(PREFIX, batch);
    if (Object.keys(rows).length === 0) return result;
    const { loss: rehearsalLoss } = rehearsed(weights, rows);
    const loss = result.loss.add(rehearsalLoss.mul(coefficient));
    return { ...result, loss, metrics: { ...result.metrics, rehearsalLoss } };
  };
}
