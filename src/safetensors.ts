/**
 * @file Weights as a safetensors file: 8 bytes of header length, a JSON header, then the raw numbers.
 *
 * The format is that of https://github.com/huggingface/safetensors (little-endian, row-major, no holes), so other
 * programs open what is written here. Nothing in a file is believed before it is checked: a header that lies about
 * its offsets ends in a `UserError`, never in wrong weights.
 */

import { UserError } from './errors.ts';
import type { DType, NdArray } from './tensor/ndarray.ts';
import { sizeOf } from './tensor/ndarray.ts';

const LENGTH_BYTES = 8;
/** The limit of the reference implementation. */
const MAX_HEADER_BYTES = 100_000_000;
const METADATA = '__metadata__';

const WRITTEN_AS: Record<DType, { name: string; bytes: number }> = {
  int64: { name: 'I64', bytes: 8 },
  float32: { name: 'F32', bytes: 4 },
  int32: { name: 'I32', bytes: 4 },
  int8: { name: 'I8', bytes: 1 },
  bool: { name: 'BOOL', bytes: 1 },
};

/** How the numbers of each type in a file are read. Half precision is widened to float32, which loses nothing. */
const READ_AS: Record<string, { dtype: DType; bytes: number; read: (raw: ArrayBuffer) => NdArray['data'] }> =
  {
    F32: { dtype: 'float32', bytes: 4, read: (raw) => new Float32Array(raw) },
    F16: { dtype: 'float32', bytes: 2, read: (raw) => Float32Array.from(new Uint16Array(raw), widenFloat16) },
    BF16: { dtype: 'float32', bytes: 2, read: (raw) => widenBfloat16(new Uint16Array(raw)) },
    I64: { dtype: 'int64', bytes: 8, read: (raw) => new BigInt64Array(raw) },
    I32: { dtype: 'int32', bytes: 4, read: (raw) => new Int32Array(raw) },
    I8: { dtype: 'int8', bytes: 1, read: (raw) => new Int8Array(raw) },
    BOOL: { dtype: 'bool', bytes: 1, read: (raw) => new Uint8Array(raw) },
  };

/** IEEE 754 half precision (1 sign, 5 exponent, 10 fraction bits) as a number. */
function widenFloat16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** bfloat16 is the upper half of a float32. */
function widenBfloat16(halves: Uint16Array): Float32Array {
  return new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);
}

/**
 * The bytes of a safetensors file. Wider types come first and the header is padded with spaces to 8 bytes, so every
 * tensor is aligned to its own element size.
 * @throws Error where `data` does not hold the elements of `shape`, or a name is not storable
 */
export function encodeSafetensors(
  tensors: Record<string, NdArray>,
  metadata: Record<string, string> = {},
): Uint8Array {
  const entries = Object.entries(tensors);
  entries.sort(([, a], [, b]) => WRITTEN_AS[b.dtype].bytes - WRITTEN_AS[a.dtype].bytes);
  const header: [string, unknown][] = Object.keys(metadata).length > 0 ? [[METADATA, metadata]] : [];
  let end = 0;
  for (const [name, { dtype, shape, data }] of entries) {
    if (name === METADATA) throw new Error(`a tensor cannot be named ${METADATA}`);
    if (data.length !== sizeOf(shape)) {
      throw new Error(`${name} has ${data.length} elements, its shape [${shape}] wants ${sizeOf(shape)}`);
    }
    const begin = end;
    end += data.byteLength;
    header.push([name, { dtype: WRITTEN_AS[dtype].name, shape, data_offsets: [begin, end] }]);
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(header)));
  const headerBytes = Math.ceil(json.length / 8) * 8;
  const bytes = new Uint8Array(LENGTH_BYTES + headerBytes + end);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(headerBytes), true);
  bytes.fill(0x20, LENGTH_BYTES, LENGTH_BYTES + headerBytes);
  bytes.set(json, LENGTH_BYTES);
  let offset = LENGTH_BYTES + headerBytes;
  for (const [, { data }] of entries) {
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), offset);
    offset += data.byteLength;
  }
  return bytes;
}

