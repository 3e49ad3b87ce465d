/**
 * @file From a graph to an ONNX model, as bytes that any ONNX runtime loads.
 *
 * An ONNX file is one protocol-buffer message, `ModelProto` (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto);
 * the numbers below are its field tags.
 */

import protobuf from 'protobufjs/minimal.js';
import type { DType, NdArray, Shape, TypedArray } from '../ndarray.ts';
import type { Tensor } from '../tensor.ts';
import type { Graph } from '../trace.ts';

/** `TensorProto.DataType` of each element type. */
const ELEMENT_TYPE: Record<DType, number> = { float32: 1, int8: 3, int32: 6, int64: 7, bool: 9 };

const IR_VERSION = 9;
const OPSET_VERSION = 20;

/** An attribute: whole number, list of whole numbers, text, or (marked, because 1 and 1.0 look alike) a float. */
export type OnnxAttribute = number | readonly number[] | string | { readonly float: number };

/** What a primitive's lowering may emit. */
export interface OnnxBuilder {
  /** Add a node; returns the names of its outputs. */
  node(
    op: string,
    inputs: readonly string[],
    attributes?: Readonly<Record<string, OnnxAttribute>>,
    options?: { readonly outputs?: number; readonly domain?: 'com.microsoft' },
  ): string[];
  /** A constant array. */
  constant(array: NdArray): string;
  /** A float32 scalar. */
  scalar(value: number): string;
  /** A one-dimensional int64 constant: a shape, axes, sizes. */
  ints(values: readonly number[]): string;
  /** The number by which ONNX names an element type. */
  elementType(dtype: DType): number;
}

type Writer = protobuf.Writer;

/** Write a nested message under a field number. */
function message(writer: Writer, field: number, write: (writer: Writer) => void): void {
  writer.uint32((field << 3) | 2).fork();
  write(writer);
  writer.ldelim();
}

const text = (writer: Writer, field: number, value: string): Writer =>
  writer.uint32((field << 3) | 2).string(value);
const whole = (writer: Writer, field: number, value: number): Writer =>
  writer.uint32(field << 3).int64(value);

function writeAttribute(writer: Writer, name: string, value: OnnxAttribute): void {
  text(writer, 1, name);
  if (typeof value === 'number') {
    whole(writer, 3, value);
    whole(writer, 20, 2);
  } else if (typeof value === 'string') {
    text(writer, 4, value);
    whole(writer, 20, 3);
  } else if ('float' in value) {
    writer.uint32((2 << 3) | 5).float(value.float);
    whole(writer, 20, 1);
  } else {
    for (const item of value) whole(writer, 8, item);
    whole(writer, 20, 7);
  }
}

/** A constant that is handed over beside the model, in the storage that it has, instead of being copied into it. */
export interface ExternalConstant {
  /** The name by which the model asks for it. */
  readonly path: string;
  readonly data: Uint8Array;
}

/** Constants of so many bytes and more stay outside the model. */
const EXTERNAL_BYTES = 1024;

function writeTensor(
  writer: Writer,
  name: string,
  { dtype, shape, data }: NdArray,
): ExternalConstant | undefined {
  for (const length of shape) whole(writer, 1, length);
  whole(writer, 2, ELEMENT_TYPE[dtype]);
  text(writer, 8, name);
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  if (bytes.length < EXTERNAL_BYTES) {
    writer.uint32((9 << 3) | 2).bytes(bytes);
    return undefined;
  }
  message(writer, 13, (entry) => text(text(entry, 1, 'location'), 2, name));
  whole(writer, 14, 1);
  return { path: name, data: bytes };
}

function writeValueInfo(writer: Writer, name: string, dtype: DType, shape: Shape): void {
  text(writer, 1, name);
  message(writer, 2, (type) =>
    message(type, 1, (tensorType) => {
      whole(tensorType, 1, ELEMENT_TYPE[dtype]);
      message(tensorType, 2, (shapeProto) => {
        for (const length of shape) message(shapeProto, 1, (dimension) => whole(dimension, 1, length));
      });
    }),
  );
}

interface OnnxNode {
  readonly op: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, OnnxAttribute>>;
}

/** Name of an output in the model: its own, or, where an input already has it (a state before and after), `next:` it. */
export function outputName(graph: Graph, name: string): string {
  return name in graph.inputs ? `next:${name}` : name;
}

