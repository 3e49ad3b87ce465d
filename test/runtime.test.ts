import type { InferenceSession } from 'onnxruntime-common';
import { expect, test, vi } from 'vitest';
import { gemm, type NdArray, trace } from '../src/tensor/index.ts';
import { createNodeRuntime, type RuntimeOptions } from '../src/tensor/runtime/node.ts';

const asked: (InferenceSession.SessionOptions | undefined)[] = [];

/** The native library itself, which also tells what sessions were asked for. */
vi.mock('node:module', async (original) => {
  const module = await original<typeof import('node:module')>();
  return {
    ...module,
    createRequire(from: string | URL) {
      const require = module.createRequire(from);
      return (name: string) => {
        const ort = require(name);
        const create = (model: Uint8Array, options?: InferenceSession.SessionOptions) => {
          asked.push(options);
          return ort.InferenceSession.create(model, options);
        };
        return { Tensor: ort.Tensor, InferenceSession: { create } };
      };
    },
  };
});

test('threads spin unless they are told not to, and compute the same', async () => {
  const a: NdArray = {
    dtype: 'float32',
    shape: [64, 64],
    data: new Float32Array(64 * 64).map((_, i) => i % 7),
  };
  const product = async (options: RuntimeOptions): Promise<NdArray> => {
    const runtime = await createNodeRuntime({ threads: 2, ...options });
    const executable = await runtime.compile(trace({ a }, (inputs) => ({ c: gemm(inputs.a, inputs.a) })));
    const { c } = await executable.run({ a });
    await executable.release();
    return c;
  };
  expect(await product({ spinning: false })).toEqual(await product({}));
  const session = (allow_spinning: string) => ({
    extra: { session: { set_denormal_as_zero: '1', intra_op: { allow_spinning } } },
  });
  expect(asked).toMatchObject([session('0'), session('1')]);
});
