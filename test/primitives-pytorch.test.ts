/**
 * @file Every differentiable primitive and its gradient against PyTorch, on both runtimes. The numbers come from
 * `scripts/fixtures/primitives.py`.
 */

import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { gradients } from '../src/tensor/grad.ts';
import { allocate, type DType, type NdArray, sizeOf } from '../src/tensor/ndarray.ts';
import { applyAll, type Primitive } from '../src/tensor/primitive.ts';
import * as elementwise from '../src/tensor/primitives/elementwise.ts';
import * as fused from '../src/tensor/primitives/fused.ts';
import * as indexOps from '../src/tensor/primitives/index-ops.ts';
import * as matmul from '../src/tensor/primitives/matmul.ts';
import * as movement from '../src/tensor/primitives/movement.ts';
import * as reduce from '../src/tensor/primitives/reduce.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import type { Runtime } from '../src/tensor/runtime/onnx-session.ts';
import { interpret } from '../src/tensor/runtime/reference.ts';
import { fromNdArray, type Tensor } from '../src/tensor/tensor.ts';
import { type Graph, trace } from '../src/tensor/trace.ts';
import { expectSameArray } from './support/close.ts';

interface StoredArray {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: readonly number[];
}

/** See the header of `scripts/fixtures/primitives.py`. */
interface Case {
  readonly primitive: string;
  readonly attributes: unknown;
  readonly inputs: readonly StoredArray[];
  readonly outputs: readonly StoredArray[];
  readonly weights: readonly (readonly number[] | null)[];
  readonly gradients: readonly (readonly number[] | null)[];
}

const { cases } = JSON.parse(
  readFileSync(new URL('./fixtures/primitives.json', import.meta.url), 'utf8'),
) as { cases: Case[] };

const isPrimitive = (value: unknown): value is Primitive<unknown> =>
  typeof value === 'object' && value !== null && 'onnx' in value && 'reference' in value;

const primitives = new Map(
  [elementwise, reduce, movement, matmul, indexOps, fused]
    .flatMap((family) => Object.values(family) as unknown[])
    .filter(isPrimitive)
    .map((primitive) => [primitive.name, primitive]),
);

function toNdArray({ dtype, shape, data }: StoredArray): NdArray {
  const storage = allocate(dtype, sizeOf(shape));
  for (let i = 0; i < storage.length; i++) {
    if (storage instanceof BigInt64Array) storage[i] = BigInt(data[i]);
    else storage[i] = data[i];
  }
  return { dtype, shape, data: storage };
}

/** Outputs `y0, y1, ...` of a case, and `g0, g1, ...` for the inputs whose gradient PyTorch gave. */
function build(stored: Case, feeds: Readonly<Record<string, NdArray>>): Graph {
  return trace(feeds, (symbolic) => {
    const inputs = stored.inputs.map((_, i) => symbolic[`x${i}`]);
    const primitive = primitives.get(stored.primitive)!;
    const outputs = applyAll(primitive, inputs, stored.attributes ?? undefined);
    const results: Record<string, Tensor> = {};
    let loss: Tensor | undefined;
    outputs.forEach((output, i) => {
      results[`y${i}`] = output;
      const weights = stored.weights[i];
      if (!weights) return;
      const term = output.mul(fromNdArray(toNdArray({ ...output, dtype: 'float32', data: weights }))).sum();
      loss = loss ? loss.add(term) : term;
    });
    const variables = inputs.flatMap((_, i) => (stored.gradients[i] ? [i] : []));
    if (loss && variables.length > 0) {
      const found = gradients(
        loss,
        variables.map((i) => inputs[i]),
      );
      variables.forEach((i, k) => {
        results[`g${i}`] = found[k];
      });
    }
    return results;
  });
}

/** What PyTorch gave, under the names that `build` uses. */
function expectedOf(stored: Case): Record<string, NdArray> {
  const expected: Record<string, NdArray> = {};
  stored.outputs.forEach((output, i) => {
    expected[`y${i}`] = toNdArray(output);
  });
  stored.gradients.forEach((data, i) => {
    if (data) expected[`g${i}`] = toNdArray({ ...stored.inputs[i], data });
  });
  return expected;
}

let runtime: Runtime;
beforeAll(async () => {
  runtime = await createNodeRuntime({ threads: 1 });
});

const byName = new Map<string, Case[]>();
for (const one of cases) byName.set(one.primitive, [...(byName.get(one.primitive) ?? []), one]);

it('has fixtures for the primitives that exist', () => {
  expect([...byName.keys()].filter((name) => !primitives.has(name))).toEqual([]);
  expect(byName.size).toBeGreaterThanOrEqual(38);
  // A gradient that is missing from the fixtures would never be compared.
  for (const [name, stored] of byName) {
    expect(
      stored.some((one) => one.gradients.some((gradient) => gradient !== null)),
      name,
    ).toBe(true);
  }
});

describe.each([...byName])('%s', (name, stored) => {
  it.each(stored.map((one, i) => [i, one] as const))('agrees with PyTorch, case %i', async (i, one) => {
    const feeds = Object.fromEntries(one.inputs.map((input, k) => [`x${k}`, toNdArray(input)]));
    const graph = build(one, feeds);
    const expected = expectedOf(one);
    const executable = await runtime.compile(graph);
    const results = { reference: interpret(graph, feeds), onnx: await executable.run(feeds) };
    await executable.release();
    for (const [engine, actual] of Object.entries(results)) {
      expect(Object.keys(actual).sort(), engine).toEqual(Object.keys(expected).sort());
      for (const key of Object.keys(expected)) {
        expectSameArray(
          actual[key],
          expected[key],
          { relative: 1e-4, absolute: 2e-6 },
          `${name} case ${i}: ${key} on the ${engine}`,
        );
      }
    }
  });
});
