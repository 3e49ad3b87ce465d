/** @file TensorBoard event files: protocol buffers (`tensorflow/core/util/event.proto`) in TFRecord framing. */

import protobuf from 'protobufjs/minimal.js';

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

/** Wire types and field keys of protocol buffers. */
const [VARINT, FIXED64, DELIMITED, FIXED32] = [0, 1, 2, 5];
const tag = (field: number, wireType: number): number => (field << 3) | wireType;

/** `Event { double wall_time = 1; string file_version = 3 }`, the first record of an event file. */
export function versionEvent(seconds: number): Uint8Array {
  const writer = protobuf.Writer.create();
  writer.uint32(tag(1, FIXED64)).double(seconds);
  writer.uint32(tag(3, DELIMITED)).string('brain.Event:2');
  return tfRecord(writer.finish());
}

/**
 * `Event { double wall_time = 1; int64 step = 2; Summary summary = 5 }` with
 * `Summary { repeated Value value = 1 }` and `Value { string tag = 1; float simple_value = 2 }`, as a record.
 */
export function summaryEvent(
  seconds: number,
  step: number,
  scalars: readonly (readonly [name: string, value: number])[],
): Uint8Array {
  const writer = protobuf.Writer.create();
  writer.uint32(tag(1, FIXED64)).double(seconds);
  writer.uint32(tag(2, VARINT)).int64(step);
  writer.uint32(tag(5, DELIMITED)).fork();
  for (const [name, value] of scalars) {
    writer.uint32(tag(1, DELIMITED)).fork();
    writer.uint32(tag(1, DELIMITED)).string(name);
    writer.uint32(tag(2, FIXED32)).float(value);
    writer.ldelim();
  }
  return tfRecord(writer.ldelim().finish());
}
