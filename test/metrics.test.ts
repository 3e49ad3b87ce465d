import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import protobuf from 'protobufjs/minimal.js';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openMetrics } from '../src/metrics.ts';
import { crc32c } from '../src/tensorboard.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'my-llm-metrics-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

/** Another way to compute CRC-32C: bit by bit. */
function slowCrc(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    for (let bit = 0; bit < 8; bit++) {
      const mix = ((crc ^ (byte >> bit)) & 1) === 1;
      crc = (crc >>> 1) ^ (mix ? 0x82f63b78 : 0);
    }
  }
  return (crc ^ 0xffffffff) >>> 0;
}

interface DecodedEvent {
  time?: number;
  step?: number;
  version?: string;
  values: Record<string, number>;
}

function decodeEvent(data: Uint8Array): DecodedEvent {
  const event: DecodedEvent = { values: {} };
  const reader = protobuf.Reader.create(data);
  while (reader.pos < reader.len) {
    const key = reader.uint32();
    if (key === 9) event.time = reader.double();
    else if (key === 16) event.step = Number(reader.int64());
    else if (key === 26) event.version = reader.string();
    else if (key === 42) {
      const end = reader.uint32() + reader.pos;
      while (reader.pos < end) {
        expect(reader.uint32()).toBe(10);
        const valueEnd = reader.uint32() + reader.pos;
        expect(reader.uint32()).toBe(10);
        const name = reader.string();
        expect(reader.uint32()).toBe(21);
        event.values[name] = reader.float();
        expect(reader.pos).toBe(valueEnd);
      }
    } else throw new Error(`unexpected key ${key}`);
  }
  return event;
}

/** The events of the one event file, all checksums checked. */
function readEvents(): DecodedEvent[] {
  const names = readdirSync(dir).filter((name) => name.includes('tfevents'));
  expect(names).toHaveLength(1);
  const bytes = new Uint8Array(readFileSync(join(dir, names[0])));
  const view = new DataView(bytes.buffer);
  const unmask = (masked: number): number => {
    const rotated = (masked - 0xa282ead8) >>> 0;
    return ((rotated >>> 17) | (rotated << 15)) >>> 0;
  };
  const events: DecodedEvent[] = [];
  for (let offset = 0; offset < bytes.length; ) {
    const length = Number(view.getBigUint64(offset, true));
    const data = bytes.subarray(offset + 12, offset + 12 + length);
    expect(unmask(view.getUint32(offset + 8, true))).toBe(slowCrc(bytes.subarray(offset, offset + 8)));
    expect(unmask(view.getUint32(offset + 12 + length, true))).toBe(slowCrc(data));
    events.push(decodeEvent(data));
    offset += 16 + length;
  }
  return events;
}

const readLines = () =>
  readFileSync(join(dir, 'metrics.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

test('the checksum is CRC-32C', () => {
  // The test vectors of RFC 3720, appendix B.4.
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
  expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
  expect(crc32c(Uint8Array.from({ length: 32 }, (_, index) => index))).toBe(0x46dd794e);
});

test('each step is a JSON line and an event', () => {
  const metrics = openMetrics(dir, { now: () => 1_700_000_000_500 });
  metrics.log({ stage: 'pretrain', step: 1, loss: 6.25, lr: 0.5, note: 'x' });
  metrics.log({ stage: 'pretrain', step: 2, loss: Number.NaN, kl: undefined });
  metrics.close();
  metrics.close();
  const time = 1_700_000_000.5;
  expect(readLines()).toEqual([
    { stage: 'pretrain', step: 1, loss: 6.25, lr: 0.5, note: 'x', time },
    { stage: 'pretrain', step: 2, loss: 'NaN', time },
  ]);
  expect(readEvents()).toEqual([
    { time, version: 'brain.Event:2', values: {} },
    { time, step: 1, values: { 'pretrain/loss': 6.25, 'pretrain/lr': 0.5 } },
    { time, step: 2, values: { 'pretrain/loss': Number.NaN } },
  ]);
});

function logSteps(stage: string, from: number, to: number, resumeAt?: { stage: string; step: number }): void {
  const metrics = openMetrics(dir, { resumeAt, now: () => from });
  for (let step = from; step <= to; step++) metrics.log({ stage, step, loss: step });
  metrics.close();
}

const steps = () => readLines().map(({ stage, step }) => `${stage} ${step}`);
const eventSteps = () =>
  readEvents()
    .slice(1)
    .map(({ step, values }) => `${Object.keys(values)[0].split('/')[0]} ${step}`);

test('a resumed run logs nothing twice', () => {
  logSteps('pretrain', 1, 2);
  logSteps('sft', 1, 5);
  logSteps('sft', 4, 6, { stage: 'sft', step: 3 });
  const expected = ['pretrain 1', 'pretrain 2', ...[1, 2, 3, 4, 5, 6].map((step) => `sft ${step}`)];
  expect(steps()).toEqual(expected);
  expect(eventSteps()).toEqual(expected);
});

test('a stage that starts over drops what was built on it', () => {
  logSteps('pretrain', 1, 2);
  logSteps('sft', 1, 2);
  logSteps('pretrain', 2, 3, { stage: 'pretrain', step: 1 });
  expect(steps()).toEqual(['pretrain 1', 'pretrain 2', 'pretrain 3']);
  logSteps('pretrain', 1, 1, { stage: 'pretrain', step: 0 });
  expect(steps()).toEqual(['pretrain 1']);
  expect(eventSteps()).toEqual(['pretrain 1']);
});

test('half a line of a killed run is dropped; files of others stay', () => {
  logSteps('sft', 1, 2);
  appendFileSync(join(dir, 'metrics.jsonl'), '{"stage":"sft","st');
  writeFileSync(join(dir, 'events.out.tfevents.1.other-host'), '');
  logSteps('sft', 3, 3);
  expect(steps()).toEqual(['sft 1', 'sft 2', 'sft 3']);
  expect(readdirSync(dir)).toContain('events.out.tfevents.1.other-host');
});

test('what a kill left of events that were being written is removed', () => {
  writeFileSync(join(dir, '.events.out.tfevents.17.my-llm.tmp-1'), 'half');
  logSteps('sft', 1, 1);
  expect(readdirSync(dir).filter((name) => name.includes('tmp'))).toEqual([]);
});
