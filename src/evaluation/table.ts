/** @file An evaluation as a table: stages side by side, a row for each figure, what it is compared with below its name. */

import { table } from '../format-text.ts';
import { text } from '../i18n.ts';
import { STAGE_NAMES } from '../stages/stage.ts';
import { ANSWER_FORMS, comparedForms, FORM_NAMES, SUM_SIZES } from './chain-of-thought.ts';
import type { Baseline, Figure } from './figures.ts';
import { MEASURE_NAMES, MEASURES, type Measure } from './measures.ts';
import type { RunEvaluation, SetSize, StageEvaluation } from './run.ts';

/** Decimals of each unit. */
const DECIMALS: Readonly<Record<Figure['unit'], number>> = {
  'bits/byte': 3,
  perplexity: 1,
  nats: 2,
  share: 1,
  number: 2,
};

/** A value as people read it: shares in per cent, changes with their sign. */
export function formatValue(value: number, { unit, id }: Pick<Figure, 'unit' | 'id'>): string {
  const shown = (unit === 'share' ? 100 * value : value).toFixed(DECIMALS[unit]);
  const sign = id.endsWith('-change') && value > 0 ? '+' : '';
  return `${sign}${shown}${unit === 'share' ? '%' : ''}`;
}

function formatInterval(figure: Figure, { low, high }: Pick<Baseline, 'low' | 'high'> = figure): string {
  if (low === undefined || high === undefined) return '';
  return `[${formatValue(low, figure)}, ${formatValue(high, figure)}]`;
}

/** `12.0% [7.0%, 19.8%]` */
export function withInterval(figure: Figure, between = ' '): string {
  return `${formatValue(figure.value, figure)}${between}${formatInterval(figure)}`;
}

/** The row of a figure: values with their intervals below, and below the name what they are compared with. */
function rowOf(figures: readonly (Figure | undefined)[], columns: readonly StageEvaluation[]): string[] {
  const [first] = figures.filter((each) => each !== undefined);
  const shownStages = columns.map(({ stage }) => stage);
  const baselines = first.baselines.filter(({ stage }) => !stage || !shownStages.includes(stage));
  const compared = baselines.map((baseline) => {
    const { name, value } = baseline;
    const interval = formatInterval(first, { low: baseline.low, high: baseline.high });
    return `  ↔ ${text(name)} ${formatValue(value, first)} ${interval}`.trimEnd();
  });
  return [
    [text(first.name), ...compared].join('\n'),
    String(first.count),
    ...figures.map((each) => (each ? withInterval(each, '\n') : '')),
  ];
}

/** The ids of the figures of some stages, in their order: the stage with most of them sets it. */
export function idsOf(lists: readonly (readonly Pick<Figure, 'id'>[])[]): string[] {
  const [longest = [], ...others] = [...lists].sort((a, b) => b.length - a.length);
  return [...new Set([longest, ...others].flat().map(({ id }) => id))];
}

/** What has a table of its own. */
const APART: readonly Measure[] = ['chainOfThought'];

/** Heading and rows of an evaluation, with cells of several lines; a row with a single cell begins another measure. */
export function evaluationRows(stages: readonly StageEvaluation[]): string[][] {
  const heading = [
    text({ zh: '指标', en: 'Figure' }),
    'n',
    ...stages.map(({ stage }) => text(STAGE_NAMES[stage])),
  ];
  const rows = MEASURES.filter((measure) => !APART.includes(measure)).flatMap((measure) => {
    const lists = stages.map(({ figures }) => figures[measure] ?? []);
    const ids = idsOf(lists);
    if (ids.length === 0) return [];
    return [
      [text(MEASURE_NAMES[measure])],
      ...ids.map((id) =>
        rowOf(
          lists.map((list) => list.find((each) => each.id === id)),
          stages,
        ),
      ),
    ];
  });
  return [heading, ...rows];
}

/** Heading and rows of the chain of thought: a row for each number of digits, two columns for each stage. */
export function chainOfThoughtRows(stages: readonly StageEvaluation[]): string[][] {
  const compared = stages.map(({ stage, figures }) => ({
    stage,
    forms: comparedForms(figures.chainOfThought ?? []),
  }));
  const columns = compared.filter(({ forms }) => forms.length > 0);
  if (columns.length === 0) return [];
  const heading = [
    text({ zh: '较大的数', en: 'Larger number' }),
    'n',
    ...columns.flatMap(({ stage }) =>
      ANSWER_FORMS.map((form) =>
        text({
          zh: `${STAGE_NAMES[stage].zh} ${FORM_NAMES[form].zh}`,
          en: `${STAGE_NAMES[stage].en} ${FORM_NAMES[form].en}`,
        }),
      ),
    ),
  ];
  const rows = SUM_SIZES.flatMap((size) => {
    const found = columns.map(({ forms }) => forms.find((each) => each.size === size));
    const first = found.find((each) => each !== undefined);
    if (!first) return [];
    const cells = found.flatMap((each) =>
      ANSWER_FORMS.map((form) => (each ? withInterval(each[form], '\n') : '')),
    );
    return [[`${text(size.name)}\n  ${text(size.note)}`, String(first.direct.count), ...cells]];
  });
  return [heading, ...rows];
}

/** On how much an evaluation was made, and how its table is to be read. */
export function evaluationLegend(sets: readonly SetSize[]): string {
  const sizes = sets
    .filter(({ size }) => size > 0)
    .map(({ name, size, leftOut }) => {
      const left = text({
        zh: `（另有 ${leftOut} 条别的阶段训练过，不用）`,
        en: ` (${leftOut} more are trained on by another stage, and not used)`,
      });
      return `${size} ${text(name)}${leftOut > 0 ? left : ''}`;
    })
    .join(text({ zh: '，', en: ', ' }));
  return text({
    zh: `留出数据：${sizes}。\n方括号是 95% 区间，n 是互相独立的观测数，↔ 是对照。`,
    en: `Held out: ${sizes}.\nBrackets are 95% intervals, n is the number of independent observations, ↔ is what a figure is compared with.`,
  });
}

/** The tables of an evaluation, with their legend below them. */
export function evaluationTable({ stages, sets }: RunEvaluation): string {
  const parts = [
    multilineTable(evaluationRows(stages)),
    headed(text(MEASURE_NAMES.chainOfThought), multilineTable(chainOfThoughtRows(stages))),
    evaluationLegend(sets),
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}

function headed(heading: string, shown: string): string {
  return shown === '' ? '' : `— ${heading} —\n\n${shown}`;
}

/** Rows whose cells have several lines as one table; a row with a single cell becomes a heading. */
export function multilineTable(rows: readonly (readonly string[])[]): string {
  const lines = rows.flatMap((row) => {
    if (row.length === 1) return [[`— ${row[0]} —`]];
    const cells = row.map((cell) => cell.split('\n'));
    const height = Math.max(...cells.map((each) => each.length));
    return Array.from({ length: height }, (_, line) => cells.map((each) => each[line] ?? ''));
  });
  return table(lines);
}
