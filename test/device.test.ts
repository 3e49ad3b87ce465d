import { expect, test, vi } from 'vitest';
import { openRuntime } from '../src/cli/device.ts';
import { setLanguage } from '../src/i18n.ts';
import { gemm, type NdArray, trace } from '../src/tensor/index.ts';

vi.mock('node:module', async (original) => {
  const module = await original<typeof import('node:module')>();
  return {
    ...module,
    createRequire(from: string | URL) {
      const require = module.createRequire(from);
      return (name: string) => {
        if (name === 'onnxruntime-node') throw new Error('no build for this system\nRequire stack: ...');
        return require(name);
      };
    },
  };
});

test('where there is no native library, WebAssembly computes, and one line says so', async () => {
  setLanguage('en');
  const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  const runtime = await openRuntime({ threads: 1 });
  const lines = said.mock.calls.map(([line]) => line);
  said.mockRestore();
  expect(lines).toEqual([expect.stringMatching(/^[^\n]*no build for this system[^\n]*WebAssembly[^\n]*\n$/)]);
  expect(runtime.name).toBe('onnxruntime-web');
  const a: NdArray = { dtype: 'float32', shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) };
  const executable = await runtime.compile(trace({ a }, (inputs) => ({ c: gemm(inputs.a, inputs.a) })));
  const { c } = await executable.run({ a });
  expect([...c.data]).toEqual([7, 10, 15, 22]);
  await executable.release();
});
