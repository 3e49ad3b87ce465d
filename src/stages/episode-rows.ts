/**
 * @file Prompts with their responses as rows of one length: as many as fit share a row, as conversations do in fine-tuning.
 * What policy and critic say of a token is computed for a whole row at a time, and read back response by response.
 *
 * Legend: `B` rows a batch, `T` places a row. The place before a token is where it was chosen: the action.
 */

import { computeSpans, emptyLayout, packTexts, type RowLayout, rowBatch, type Span } from '../data/rows.ts';
import { prefixed } from '../nn/names.ts';
import type { Response } from '../rollout.ts';
import type { Executable, NdArray, Spec } from '../tensor/index.ts';

/** A prompt and the response that was sampled for it. */
export interface Episode {
  readonly prompt: ArrayLike<number>;
  readonly response: Response;
}

/** All tokens of an episode. */
export function tokensOf({ prompt, response }: Episode): number[] {
  return [...Array.from(prompt), ...response.tokens];
}

/** Some episodes. */
export interface EpisodeRow extends RowLayout {
  /** 1 at the actions, else 0. */
  readonly mask: Float32Array; // [T]
}

/** Episodes in rows. */
export interface EpisodeRows {
  readonly rows: readonly EpisodeRow[];
  /** Where the actions of each episode stand, in the order in which the episodes were given. */
  readonly actions: readonly Span[];
}

/** Rows of `T` places, each episode whole in one of them. None may be longer than a row. */
export function packEpisodes(episodes: readonly Episode[], T: number): EpisodeRows {
  const { rows: layouts, spans } = packTexts(
    episodes.map((episode) => Int32Array.from(tokensOf(episode))),
    T,
  );
  const rows = layouts.map((layout) => ({ ...layout, mask: new Float32Array(T) }));
  const actions = spans.map(({ row, start, end }, i) => ({
    row,
    start: start + episodes[i].prompt.length - 1,
    end: end - 1,
  }));
  for (const { row, start, end } of actions) rows[row].mask.fill(1, start, end);
  return { rows, actions };
}

/** The rows with further numbers, given action by action for each episode; at all other places these are 0. */
export function spreadActions<Name extends string>(
  { rows, actions }: EpisodeRows,
  numbers: Readonly<Record<Name, readonly ArrayLike<number>[]>>,
): (EpisodeRow & Record<Name, Float32Array>)[] {
  const names = Object.keys(numbers) as Name[];
  const spread = rows.map((row) => withNumbers(row, names));
  actions.forEach(({ row, start }, episode) => {
    for (const name of names) spread[row][name].set(numbers[name][episode], start);
  });
  return spread;
}

/** The shapes of a batch of B rows with further numbers of these names. */
export function episodeBatchSpec<Name extends string = never>(
  B: number,
  T: number,
  names: readonly Name[] = [],
): Record<keyof EpisodeRow | Name, Spec> {
  return rowBatch([withNumbers({ ...emptyLayout(T), mask: new Float32Array(T) }, names)], B);
}

/** A row with room for further numbers. */
function withNumbers<Name extends string>(
  row: EpisodeRow,
  names: readonly Name[],
): EpisodeRow & Record<Name, Float32Array> {
  const numbers = names.map((name) => [name, new Float32Array(row.mask.length)]);
  return { ...row, ...(Object.fromEntries(numbers) as Record<Name, Float32Array>) };
}

/**
 * What a graph says of each action, by episode.
 *
 * @param executable reads `weights` and, under `batch:`, a batch of `ROWS_AT_A_TIME` rows; its outputs are `[B, T]`
 */
export function readActions<Name extends string>(
  executable: Executable,
  weights: Readonly<Record<string, NdArray>>,
  { rows, actions }: EpisodeRows,
): Promise<Record<Name, Float32Array>[]> {
  return computeSpans(rows, actions, (batch) => executable.run({ ...weights, ...prefixed('batch', batch) }));
}
