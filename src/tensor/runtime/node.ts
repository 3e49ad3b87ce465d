/** @file Chooses ONNX Runtime for Node: native kernels, or WebAssembly where no native build exists. */

import { createRequire } from 'node:module';
import { createOnnxRuntime, type OrtModule, type Runtime } from './onnx-session.ts';

export type Device = 'cpu' | 'webgpu' | 'cuda';

export interface RuntimeOptions {
  readonly device?: Device;
  /** Threads for the kernels; 0 lets ONNX Runtime choose (one per physical core). */
  readonly threads?: number;
  /**
   * Whether threads wait in a loop for the next piece of a kernel, which is fastest while they have the cores to
   * themselves, and takes the cores from whoever else needs them; true when not given.
   */
  readonly spinning?: boolean;
}

const require = createRequire(import.meta.url);

/**
 * A runtime for this machine. Falls back to WebAssembly, and calls `onFallback` with the reason, where the native
 * library has no build (macOS on Intel).
 */
export async function createNodeRuntime(
  options: RuntimeOptions = {},
  onFallback: (reason: string) => void = () => {},
): Promise<Runtime> {
  const { device = 'cpu', threads = 0, spinning = true } = options;
  // The native library would report its use to its maker over the network; training here is nobody else's business.
  process.env['ORT_DISABLE_TELEMETRY'] = '1';
  let ort: OrtModule;
  try {
    ort = require('onnxruntime-node') as OrtModule;
  } catch (error) {
    onFallback(error instanceof Error ? error.message.split('\n')[0] : String(error));
    const web = require('onnxruntime-web') as OrtModule & { env: { wasm: { numThreads?: number } } };
    if (threads > 0) web.env.wasm.numThreads = threads;
    return createOnnxRuntime(web, {
      name: 'onnxruntime-web',
      session: { executionProviders: ['wasm'] },
      writesInPlace: false,
    });
  }
  return createOnnxRuntime(ort, {
    name: `onnxruntime-node/${device}`,
    writesInPlace: true,
    session: {
      executionProviders: device === 'cpu' ? ['cpu'] : [device, 'cpu'],
      intraOpNumThreads: threads,
      graphOptimizationLevel: 'all',
      // Without the pattern planner, peak memory of a training step is 40% lower at the same speed.
      enableMemPattern: false,
      logSeverityLevel: 3,
      // Optimiser states decay towards zero; denormal numbers would slow every step down.
      extra: { session: { set_denormal_as_zero: '1', intra_op: { allow_spinning: spinning ? '1' : '0' } } },
    },
  });
}
