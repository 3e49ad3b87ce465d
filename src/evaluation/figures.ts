/** @file What an evaluation comes to: figures as plain data, for a table, for JSON, or for a report. */

import type { Text } from '../i18n.ts';
import type { StageName } from '../stages/stage.ts';
import type { Estimate } from './intervals.ts';

/** What a figure is compared with. */
export interface Baseline {
  readonly name: Text;
  readonly value: number;
  /** Ends of the 95% interval, where there is one. */
  readonly low?: number;
  readonly high?: number;
  /** The stage of this run that the baseline is the figure of. */
  readonly stage?: StageName;
}

/** A figure on held-out data, with its 95% interval. */
export interface Figure extends Estimate {
  /** What it is, for programs: the same for every stage. */
  readonly id: string;
  readonly name: Text;
  readonly unit: 'bits/byte' | 'perplexity' | 'nats' | 'share' | 'number';
  /** Which way is better; undefined where neither is. */
  readonly better?: 'higher' | 'lower';
  readonly baselines: readonly Baseline[];
}

/** A figure from an estimate. */
export function figure(
  id: string,
  name: Text,
  unit: Figure['unit'],
  estimate: Estimate,
  more: Partial<Pick<Figure, 'better' | 'baselines'>> = {},
): Figure {
  return { id, name, unit, baselines: [], ...more, ...estimate };
}

/** Figures of a model, with those of another stage of the run as baselines beside them. */
export function withBaseline(
  figures: readonly Figure[],
  reference: readonly Figure[],
  stage: StageName,
  name: Text,
): Figure[] {
  return figures.map((each) => {
    const found = reference.find(({ id }) => id === each.id);
    if (!found) return each;
    const { value, low, high } = found;
    return { ...each, baselines: [...each.baselines, { name, stage, value, low, high }] };
  });
}
