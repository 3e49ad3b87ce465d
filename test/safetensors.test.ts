import { describe, expect, test } from 'vitest';
import { UserError } from '../src/errors.ts';
import { assertFinite, decodeSafetensors, encodeSafetensors } from '../src/safetensors.ts';
import type { NdArray } from '../src/tensor/ndarray.ts';
import { fc } from './support/property.ts';

const f32 = (shape: number[], values: number[]): NdArray => ({
  dtype: 'float32',
  shape,
  data: Float32Array.from(values),
});

/** A file with exactly this header text and this data. */
function file(header: unknown, data: Uint8Array | number[] = []): Uint8Array {
  const json = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  bytes.set(data, 8 + json.length);
  return bytes;
}

const sample: Record<string, NdArray> = {
  flags: { dtype: 'bool', shape: [3], data: Uint8Array.of(1, 0, 1) },
  'h.0.weight': f32([2, 2], [1, -2, 3.5, 0]),
  steps: { dtype: 'int64', shape: [], data: BigInt64Array.of(-(2n ** 60n)) },
  ids: { dtype: 'int32', shape: [1, 2], data: Int32Array.of(-1, 7) },
  empty: f32([0, 4], []),
};

test('what is written is read again, aligned, with metadata', () => {
  const bytes = encodeSafetensors(sample, { stage: '预训练' });
  const headerLength = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  expect(headerLength % 8).toBe(0);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerLength)));
  expect(header.steps.data_offsets).toEqual([0, 8]);
  expect(header.flags.data_offsets).toEqual([32, 35]);
  expect(decodeSafetensors(bytes, 'm')).toEqual({ tensors: sample, metadata: { stage: '预训练' } });
  const shifted = new Uint8Array(bytes.length + 3);
  shifted.set(bytes, 3);
  expect(decodeSafetensors(shifted.subarray(3), 'm').tensors).toEqual(sample);
  expect(decodeSafetensors(encodeSafetensors({}), 'm')).toEqual({ tensors: {}, metadata: {} });
});

test('any tensors, names and metadata survive', () => {
  const array = fc.array(fc.nat(3), { maxLength: 3 }).chain((shape) => {
    const size = shape.reduce((product, length) => product * length, 1);
    return fc
      .array(fc.float({ noNaN: true }), { minLength: size, maxLength: size })
      .map((values) => f32(shape, values));
  });
  const name = fc.string({ unit: 'grapheme' }).filter((each) => each !== '__metadata__');
  fc.assert(
    fc.property(
      fc.array(fc.tuple(name, array)),
      fc.dictionary(fc.string({ unit: 'grapheme' }), fc.string()),
      (list, metadata) => {
        const tensors = Object.fromEntries([...list, ['__proto__', f32([], [1])]]);
        const back = decodeSafetensors(encodeSafetensors(tensors, metadata), 'm');
        expect(Object.entries(back.tensors).sort()).toEqual(Object.entries(tensors).sort());
        expect(Object.entries(back.metadata).sort()).toEqual(Object.entries(metadata).sort());
      },
    ),
    { numRuns: 50 },
  );
});

test('half precision is widened exactly', () => {
  const halves = Uint16Array.of(0x3c00, 0xc000, 0x0001, 0x7bff, 0x8000, 0x7c00, 0x7e00);
  const f16 = file({ a: { dtype: 'F16', shape: [7], data_offsets: [0, 14] } }, new Uint8Array(halves.buffer));
  expect([...decodeSafetensors(f16, 'm').tensors['a'].data]).toEqual([
    1,
    -2,
    2 ** -24,
    65504,
    -0,
    Number.POSITIVE_INFINITY,
    Number.NaN,
  ]);
  const upper = Uint16Array.of(0x3f80, 0xc049, 0x0000);
  const bf16 = file({ a: { dtype: 'BF16', shape: [3], data_offsets: [0, 6] } }, new Uint8Array(upper.buffer));
  expect(decodeSafetensors(bf16, 'm').tensors['a']).toEqual(f32([3], [1, -3.140625, 0]));
});

