/** @file Figures and text as people read them: columns of a terminal, tables, durations, counts. */

import type { Evaluation } from './stages/stage.ts';

/** Terminal colour and cursor sequences, which take no columns. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with a control character.
const ANSI_SEQUENCE = /\u001b\[[0-9;?]*[A-Za-z]/g;

/** East Asian Wide and Fullwidth blocks (Unicode UAX #11) and what terminals draw as emoji: two columns. */
const WIDE =
  /[\u1100-\u115f\u2329\u232a\u2e80-\u303e\u3041-\u3247\u3250-\u4dbf\u4e00-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe10-\ufe19\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6]|\ufe0f|[\u{17000}-\u{18cff}\u{1b000}-\u{1b2ff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}/u;

/** A cluster of nothing but controls, combining marks or format characters: no column. */
const ZERO_WIDTH = /^[\p{Cc}\p{Cf}\p{Mn}\p{Me}]*$/u;

const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' });

function graphemeWidth(grapheme: string): number {
  if (ZERO_WIDTH.test(grapheme)) return 0;
  return WIDE.test(grapheme) ? 2 : 1;
}

/** Columns that `value` takes in a terminal: Chinese characters and emoji two, marks and colours none. */
export function displayWidth(value: string): number {
  const plain = value.replace(ANSI_SEQUENCE, '');
  if (/^[\x20-\x7e]*$/.test(plain)) return plain.length;
  let width = 0;
  for (const { segment } of graphemes.segment(plain)) width += graphemeWidth(segment);
  return width;
}

/** `value` cut to at most `width` columns, ending in `…` where something was cut. Colours are removed. */
export function truncateToWidth(value: string, width: number): string {
  const plain = value.replace(ANSI_SEQUENCE, '');
  if (displayWidth(plain) <= width) return plain;
  if (width < 1) return '';
  let kept = '';
  let used = 0;
  for (const { segment } of graphemes.segment(plain)) {
    const next = used + graphemeWidth(segment);
    if (next > width - 1) break;
    kept += segment;
    used = next;
  }
  return `${kept}…`;
}

/** `value` filled with spaces to `width` columns. */
export function padToWidth(value: string, width: number, align: 'left' | 'right' = 'left'): string {
  const fill = ' '.repeat(Math.max(0, width - displayWidth(value)));
  return align === 'left' ? value + fill : fill + value;
}

const NUMERIC = /^[-+≈~]?[\d.,]+(e[-+]?\d+)?\s?[%×a-zA-Z/]*$/;

/**
 * Rows of cells as aligned lines; the first row is the heading, underlined.
 * Columns whose cells are all figures are aligned to the right.
 */
export function table(rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return '';
  const columns = Math.max(...rows.map((row) => row.length));
  const cell = (row: readonly string[], column: number): string => row[column] ?? '';
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((row) => displayWidth(cell(row, column)))),
  );
  const aligns = widths.map((_, column) => {
    const body = rows.slice(1).map((row) => cell(row, column));
    const filled = body.filter((value) => value !== '' && value !== '-');
    return filled.length > 0 && filled.every((value) => NUMERIC.test(value)) ? 'right' : 'left';
  });
  const lines = rows.map((row) =>
    widths
      .map((width, column) => padToWidth(cell(row, column), width, aligns[column]))
      .join('  ')
      .trimEnd(),
  );
  lines.splice(1, 0, widths.map((width) => '─'.repeat(width)).join('  '));
  return lines.join('\n');
}

/** A duration as people say it: `0.4s`, `12s`, `3m05s`, `2h07m`; `--` where it is not known. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return '--';
  if (seconds < 9.95) return `${seconds.toFixed(1)}s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}s`;
  const two = (value: number): string => String(value).padStart(2, '0');
  if (whole < 3600) return `${Math.floor(whole / 60)}m${two(whole % 60)}s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)}h${two(minutes % 60)}m`;
}

/** A count as people read it: `950`, `12.3k`, `4.56M`. */
export function formatCount(value: number): string {
  if (!Number.isFinite(value)) return '--';
  if (Math.abs(value) < 1000) return String(Math.round(value));
  if (Math.abs(value) < 999_500) return `${(value / 1000).toPrecision(3)}k`;
  return `${(value / 1e6).toPrecision(3)}M`;
}

/** A figure of a stage: shares in per cent, an en dash where there is none. */
export function formatFigure(value: number | undefined, unit: Evaluation['unit']): string {
  if (value === undefined || Number.isNaN(value)) return '–';
  return unit === 'share' ? `${(100 * value).toFixed(1)}%` : value.toFixed(unit === 'number' ? 2 : 3);
}
