/**
 * @file The same training with several seeds: what of its figures is the recipe, and what was luck. The interval of one
 * evaluation says what other questions would change; here it is what another training would.
 */

import type { StageName } from '../stages/stage.ts';
import type { Figure } from './figures.ts';
import { MEASURES, type Measure } from './measures.ts';
import type { RunEvaluation } from './run.ts';
import { type Summary, summarize } from './student.ts';

/** A figure over the runs; `values` are in their order. */
export interface SeedFigure extends Summary, Pick<Figure, 'id' | 'name' | 'unit' | 'better'> {
  readonly values: readonly number[];
}

/** The figures of a stage that every run has. */
export interface SeedStage {
  readonly stage: StageName;
  readonly figures: Readonly<Partial<Record<Measure, readonly SeedFigure[]>>>;
}

export interface SeedEvaluation {
  readonly runs: readonly { readonly folder: string; readonly seed: number }[];
  readonly stages: readonly SeedStage[];
  /** Figures that some runs have and others have not. */
  readonly leftOut: number;
}

/** Put the evaluations of runs together, figure by figure. */
export function overSeeds(
  runs: readonly { readonly folder: string; readonly seed: number; readonly evaluation: RunEvaluation }[],
): SeedEvaluation {
  const [first, ...others] = runs.map(({ evaluation }) => evaluation);
  let leftOut = 0;
  const stages = first.stages.map(({ stage, figures }): SeedStage => {
    const summaries = MEASURES.flatMap((measure) => {
      const lists = others.map((evaluation) => figuresOf(evaluation, stage, measure));
      const own = figures[measure] ?? [];
      const all = new Set([own, ...lists].flat().map(({ id }) => id));
      const shared = own.flatMap((each) => summaryOf(each, lists));
      leftOut += all.size - shared.length;
      return shared.length > 0 ? [[measure, shared] as const] : [];
    });
    return { stage, figures: Object.fromEntries(summaries) };
  });
  return { runs: runs.map(({ folder, seed }) => ({ folder, seed })), stages, leftOut };
}

function figuresOf({ stages }: RunEvaluation, stage: StageName, measure: Measure): readonly Figure[] {
  return stages.find((each) => each.stage === stage)?.figures[measure] ?? [];
}

/** Nothing where one of the other runs lacks the figure. */
function summaryOf(
  { id, name, unit, better, value }: Figure,
  lists: readonly (readonly Figure[])[],
): SeedFigure[] {
  const found = lists.map((list) => list.find((each) => each.id === id)?.value);
  const others = found.filter((each) => each !== undefined);
  if (others.length < found.length) return [];
  const values = [value, ...others];
  return [{ id, name, unit, better, values, ...within(summarize(values), { id, unit }) }];
}

/** The t interval knows no bounds, but a share is nowhere below 0 or above 1, and its change within ±1. */
function within(summary: Summary, { id, unit }: Pick<Figure, 'id' | 'unit'>): Summary {
  if (unit !== 'share') return summary;
  const { low, high } = summary;
  return { ...summary, low: Math.max(id.endsWith('-change') ? -1 : 0, low), high: Math.min(1, high) };
}
