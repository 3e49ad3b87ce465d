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
import protobuf from 'protobufjs/minimal.js';
import { writeFileAtomic } from './files.ts';

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

const JSON_LINES = 'metrics.jsonl';

// ---- TensorBoard event files ---------------------------------------------------------------------------------------

/** Table of CRC-32C (Castagnoli, reflected polynomial 0x82f63b78). */
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

/** CRC-32C of RFC 3720, appendix B.4. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 0xff];
  return (crc ^ 0xffffffff) >>> 0;
}

/** TFRecord stores checksums rotated and shifted, since a checksum of data with checksums in it says little. */
function maskedCrc(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/** One TFRecord: length (8 bytes), its checksum (4), the data, its checksum (4), little-endian. */
function tfRecord(data: Uint8Array): Uint8Array {
  const record = new Uint8Array(data.length + 16);
  const view = new DataView(record.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskedCrc(record.subarray(0, 8)), true);
  record.set(data, 12);
  view.setUint32(12 + data.length, maskedCrc(data), true);
  return record;
}

/** `Event { double wall_time = 1; string file_version = 3 }`, the first record of an event file. */
function versionEvent(seconds: number): Uint8Array {
  const writer = protobuf.Writer.create();
  writer.uint32(tag(1, FIXED64)).double(seconds);
  writer.uint32(tag(3, DELIMITED)).string('brain.Event:2');
  return tfRecord(writer.finish());
}

const [VARINT, FIXED64, DELIMITED, FIXED32] = [0, 1, 2, 5];
const tag = (field: number, wireType: number): number => (field << 3) | wireType;

/**
 * `Event { double wall_time = 1; int64 step = 2; Summary summary = 5 }` with
 * `Summary { repeated Value value = 1 }` and `Value { string tag = 1; float simple_value = 2 }`.
 */
function summaryEvent(seconds: number, record: MetricsRecord): Uint8Array {
  const writer = protobuf.Writer.create();
  writer.uint32(tag(1, FIXED64)).double(seconds);
  writer.uint32(tag(2, VARINT)).int64(record.step);
  writer.uint32(tag(5, DELIMITED)).fork();
  for (const [name, value] of Object.entries(record)) {
    if (name === 'step' || name === 'time' || typeof value !== 'number') continue;
    writer.uint32(tag(1, DELIMITED)).fork();
    writer.uint32(tag(1, DELIMITED)).string(`${record.stage}/${name}`);
    writer.uint32(tag(2, FIXED32)).float(value);
    writer.ldelim();
  }
  return tfRecord(writer.ldelim().finish());
}

// ---- JSON lines ----------------------------------------------------------------------------------------------------

interface TimedRecord extends MetricsRecord {
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
  const linesPath = join(dir, JSON_LINES);
  const kept = readKept(linesPath, options.resumeAt);
  writeFileAtomic(linesPath, kept.map((record) => `${toLine(record)}\n`).join(''));
  for (const name of readdirSync(dir)) {
    if (/^events\.out\.tfevents\.\d+\.my-llm$/.test(name)) rmSync(join(dir, name));
  }
  const eventsPath = join(dir, `events.out.tfevents.${now()}.my-llm`);
  const events = kept.map((record) => summaryEvent(record.time, record));
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
      append(eventFile, summaryEvent(timed.time, record));
    },
    close() {
      for (const { descriptor } of files.splice(0)) closeSync(descriptor);
    },
  };
}
