/** @file An evaluation as a table: stages side by side, a row for each figure, what it is compared with below its name. */

import { table } from '../format-text.ts';
import { text } from '../i18n.ts';
import { STAGE_NAMES } from '../stages/stage.ts';
import type { Baseline, Figure } from './figures.ts';
import { MEASURE_NAMES, MEASURES } from './measures.ts';
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
export function formatValue(value: number, { unit, id }: Figure): string {
  const shown = (unit === 'share' ? 100 * value : value).toFixed(DECIMALS[unit]);
  const sign = id.endsWith('-change') && value > 0 ? '+' : '';
  return `${sign}${shown}${unit === 'share' ? '%' : ''}`;
}

function formatInterval(figure: Figure, { low, high }: Pick<Baseline, 'low' | 'high'> = figure): string {
  if (low === undefined || high === undefined) return '';
  return `[${formatValue(low, figure)}, ${formatValue(high, figure)}]`;
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
    ...figures.map((each) => (each ? `${formatValue(each.value, each)}\n${formatInterval(each)}` : '')),
  ];
}

/** The ids of the figures of some stages, in their order: the stage with most of them sets it. */
function idsOf(lists: readonly (readonly Figure[])[]): string[] {
  const [longest = [], ...others] = [...lists].sort((a, b) => b.length - a.length);
  return [...new Set([longest, ...others].flat().map(({ id }) => id))];
}

/** Heading and rows of an evaluation, with cells of several lines; a row with a single cell begins another measure. */
export function evaluationRows(stages: readonly StageEvaluation[]): string[][] {
  const heading = [
    text({ zh: '指标', en: 'Figure' }),
    'n',
    ...stages.map(({ stage }) => text(STAGE_NAMES[stage])),
  ];
  const rows = MEASURES.flatMap((measure) => {
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

/** The table of an evaluation, with its legend below it. */
export function evaluationTable({ stages, sets }: RunEvaluation): string {
  const rows = evaluationRows(stages).flatMap((row) => {
    if (row.length === 1) return [[`— ${row[0]} —`]];
    const cells = row.map((cell) => cell.split('\n'));
    const height = Math.max(...cells.map((lines) => lines.length));
    return Array.from({ length: height }, (_, line) => cells.map((lines) => lines[line] ?? ''));
  });
  return `${table(rows)}\n\n${evaluationLegend(sets)}`;
}
