/** @file Tables of texts that are longer than a line: cells are wrapped to columns of the terminal. */

import { displayWidth, padToWidth } from '../format-text.ts';

const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' });

/** What words of scripts with spaces are made of. */
const LETTER = /[!-~\u00a1-\u02ff]$/;
/** What may not begin a line. */
const CLOSING = /^[\s\p{Pe}\p{Pf}，。、；：！？…]/u;

/** What is not to be broken: a word or a character, with the spaces and closing punctuation after it. */
function unitsOf(paragraph: string): string[] {
  const units: string[] = [];
  for (const { segment } of graphemes.segment(paragraph)) {
    const previous = units.at(-1);
    const joins = CLOSING.test(segment) || (LETTER.test(segment) && LETTER.test(previous ?? ''));
    if (joins && previous !== undefined) units[units.length - 1] += segment;
    else units.push(segment);
  }
  return units;
}

function wrapParagraph(paragraph: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  const add = (part: string): boolean => {
    if (line !== '' && displayWidth(line + part.trimEnd()) > width) return false;
    line += part;
    return true;
  };
  const addOnNewLine = (part: string): void => {
    if (add(part)) return;
    lines.push(line.trimEnd());
    line = part;
  };
  for (const unit of unitsOf(paragraph)) {
    if (displayWidth(unit.trimEnd()) <= width) addOnNewLine(unit);
    // A word longer than a line is broken wherever the line ends.
    else for (const { segment } of graphemes.segment(unit)) addOnNewLine(segment);
  }
  return [...lines, line.trimEnd()];
}

/**
 * The lines that a text takes in `width` columns. Words stay whole where a line has room for them; Chinese may break
 * anywhere, but closing punctuation does not begin a line.
 */
export function wrapToWidth(value: string, width: number): string[] {
  return value.split('\n').flatMap((paragraph) => wrapParagraph(paragraph, width));
}

const GAP = 2;
const NARROWEST = 6;

/** Widths of columns that fit into `room`: the widest give way first. */
function fitWidths(natural: readonly number[], room: number): number[] {
  let cap = Math.max(...natural);
  const total = (): number => natural.reduce((sum, width) => sum + Math.min(width, cap), 0);
  while (cap > NARROWEST && total() > room) cap--;
  return natural.map((width) => Math.min(width, cap));
}

/**
 * Rows of texts as a table at most `width` columns wide where that can be; the first row is the heading, underlined.
 * Where a cell takes several lines, an empty line parts the rows.
 */
export function wrappedTable(rows: readonly (readonly string[])[], width: number): string {
  const columns = Math.max(...rows.map((row) => row.length));
  const widestLine = (cell: string): number => Math.max(...cell.split('\n').map(displayWidth));
  const natural = Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((row) => widestLine(row[column] ?? ''))),
  );
  const widths = fitWidths(natural, width - GAP * (columns - 1));
  const join = (cells: readonly string[]): string => cells.join(' '.repeat(GAP)).trimEnd();
  const blocks = rows.map((row) => {
    const cells = widths.map((columnWidth, column) => wrapToWidth(row[column] ?? '', columnWidth));
    const height = Math.max(...cells.map((lines) => lines.length));
    return Array.from({ length: height }, (_, line) =>
      join(cells.map((lines, column) => padToWidth(lines[line] ?? '', widths[column]))),
    );
  });
  const [heading, ...body] = blocks;
  const between = body.some(({ length }) => length > 1) ? [''] : [];
  const underline = join(widths.map((columnWidth) => '─'.repeat(columnWidth)));
  return [
    ...heading,
    underline,
    ...body.flatMap((lines, i) => (i === 0 ? lines : [...between, ...lines])),
  ].join('\n');
}
