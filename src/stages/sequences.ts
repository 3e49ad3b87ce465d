/** @file Prompts with their responses as the padded batches that the reinforcement stages compute on. */

import type { Response } from '../rollout.ts';
import type { NdArray } from '../tensor/index.ts';

/** A prompt and the response that was sampled for it. */
export interface Episode {
  readonly prompt: ArrayLike<number>;
  readonly response: Response;
}

/** Index in a row of the first action: the position whose next token is the response's first. */
export function firstAction({ prompt }: Episode): number {
  return prompt.length - 1;
}

/** All tokens of an episode. */
export function tokensOf({ prompt, response }: Episode): number[] {
  return [...Array.from(prompt), ...response.tokens];
}

/**
 * Tokens, next tokens, and the mask of actions, `[B, T]` each, padded on the right.
 * @param B rows; those beyond the episodes are all zero, and nothing in them counts
 */
export function episodeBatch(
  episodes: readonly Episode[],
  T: number,
  B = episodes.length,
): Record<'ids' | 'targets' | 'mask', NdArray> {
  const shape = [B, T];
  const ids = new Int32Array(B * T);
  const targets = new Int32Array(B * T);
  const mask = new Float32Array(B * T);
  episodes.forEach((episode, row) => {
    const tokens = tokensOf(episode);
    ids.set(tokens, row * T);
    targets.set(tokens.slice(1), row * T);
    const start = row * T + firstAction(episode);
    mask.fill(1, start, start + episode.response.tokens.length);
  });
  return {
    ids: { dtype: 'int32', shape, data: ids },
    targets: { dtype: 'int32', shape, data: targets },
    mask: { dtype: 'float32', shape, data: mask },
  };
}

/** The numbers of an episode's actions out of a `[B, T]` array. */
export function actionsOf(array: NdArray, row: number, episode: Episode): Float32Array {
  const T = array.shape[1];
  const start = row * T + firstAction(episode);
  return (array.data as Float32Array).slice(start, start + episode.response.tokens.length);
}

/** Numbers of each episode's actions into a `[B, T]` array that is zero elsewhere. */
export function spreadActions(
  episodes: readonly Episode[],
  numbers: readonly ArrayLike<number>[],
  T: number,
  B = episodes.length,
): NdArray {
  const data = new Float32Array(B * T);
  episodes.forEach((episode, row) => {
    data.set(numbers[row], row * T + firstAction(episode));
  });
  return { dtype: 'float32', shape: [B, T], data };
}

/** A list in as few parts as do not exceed `size`, as equal as can be: 9 in parts of at most 8 are 5 and 4. */
export function evenParts<T>(items: readonly T[], size: number): T[][] {
  const count = Math.ceil(items.length / size);
  const start = (part: number): number => Math.ceil((part * items.length) / count);
  return Array.from({ length: count }, (_, part) => items.slice(start(part), start(part + 1)));
}
