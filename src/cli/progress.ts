/** @file One live line of progress. */

import { displayWidth, formatCount, formatDuration, truncateToWidth } from '../format-text.ts';
import { text } from '../i18n.ts';

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
