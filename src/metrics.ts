/**
 * @file The figures of a run: one JSON object per step in `metrics.jsonl`, and the same for TensorBoard.
 *
 *     tensorboard --logdir checkpoints
 *
 * The JSON lines are the truth. The event file is written again from them whenever a run goes on, so that a step that
 * was repeated after an interruption is in neither of them twice.
 */

import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from './files.ts';
import { summaryEvent, versionEvent } from './tensorboard.ts';

/** The figures of one step. Every number becomes a TensorBoard curve `stage/name`. */
export interface MetricsRecord {
  readonly stage: string;
  readonly step: number;
  readonly loss?: number;
  /** Learning rate. */
  readonly lr?: number;
  readonly tokensPerSecond?: number;
  readonly gradientNorm?: number;
  readonly [figure: string]: number | string | undefined;
}

export interface Metrics {
  /** Write one step. NaN and infinities are written as words, since JSON has no numbers for them. */
  log(record: MetricsRecord): void;
  close(): void;
}

/** The file of the figures in the folder of a run. */
export const METRICS_FILE = 'metrics.jsonl';

export interface TimedRecord extends MetricsRecord {
  /** When the step ended, in seconds since 1970. */
  readonly time: number;
}

const NOT_FINITE = /^(NaN|-?Infinity)$/;

function toLine(record: TimedRecord): string {
  return JSON.stringify(record, (_, value) =>
    typeof value === 'number' && !Number.isFinite(value) ? String(value) : value,
  );
}

/** A record of a line, or `undefined` where a kill left only a part of it. */
function fromLine(line: string): TimedRecord | undefined {
  try {
    const record = JSON.parse(line, (_, value) =>
      typeof value === 'string' && NOT_FINITE.test(value) ? Number(value) : value,
    ) as Partial<TimedRecord> | null;
    const known =
      typeof record?.stage === 'string' && Number.isInteger(record.step) && typeof record.time === 'number';
    return known ? (record as TimedRecord) : undefined;
  } catch {
    return undefined;
  }
}

/** The whole records of a file, up to the first of `resumeAt.stage` beyond `resumeAt.step`. */
function readKept(path: string, resumeAt: { stage: string; step: number } | undefined): TimedRecord[] {
  if (!existsSync(path)) return [];
  const records = readFileSync(path, 'utf8')
    .split('\n')
    .map(fromLine)
    .filter((record) => record !== undefined);
  if (!resumeAt) return records;
  const cut = records.findIndex(({ stage, step }) => stage === resumeAt.stage && step > resumeAt.step);
  return cut < 0 ? records : records.slice(0, cut);
}

/** What has been logged of a run in `dir`; nothing where there is no file. */
export function readMetrics(dir: string): TimedRecord[] {
  return readKept(join(dir, METRICS_FILE), undefined);
}

function eventOf({ time, stage, step, ...figures }: TimedRecord): Uint8Array {
  const scalars = Object.entries(figures)
    .filter((entry): entry is [string, number] => typeof entry[1] === 'number')
    .map(([name, value]): [string, number] => [`${stage}/${name}`, value]);
  return summaryEvent(time, step, scalars);
}

/**
 * Go on with the figures of a run in `dir` (`metrics.jsonl` and `events.out.tfevents.*`), or begin them.
 * @param options.resumeAt the last step that counts: what was logged from the next step of that stage on, later
 *   stages included, is dropped. `{ stage, step: 0 }` starts a stage over. Without it nothing is dropped.
 * @param options.now clock in milliseconds
 */
export function openMetrics(
  dir: string,
  options: { resumeAt?: { stage: string; step: number }; now?: () => number } = {},
): Metrics {
  const now = options.now ?? Date.now;
  mkdirSync(dir, { recursive: true });
  const linesPath = join(dir, METRICS_FILE);
  const kept = readKept(linesPath, options.resumeAt);
  writeFileAtomic(linesPath, kept.map((record) => `${toLine(record)}\n`).join(''));
  // Every opening writes under a new name, so that what a kill left of an earlier one has to go as well.
  for (const name of readdirSync(dir)) {
    if (/^events\.out\.tfevents\.\d+\.my-llm$|^\.events\.out\.tfevents\.\d+\.my-llm\.tmp-\d+$/.test(name)) {
      rmSync(join(dir, name));
    }
  }
  const eventsPath = join(dir, `events.out.tfevents.${now()}.my-llm`);
  const events = kept.map((record) => eventOf(record));
  writeFileAtomic(eventsPath, Buffer.concat([versionEvent(kept[0]?.time ?? now() / 1000), ...events]));
  const files = [linesPath, eventsPath].map((path) => ({ path, descriptor: openSync(path, 'a') }));

  const append = ({ path, descriptor }: (typeof files)[number], bytes: Uint8Array): void => {
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(descriptor, bytes, done);
    } catch (error) {
      // Errors of an open file do not say which file it was.
      if (error instanceof Error) Object.assign(error, { path });
      throw error;
    }
  };
  const [lines, eventFile] = files;
  return {
    log(record) {
      const timed: TimedRecord = { ...record, time: now() / 1000 };
      append(lines, Buffer.from(`${toLine(timed)}\n`));
      append(eventFile, eventOf(timed));
    },
    close() {
      for (const { descriptor } of files.splice(0)) closeSync(descriptor);
    },
  };
}