describe('a file that lies is refused, naming the file and the tensor', () => {
  const entry = (shape: unknown, offsets: unknown, dtype: unknown = 'F32') => ({
    dtype,
    shape,
    data_offsets: offsets,
  });
  const cases: [string, Uint8Array, RegExp][] = [
    ['nothing', new Uint8Array(0), /only 0 bytes/],
    ['a header beyond the file', new Uint8Array(16).fill(255), /header claims/],
    ['no JSON', file('{"a":'), /not valid JSON/],
    ['invalid UTF-8', file('{"a":1}').map((byte) => (byte === 0x61 ? 0xff : byte)), /not valid JSON/],
    ['no object', file('[]'), /not a JSON object/],
    ['a leading space', file(' {}'), /not a JSON object/],
    ['an entry that is no object', file({ a: 3 }), /"a".*type undefined/],
    ['an unknown type', file({ a: entry([1], [0, 8], 'F64') }, new Uint8Array(8)), /"a".*"F64".*F32/],
    ['an inherited name as type', file({ a: entry([1], [0, 8], 'constructor') }, new Uint8Array(8)), /"a"/],
    ['a negative size', file({ a: entry([-1], [0, 4]) }, new Uint8Array(4)), /shape of tensor "a"/],
    ['a fractional size', file({ a: entry([1.5], [0, 6]) }, new Uint8Array(6)), /shape of tensor "a"/],
    [
      'no shape',
      file({ a: { dtype: 'F32', data_offsets: [0, 4] } }, new Uint8Array(4)),
      /shape of tensor "a"/,
    ],
    [
      'an overflowing shape',
      file({ a: entry([2 ** 40, 2 ** 40], [0, 4]) }, new Uint8Array(4)),
      /"a" of shape/,
    ],
    [
      'offsets of the wrong kind',
      file({ a: entry([1], ['0', 4]) }, new Uint8Array(4)),
      /offsets of tensor "a"/,
    ],
    ['offsets backwards', file({ a: entry([1], [4, 0]) }, new Uint8Array(4)), /offsets of tensor "a"/],
    ['three offsets', file({ a: entry([1], [0, 4, 8]) }, new Uint8Array(4)), /offsets of tensor "a"/],
    [
      'a shape against its offsets',
      file({ a: entry([2], [0, 4]) }, new Uint8Array(4)),
      /"a" of shape \[2\] wants 8 bytes/,
    ],
    ['an end beyond the file', file({ a: entry([2], [0, 8]) }, new Uint8Array(4)), /"a" ends 4 bytes beyond/],
    [
      'an overlap',
      file({ a: entry([2], [0, 8]), b: entry([2], [4, 12]) }, new Uint8Array(12)),
      /"b" overlaps/,
    ],
    [
      'the same bytes twice',
      file({ a: entry([1], [0, 4]), b: entry([1], [0, 4]) }, new Uint8Array(4)),
      /overlaps/,
    ],
    [
      'a hole',
      file({ a: entry([1], [0, 4]), b: entry([1], [8, 12]) }, new Uint8Array(12)),
      /"b" follows bytes/,
    ],
    ['bytes at the end', file({ a: entry([1], [0, 4]) }, new Uint8Array(6)), /last 2 bytes/],
    [
      'a name twice',
      file(
        '{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"\\u0061":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}',
      ),
      /"a" occurs twice/,
    ],
    [
      'a field twice',
      file('{"a":{"dtype":"F32","shape":[0],"shape":[0],"data_offsets":[0,0]}}'),
      /"shape" occurs twice/,
    ],
    ['metadata that are no strings', file({ __metadata__: { a: 1 } }), /__metadata__/],
    ['a boolean of 2', file({ a: entry([1], [0, 1], 'BOOL') }, [2]), /boolean tensor "a"/],
  ];
  test.each(cases)('%s', (_, bytes, message) => {
    expect(() => decodeSafetensors(bytes, 'some/model.safetensors')).toThrow(UserError);
    expect(() => decodeSafetensors(bytes, 'some/model.safetensors')).toThrow(message);
    expect(() => decodeSafetensors(bytes, 'some/model.safetensors')).toThrow('some/model.safetensors');
  });
});

/** Decoding either fails as it should, or gives tensors that account for every byte of the data. */
function expectRefusedOrWhole(bytes: Uint8Array): void {
  let tensors: Record<string, NdArray>;
  try {
    tensors = decodeSafetensors(bytes, 'm').tensors;
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    expect((error as Error).message).toContain('m');
    return;
  }
  const headerLength = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerLength)));
  let total = 0;
  for (const [name, { data, shape }] of Object.entries(tensors)) {
    const [begin, end] = header[name].data_offsets;
    expect(shape).toEqual(header[name].shape);
    if (!/F16/.test(header[name].dtype)) {
      const raw = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      expect(raw).toEqual(bytes.slice(8 + headerLength + begin, 8 + headerLength + end));
    }
    total += end - begin;
  }
  expect(total).toBe(bytes.length - 8 - headerLength);
}

test('corrupted bytes, cut files and random headers never crash and never give wrong data', () => {
  const good = encodeSafetensors(sample, { stage: 'x' });
  for (let length = 0; length < good.length; length++) {
    expect(() => decodeSafetensors(good.subarray(0, length), 'm')).toThrow(UserError);
  }
  const edit = fc.tuple(fc.nat(good.length - 1), fc.nat(255));
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
      const bytes = good.slice();
      for (const [index, value] of edits) bytes[index] = value;
      expectRefusedOrWhole(bytes);
    }),
    { numRuns: 1500 },
  );
  const digits = [...new TextDecoder('latin1').decode(good)].flatMap((char, index) =>
    /\d/.test(char) && index > 8 ? [index] : [],
  );
  fc.assert(
    fc.property(fc.constantFrom(...digits), fc.integer({ min: 0x30, max: 0x39 }), (index, digit) => {
      const bytes = good.slice();
      bytes[index] = digit;
      expectRefusedOrWhole(bytes);
    }),
    { numRuns: 500 },
  );
  const entry = fc.record({
    dtype: fc.constantFrom('F32', 'F16', 'I64', 'BOOL', 'U8'),
    shape: fc.array(fc.integer({ min: -1, max: 4 }), { maxLength: 2 }),
    data_offsets: fc.tuple(fc.integer({ min: -2, max: 16 }), fc.integer({ min: -2, max: 16 })),
  });
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.oneof(entry, fc.jsonValue())), fc.nat(16), (header, length) => {
      expectRefusedOrWhole(file(header, new Uint8Array(length)));
    }),
    { numRuns: 1000 },
  );
  fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), expectRefusedOrWhole), { numRuns: 500 });
});

test('writing refuses what would not be read back', () => {
  expect(() => encodeSafetensors({ a: f32([3], [1]) })).toThrow('wants 3');
  expect(() => encodeSafetensors({ __metadata__: f32([], [1]) })).toThrow('__metadata__');
});

test('NaN and infinities in weights are named', () => {
  assertFinite(sample, 'm');
  expect(() => assertFinite({ ok: f32([1], [0]), bad: f32([2], [1, Number.NaN]) }, 'm')).toThrow(
    /"bad" in m holds NaN at index 1/,
  );
  expect(() => assertFinite({ bad: f32([1], [-Infinity]) }, 'm')).toThrow(UserError);
});