/** Lower a graph to the bytes of an ONNX model. Inputs and outputs keep their names (see `outputName`). */
export function toOnnx(graph: Graph): {
  readonly model: Uint8Array;
  readonly external: readonly ExternalConstant[];
} {
  const nodes: OnnxNode[] = [];
  const constants: { name: string; array: NdArray }[] = [];
  const names = new Map<Tensor, string>();
  const known = new Map<string, string>();
  const storages = new Map<TypedArray, number>();
  let count = 0;

  const builder: OnnxBuilder = {
    node(op, inputs, attributes = {}, { outputs = 1, domain = '' as string } = {}) {
      const results = Array.from({ length: outputs }, () => `v${count++}`);
      nodes.push({ op, domain, inputs, outputs: results, attributes });
      return results;
    },
    constant(array) {
      const { dtype, shape, data } = array;
      // Small constants are shared by content, large ones by identity.
      if (!storages.has(data)) storages.set(data, storages.size);
      const key = `${dtype}|${shape}|${data.length <= 16 ? data : `#${storages.get(data)}`}`;
      let name = known.get(key);
      if (!name) {
        name = `c${count++}`;
        constants.push({ name, array });
        known.set(key, name);
      }
      return name;
    },
    scalar: (value) => builder.constant({ dtype: 'float32', shape: [], data: Float32Array.of(value) }),
    ints: (values) =>
      builder.constant({ dtype: 'int64', shape: [values.length], data: BigInt64Array.from(values, BigInt) }),
    elementType: (dtype) => ELEMENT_TYPE[dtype],
  };
  const nameOf = (tensor: Tensor): string => {
    let name = names.get(tensor);
    if (name === undefined) {
      if ('inputName' in tensor.source) name = tensor.source.inputName;
      else name = builder.constant(tensor.value);
      names.set(tensor, name);
    }
    return name;
  };

  for (const { primitive, attributes, inputs, outputs } of graph.nodes) {
    const results = primitive.onnx(builder, inputs.map(nameOf), attributes, { inputs, outputs });
    outputs.forEach((output, i) => {
      names.set(output, results[i]);
    });
  }
  // A result takes the name of the output it is; one that is also an input, a constant or another output is copied.
  const renamed = new Map<string, string>();
  const computed = new Set(nodes.flatMap(({ outputs }) => outputs));
  for (const [name, output] of Object.entries(graph.outputs)) {
    const from = nameOf(output);
    const to = outputName(graph, name);
    if (computed.has(from) && !renamed.has(from)) renamed.set(from, to);
    else nodes.push({ op: 'Identity', domain: '', inputs: [from], outputs: [to], attributes: {} });
  }
  const final = (name: string): string => renamed.get(name) ?? name;

  const external: ExternalConstant[] = [];
  const writer = protobuf.Writer.create();
  whole(writer, 1, IR_VERSION);
  text(writer, 2, 'my-llm');
  message(writer, 7, (g) => {
    for (const node of nodes) {
      message(g, 1, (n) => {
        for (const input of node.inputs) text(n, 1, final(input));
        for (const output of node.outputs) text(n, 2, final(output));
        text(n, 4, node.op);
        for (const [name, value] of Object.entries(node.attributes)) {
          message(n, 5, (attribute) => writeAttribute(attribute, name, value));
        }
        if (node.domain) text(n, 7, node.domain);
      });
    }
    text(g, 2, 'graph');
    for (const { name, array } of constants) {
      message(g, 5, (t) => {
        const outside = writeTensor(t, name, array);
        if (outside) external.push(outside);
      });
    }
    for (const [name, { dtype, shape }] of Object.entries(graph.inputs)) {
      message(g, 11, (info) => writeValueInfo(info, name, dtype, shape));
    }
    for (const [name, { dtype, shape }] of Object.entries(graph.outputs)) {
      message(g, 12, (info) => writeValueInfo(info, outputName(graph, name), dtype, shape));
    }
  });
  for (const [domain, version] of [
    ['', OPSET_VERSION],
    ['com.microsoft', 1],
  ] as const) {
    message(writer, 8, (opset) => {
      text(opset, 1, domain);
      whole(opset, 2, version);
    });
  }
  return { model: writer.finish(), external };
}
