/** @file What the model sees in rows that several texts share (`data/rows.ts`): each text as if it stood alone. */

import { type Context, MASKED } from './model.ts';
import { arange, equal, greater, logicalAnd, type Tensor, where } from './tensor/index.ts';

/** What the tokens of rows `[B, T]` that several texts share see: each of them its own text only. */
export function rowContext({ positions, segments }: Readonly<Record<string, Tensor>>): Context {
  return { positions, mask: conversationMask(segments) };
}

/** The mask `[B, 1, T, T]` of such rows, `segments [B, T]`: a token sees only what came before in its own text. */
function conversationMask(segments: Tensor): Tensor {
  const [B, T] = segments.shape;
  const same = equal(segments.reshape([B, 1, T, 1]), segments.reshape([B, 1, 1, T]));
  const notLater = greater(arange(T).reshape([T, 1]).add(1), arange(T).reshape([1, T]));
  return where(logicalAnd(same, notLater.reshape([1, 1, T, T])), 0, MASKED);
}
