/** @file One generic test over all primitives: reference against ONNX Runtime, gradient against finite differences. */

import { describe, expect, it } from 'vitest';
import { gradients } from '../src/tensor/grad.ts';
import type { NdArray } from '../src/tensor/ndarray.ts';
import { applyAll, type Primitive } from '../src/tensor/primitive.ts';
import * as elementwise from '../src/tensor/primitives/elementwise.ts';
import * as fused from '../src/tensor/primitives/fused.ts';
import * as indexOps from '../src/tensor/primitives/index-ops.ts';
import * as matmul from '../src/tensor/primitives/matmul.ts';
import * as movement from '../src/tensor/primitives/movement.ts';
import * as quantized from '../src/tensor/primitives/quantized.ts';
import * as random from '../src/tensor/primitives/random.ts';
import * as reduce from '../src/tensor/primitives/reduce.ts';
import { sampleArray } from '../src/tensor/primitives/samples.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { interpret } from '../src/tensor/runtime/reference.ts';
import { fromNdArray, type Tensor } from '../src/tensor/tensor.ts';
import { trace } from '../src/tensor/trace.ts';
import { expectClose, expectSameArray } from './support/close.ts';

const isPrimitive = (value: unknown): value is Primitive<unknown> =>
  typeof value === 'object' && value !== null && 'onnx' in value && 'reference' in value;

const primitives = [elementwise, reduce, movement, matmul, quantized, indexOps, random, fused]
  .flatMap((family) => Object.values(family) as unknown[])
  .filter(isPrimitive);

const named = (inputs: readonly NdArray[]): Record<string, NdArray> =>
  Object.fromEntries(inputs.map((input, i) => [`x${i}`, input]));

/** A scalar that depends on every element of every float output in a different way. */
function project(outputs: readonly Tensor[]): Tensor {
  return outputs
    .filter(({ dtype }) => dtype === 'float32')
    .map((output, i) => output.mul(fromNdArray(sampleArray(output.shape, [0.5, 1.5], 100 + i))).sum())
    .reduce((a, b) => a.add(b));
}

/** Outputs through which a primitive propagates gradients. */
function differentiableOutputs(primitive: Primitive<unknown>, outputs: readonly Tensor[]): readonly Tensor[] {
  return primitive.name === 'layerNorm' || primitive.name === 'crossEntropy' ? outputs.slice(0, 1) : outputs;
}

const runtime = createNodeRuntime({ threads: 2 });

it('finds every primitive once', () => {
  expect(primitives.length).toBeGreaterThanOrEqual(40);
  expect(new Set(primitives.map(({ name }) => name)).size).toBe(primitives.length);
});

describe.each(primitives.map((primitive) => [primitive.name, primitive] as const))('%s', (_, primitive) => {
  const samples = primitive.samples();

  it('has samples', () => expect(samples.length).toBeGreaterThan(0));

  it('gives the same on ONNX Runtime as its reference', async () => {
    for (const { inputs, attributes } of samples) {
      const feeds = named(inputs);
      const graph = trace(feeds, (symbolic) =>
        Object.fromEntries(
          applyAll(
            primitive,
            inputs.map((_, i) => symbolic[`x${i}`]),
            attributes,
          ).map((output, i) => [`y${i}`, output]),
        ),
      );
      const expected = interpret(graph, feeds);
      const executable = await (await runtime).compile(graph);
      const actual = await executable.run(feeds);
      for (const name of Object.keys(expected)) {
        expectSameArray(
          actual[name],
          expected[name],
          { relative: 1e-5, absolute: 2e-6 },
          `${primitive.name} ${name}`,
        );
      }
      await executable.release();
    }
  });

  it.runIf(primitive.vjp)('has the gradient that finite differences give', async () => {
    for (const { inputs, attributes } of samples) {
      const feeds = named(inputs);
      const isVariable = inputs.map(
        ({ dtype }, i) => dtype === 'float32' && !(primitive.name === 'rotary' && i >= 2),
      );
      const graph = trace(feeds, (symbolic) => {
        const tensors = inputs.map((_, i) => symbolic[`x${i}`]);
        const outputs = differentiableOutputs(primitive, applyAll(primitive, tensors, attributes));
        if (outputs[0].dtype !== 'float32') return {};
        const loss = project(outputs);
        const wrt = tensors.filter((_, i) => isVariable[i]);
        const results = gradients(loss, wrt);
        return Object.fromEntries([['loss', loss], ...results.map((g, i) => [`g${i}`, g])]);
      });
      if (!('loss' in graph.outputs)) continue;
      const analytic = interpret(graph, feeds);
      const lossAt = (changed: Record<string, NdArray>): number => {
        // Double precision for the difference: run the reference on the eager path and sum in double.
        const tensors = inputs.map((_, i) => fromNdArray(changed[`x${i}`]));
        return differentiableOutputs(primitive, applyAll(primitive, tensors, attributes)).reduce(
          (total, output, k) => {
            const weights = sampleArray(output.shape, [0.5, 1.5], 100 + k).data as Float32Array;
            return total + weights.reduce((sum, w, j) => sum + w * Number(output.data[j]), 0);
          },
          0,
        );
      };
      let slot = 0;
      inputs.forEach((input, i) => {
        if (!isVariable[i]) return;
        const numeric = Array.from(input.data as Float32Array, (value, j) => {
          const step = 4e-3;
          const at = (x: number): number => {
            const data = Float32Array.from(input.data as Float32Array);
            data[j] = x;
            return lossAt({ ...feeds, [`x${i}`]: { ...input, data } });
          };
          return (at(value + step) - at(value - step)) / (2 * step);
        });
        expectClose(
          analytic[`g${slot++}`].data,
          numeric,
          { relative: 2e-3, absolute: 1e-3 },
          `${primitive.name} x${i}`,
        );
      });
      const executable = await (await runtime).compile(graph);
      const native = await executable.run(feeds);
      for (const name of Object.keys(analytic)) {
        expectSameArray(
          native[name],
          analytic[name],
          { relative: 1e-4, absolute: 1e-5 },
          `${primitive.name} ${name}`,
        );
      }
      await executable.release();
    }
  });
});

describe('expectClose', () => {
  it('fails when it should', () => {
    expect(() => expectClose([1], [1.1])).toThrow(/element 0/);
    expect(() => expectClose([1, 2], [1])).toThrow(/length/);
    expect(() => expectClose([Number.NaN], [1])).toThrow(/element 0/);
    expect(() => expectClose([1], [Number.NaN])).toThrow(/element 0/);
    expectClose([1.0000001], [1]);
  });
});
