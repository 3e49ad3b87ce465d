/** @file The runtime that `--device` and `--threads` ask for, or one sentence that says why it cannot be had. */

import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { UserError } from '../errors.ts';
import { text } from '../i18n.ts';
import { type Runtime, tensor, trace } from '../tensor/index.ts';
import { createNodeRuntime, type Device, type RuntimeOptions } from '../tensor/runtime/node.ts';

/**
 * A runtime that works: a first small graph has run on the device. Where only WebAssembly can be had, stderr says so.
 *
 * @throws UserError that names the device where the libraries, the driver or the hardware are missing
 */
export async function openRuntime(options: RuntimeOptions): Promise<Runtime> {
  const { device = 'cpu' } = options;
  if (device === 'cuda' && !hasCudaLibraries()) {
    throw new UserError({
      zh: '--device cuda 需要没有随包安装的 CUDA 库；请先运行 node node_modules/onnxruntime-node/script/install --onnxruntime-node-install=cuda12，或改用 --device cpu',
      en: '--device cuda needs CUDA libraries that are not installed; run node node_modules/onnxruntime-node/script/install --onnxruntime-node-install=cuda12 first, or use --device cpu',
    });
  }
  const runtime = await createNodeRuntime(options, (reason) => {
    process.stderr.write(
      text({
        zh: `没有可用的 onnxruntime-node（${reason}），改用较慢的 WebAssembly。\n`,
        en: `onnxruntime-node cannot be used (${reason}); going on with WebAssembly, which is slower.\n`,
      }),
    );
  });
  if (device !== 'cpu') await tryDevice(runtime, device);
  return runtime;
}

async function tryDevice(runtime: Runtime, device: Device): Promise<void> {
  try {
    const graph = trace({ x: { dtype: 'float32', shape: [2] } }, ({ x }) => ({
      y: x.add(tensor([1, 2], [2])),
    }));
    const executable = await runtime.compile(graph);
    await executable.run({ x: { dtype: 'float32', shape: [2], data: new Float32Array(2) } });
    await executable.release();
  } catch (error) {
    // The last sentence of the library's report is the one that says something.
    const reason = (error instanceof Error ? error.message : String(error)).trim().split('. ').at(-1);
    throw new UserError({
      zh: `--device ${device} 在这台机器上不能用（${reason}）；请检查驱动，或改用 --device cpu`,
      en: `--device ${device} cannot be used on this machine (${reason}); check the driver, or use --device cpu`,
    });
  }
}

/** ONNX Runtime would report their absence in several lines of its own before it fails. */
function hasCudaLibraries(): boolean {
  try {
    const folder = dirname(createRequire(import.meta.url).resolve('onnxruntime-node/package.json'));
    const files = readdirSync(join(folder, 'bin'), { recursive: true });
    return files.some((file) => /onnxruntime_providers_cuda\.(so|dll)$/.test(String(file)));
  } catch {
    return false;
  }
}