/** A damaged file is never repaired in place: the remedy is another copy of it. */
function damaged(source: string, zh: string, en: string): UserError {
  return new UserError({
    zh: `${source} 已损坏或不是 safetensors 文件：${zh}；请重新生成或重新复制这个文件`,
    en: `${source} is damaged or not a safetensors file: ${en}; create it or copy it again`,
  });
}

/** A key that occurs twice in one object of a JSON text that is known to be valid. */
function findDuplicateKey(json: string): string | undefined {
  const objects: Set<string>[] = [];
  for (const [token, , colon] of json.matchAll(/"(?:[^"\\]|\\.)*"(\s*(:))?|[{}]/g)) {
    if (token === '{') objects.push(new Set());
    else if (token === '}') objects.pop();
    else if (colon) {
      const key = JSON.parse(token.slice(0, token.lastIndexOf('"') + 1)) as string;
      if (objects.at(-1)?.has(key)) return key;
      objects.at(-1)?.add(key);
    }
  }
  return undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function readHeader(
  bytes: Uint8Array,
  source: string,
): { header: Record<string, unknown>; dataStart: number } {
  if (bytes.length < LENGTH_BYTES) {
    throw damaged(source, `只有 ${bytes.length} 字节`, `it has only ${bytes.length} bytes`);
  }
  const length = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  if (length > BigInt(Math.min(MAX_HEADER_BYTES, bytes.length - LENGTH_BYTES))) {
    throw damaged(
      source,
      `文件头声称有 ${length} 字节，而文件共有 ${bytes.length} 字节`,
      `its header claims ${length} bytes, the file has ${bytes.length}`,
    );
  }
  const dataStart = LENGTH_BYTES + Number(length);
  const headerBytes = bytes.subarray(LENGTH_BYTES, dataStart);
  let json = '';
  let header: unknown;
  try {
    json = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(headerBytes);
    header = JSON.parse(json);
  } catch {
    throw damaged(source, '文件头不是合法的 JSON', 'its header is not valid JSON');
  }
  if (!isObject(header) || !json.startsWith('{')) {
    throw damaged(source, '文件头不是 JSON 对象', 'its header is not a JSON object');
  }
  const duplicate = findDuplicateKey(json);
  if (duplicate !== undefined) {
    throw damaged(source, `名字 "${duplicate}" 出现了两次`, `the name "${duplicate}" occurs twice`);
  }
  return { header, dataStart };
}

interface Entry {
  readonly name: string;
  readonly type: string;
  readonly shape: number[];
  readonly begin: number;
  readonly end: number;
}

/** One entry of the header, with its type known, and its shape and offsets in agreement. */
function readEntry(name: string, value: unknown, source: string): Entry {
  const { dtype, shape, data_offsets: offsets } = isObject(value) ? value : {};
  if (typeof dtype !== 'string' || !Object.hasOwn(READ_AS, dtype)) {
    const known = Object.keys(READ_AS).join(', ');
    throw new UserError({
      zh: `${source} 中张量 "${name}" 的类型 ${JSON.stringify(dtype)} 不受支持；请转换为以下类型之一：${known}`,
      en: `tensor "${name}" in ${source} has the type ${JSON.stringify(dtype)}, which is not supported; convert it to one of ${known}`,
    });
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    throw damaged(source, `张量 "${name}" 的形状不合法`, `the shape of tensor "${name}" is not valid`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount) || offsets[0] > offsets[1]) {
    throw damaged(source, `张量 "${name}" 的偏移不合法`, `the offsets of tensor "${name}" are not valid`);
  }
  const [begin, end] = offsets;
  const wanted = sizeOf(shape) * READ_AS[dtype].bytes;
  // A product beyond 2^53 is inexact, but then far beyond any real file too.
  if (wanted !== end - begin) {
    throw damaged(
      source,
      `张量 "${name}" 的形状 [${shape}] 需要 ${wanted} 字节，偏移却给出 ${end - begin} 字节`,
      `tensor "${name}" of shape [${shape}] wants ${wanted} bytes, its offsets give ${end - begin}`,
    );
  }
  return { name, type: dtype, shape, begin, end };
}

