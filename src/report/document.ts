/** @file A report as data: what it says, in the chosen language, before it becomes HTML, Markdown or text. */

import type { Point } from './scale.ts';

/** One line of a chart. */
export interface Series {
  readonly name: string;
  readonly points: readonly Point[];
  /** `noisy`: pale points with a smooth line over them; `marks`: single values, each a dot. */
  readonly form: 'noisy' | 'marks';
}

export interface Chart {
  readonly title: string;
  /** What runs along the x axis. */
  readonly x: string;
  readonly series: readonly Series[];
}

/** A share, and the ends of its interval. */
export interface Bar {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** Shares side by side: in each group a bar of each series. */
export interface BarChart {
  readonly title: string;
  readonly series: readonly string[];
  /** The name of a group may have several lines. */
  readonly groups: readonly { readonly name: string; readonly bars: readonly Bar[] }[];
}

/** A token of a conversation, and whether the loss is on it. */
export interface ShownToken {
  readonly text: string;
  readonly learned: boolean;
  /** Whether the line ends after it. */
  readonly endsLine: boolean;
}

/** A question, and answers to it with what they were paid. */
export interface PaidAnswers {
  readonly question: string;
  readonly expected: string;
  readonly answers: readonly { readonly text: string; readonly reward: number; readonly right: boolean }[];
}

export type Block =
  | { readonly kind: 'heading'; readonly text: string }
  | { readonly kind: 'paragraph'; readonly text: string }
  | {
      readonly kind: 'table';
      readonly head: readonly string[];
      readonly rows: readonly (readonly string[])[];
    }
  | { readonly kind: 'charts'; readonly charts: readonly Chart[] }
  | { readonly kind: 'bars'; readonly charts: readonly BarChart[] }
  | { readonly kind: 'tokens'; readonly tokens: readonly ShownToken[] }
  | { readonly kind: 'answers'; readonly groups: readonly PaidAnswers[] };

export interface ReportDocument {
  readonly title: string;
  readonly blocks: readonly Block[];
}

/** A heading and what stands below it; nothing where there is nothing to say. */
export function section(heading: string, blocks: readonly Block[]): Block[] {
  return blocks.length === 0 ? [] : [{ kind: 'heading', text: heading }, ...blocks];
}
