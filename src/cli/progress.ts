/** @file What a terminal shows: text measured in columns, tables, durations and one live line of progress. */

import { text } from '../i18n.ts';

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

/** One moment of a stage. */
export interface ProgressUpdate {
  /** Steps done, of the `total` given to `createProgress`. */
  readonly step: number;
  readonly loss?: number;
  readonly tokensPerSecond?: number;
  /** Further figures in the order they are shown, such as `{ reward: '0.31' }`. */
  readonly figures?: Readonly<Record<string, string>>;
}

/** Where progress goes; `process.stdout` is one. */
export interface ProgressOutput {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(chunk: string): unknown;
}

export interface ProgressOptions {
  /** Name of the stage, as shown. */
  readonly stage: string;
  /** Steps of the whole stage. */
  readonly total: number;
  /** Steps done before this run (a resumed stage); they do not count for the remaining time. */
  readonly start?: number;
  readonly output?: ProgressOutput;
  /** The clock, in milliseconds. */
  readonly now?: () => number;
}

export interface Progress {
  update(update: ProgressUpdate): void;
  /** Print a line of its own above the progress. */
  log(line: string): void;
  /** End the stage: the last state stays as a line. Call it also when the stage fails. */
  end(): void;
}

const REDRAW_MS = 100;
const PLAIN_INTERVAL_MS = 5000;
const PLAIN_FRACTION = 0.1;
const MAX_BAR = 24;
const MIN_BAR = 8;

function bar(fraction: number, width: number): string {
  const filled = Math.round(Math.min(1, Math.max(0, fraction)) * width);
  return '█'.repeat(filled) + '░'.repeat(width - filled);
}

/**
 * Live progress of a stage. In a terminal one line is rewritten, never wider than the window; elsewhere (a file, a
 * pipe, CI) plain lines are written: the first, the last, and between them when about five seconds have passed and
 * always at each tenth of the work.
 */
export function createProgress(options: ProgressOptions): Progress {
  const output: ProgressOutput = options.output ?? process.stdout;
  const now = options.now ?? Date.now;
  const start = options.start ?? 0;
  const startedAt = now();
  let latest: ProgressUpdate | undefined;
  let drawnAt = Number.NEGATIVE_INFINITY;
  let drawnFraction = Number.NEGATIVE_INFINITY;
  let drawnStep = -1;
  let onScreen = false;
  let ended = false;

  const fractionOf = (step: number): number => (options.total > 0 ? step / options.total : 1);

  const describe = (update: ProgressUpdate, width: number): string => {
    const elapsed = (now() - startedAt) / 1000;
    const stepsHere = update.step - start;
    const done = update.step >= options.total;
    const remaining = stepsHere > 0 ? (elapsed / stepsHere) * (options.total - update.step) : Number.NaN;
    const parts = [`${update.step}/${options.total}`];
    if (update.loss !== undefined)
      parts.push(`${text({ zh: '损失', en: 'loss' })} ${update.loss.toFixed(4)}`);
    for (const [name, figure] of Object.entries(update.figures ?? {})) parts.push(`${name} ${figure}`);
    if (update.tokensPerSecond !== undefined) {
      parts.push(`${formatCount(update.tokensPerSecond)} ${text({ zh: '词元/秒', en: 'tokens/s' })}`);
    }
    parts.push(
      done
        ? `${text({ zh: '用时', en: 'took' })} ${formatDuration(elapsed)}`
        : `${text({ zh: '剩余', en: 'ETA' })} ${formatDuration(remaining)}`,
    );
    const rest = parts.join(' · ');
    const room = width - displayWidth(options.stage) - displayWidth(rest) - 2;
    const drawn = room >= MIN_BAR ? `${bar(fractionOf(update.step), Math.min(MAX_BAR, room))} ` : '';
    return truncateToWidth(`${options.stage} ${drawn}${rest}`, width);
  };

  const describePlain = (update: ProgressUpdate): string => {
    const percent = `${Math.floor(100 * fractionOf(update.step))}%`;
    const line = describe(update, Number.POSITIVE_INFINITY);
    return line.replace(/[█░]+/, percent);
  };

  // The last column stays free: some terminals wrap as soon as it is written.
  const draw = (update: ProgressUpdate): void => {
    if (output.isTTY) {
      output.write(`\r\u001b[2K${describe(update, (output.columns || 80) - 1)}`);
      onScreen = true;
    } else {
      output.write(`${describePlain(update)}\n`);
    }
    drawnAt = now();
    drawnFraction = fractionOf(update.step);
    drawnStep = update.step;
  };

  const isDue = (update: ProgressUpdate): boolean => {
    const elapsed = now() - drawnAt;
    if (output.isTTY) return elapsed >= REDRAW_MS;
    return elapsed >= PLAIN_INTERVAL_MS || fractionOf(update.step) >= drawnFraction + PLAIN_FRACTION - 1e-9;
  };

  return {
    update(update) {
      latest = update;
      if (!ended && isDue(update)) draw(update);
    },
    log(line) {
      if (onScreen) output.write('\r\u001b[2K');
      output.write(`${line}\n`);
      onScreen = false;
      if (output.isTTY && latest && !ended) draw(latest);
    },
    end() {
      if (ended) return;
      if (latest && latest.step !== drawnStep) draw(latest);
      if (onScreen) output.write('\n');
      onScreen = false;
      ended = true;
    },
  };
}