/** The tensors must cover the data exactly: no overlap, no hole, nothing beyond the end. */
function checkLayout(entries: readonly Entry[], dataBytes: number, source: string): void {
  let covered = 0;
  for (const { name, begin, end } of entries.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== covered) {
      const zh = begin < covered ? '与另一个张量重叠' : '之前有一段不属于任何张量的字节';
      const en = begin < covered ? 'overlaps another tensor' : 'follows bytes that belong to no tensor';
      throw damaged(source, `张量 "${name}" ${zh}`, `tensor "${name}" ${en}`);
    }
    if (end > dataBytes) {
      throw damaged(
        source,
        `张量 "${name}" 超出了文件末尾 ${end - dataBytes} 字节（文件不完整）`,
        `tensor "${name}" ends ${end - dataBytes} bytes beyond the file (the file is cut short)`,
      );
    }
    covered = end;
  }
  if (covered !== dataBytes) {
    throw damaged(
      source,
      `末尾有 ${dataBytes - covered} 字节不属于任何张量`,
      `its last ${dataBytes - covered} bytes belong to no tensor`,
    );
  }
}

function readMetadata(value: unknown, source: string): Record<string, string> {
  if (value === undefined) return {};
  if (!isObject(value) || !Object.values(value).every((each) => typeof each === 'string')) {
    throw damaged(source, `${METADATA} 不是字符串的表`, `${METADATA} is not a map of strings`);
  }
  return value as Record<string, string>;
}

/**
 * Read a safetensors file. The arrays are copies, so `bytes` may be let go.
 * @param source the name of the file in messages
 * @throws UserError that names `source`, and the tensor where there is one, when anything does not agree
 */
export function decodeSafetensors(
  bytes: Uint8Array,
  source: string,
): { tensors: Record<string, NdArray>; metadata: Record<string, string> } {
  const { header, dataStart } = readHeader(bytes, source);
  const { [METADATA]: rawMetadata, ...rest } = header;
  const metadata = readMetadata(rawMetadata, source);
  const entries = Object.entries(rest).map(([name, value]) => readEntry(name, value, source));
  checkLayout(entries, bytes.length - dataStart, source);
  const tensors = entries.map(({ name, type, shape, begin, end }): [string, NdArray] => {
    const { dtype, read } = READ_AS[type];
    const raw = new Uint8Array(end - begin);
    raw.set(bytes.subarray(dataStart + begin, dataStart + end));
    if (dtype === 'bool' && raw.some((value) => value > 1)) {
      throw damaged(
        source,
        `布尔张量 "${name}" 含有 0 和 1 以外的值`,
        `the boolean tensor "${name}" holds values other than 0 and 1`,
      );
    }
    return [name, { dtype, shape, data: read(raw.buffer) }];
  });
  // `fromEntries` defines properties, so a tensor named `__proto__` is only a name.
  return { tensors: Object.fromEntries(tensors), metadata };
}

/** @throws UserError that names the first tensor with a NaN or an infinity */
export function assertFinite(tensors: Record<string, NdArray>, source: string): void {
  for (const [name, { dtype, data }] of Object.entries(tensors)) {
    if (dtype !== 'float32') continue;
    const values = data as Float32Array;
    for (let index = 0; index < values.length; index++) {
      if (Number.isFinite(values[index])) continue;
      throw new UserError({
        zh: `${source} 中张量 "${name}" 的第 ${index} 个值是 ${values[index]}；权重已坏，请换用更早的检查点，或用更小的 --lr 重新训练`,
        en: `tensor "${name}" in ${source} holds ${values[index]} at index ${index}; the weights are broken, use an earlier checkpoint or train again with a smaller --lr`,
      });
    }
  }
}
