/** @file Whether this machine is fit for training, and how to mend what is not. */

import { accessSync, constants, existsSync, statfsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, cpus } from 'node:os';
import { dirname, resolve } from 'node:path';
import { PRESETS, type PresetName } from '../config.ts';
import { type Text, text } from '../i18n.ts';
import { RECIPES } from '../recipes.ts';
import { STAGES, type StageName } from '../stages/stage.ts';
import { openRuntime } from './device.ts';
import { estimateStages, measureGemm } from './estimate.ts';
import { estimatePeak, gigabytes, warnOfMemory } from './memory.ts';
import { loadData } from './training-data.ts';

/** Bytes that the checkpoints and the progress of `mini` take, with room to spare. */
const DISK_NEEDED = 1e9;

interface PresetOutlook {
  readonly preset: PresetName;
  /** Estimates. */
  readonly stageSeconds: Readonly<Record<StageName, number>>;
  readonly seconds: number;
  readonly peakBytes: number;
  /** Where that is more than is free. */
  readonly memoryWarning?: Text;
}

export interface Diagnosis {
  readonly node: string;
  readonly onnxRuntime: string;
  readonly runtime: string;
  readonly threads: number;
  readonly cores: number;
  /** Peak of matrix products, measured. */
  readonly gflops: number;
  readonly freeMemoryBytes: number;
  readonly folder: string;
  /** At the checkpoints folder. */
  readonly freeDiskBytes: number;
  readonly writable: boolean;
  readonly presets: readonly PresetOutlook[];
  /** One sentence with the fix for each thing that is not right. */
  readonly problems: readonly string[];
}

/** The folder itself, or the nearest one above it that exists. */
function existing(folder: string): string {
  const path = resolve(folder);
  return existsSync(path) || dirname(path) === path ? path : existing(dirname(path));
}

function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

export async function diagnose(options: {
  readonly out: string;
  readonly threads: number;
}): Promise<Diagnosis> {
  const { out, threads } = options;
  const runtime = await openRuntime({ threads });
  const gflops = await measureGemm(runtime);
  const freeMemoryBytes = process.availableMemory();
  const data = loadData([]);
  const presets = (Object.keys(PRESETS) as PresetName[]).map((preset) => {
    const [config, recipe] = [PRESETS[preset], RECIPES[preset]];
    const stageSeconds = estimateStages({ config, recipe, data, gflops });
    const seconds = Object.values(stageSeconds).reduce((sum, each) => sum + each, 0);
    const needs = { config, recipe, stages: STAGES };
    return {
      preset,
      stageSeconds,
      seconds,
      peakBytes: estimatePeak(needs).bytes,
      memoryWarning: warnOfMemory(needs, freeMemoryBytes),
    };
  });
  const place = existing(out);
  const { bavail, bsize } = statfsSync(place);
  const found = {
    node: process.versions.node,
    onnxRuntime: String(createRequire(import.meta.url)('onnxruntime-node/package.json').version),
    runtime: runtime.name,
    threads,
    cores: cpus().length,
    gflops,
    freeMemoryBytes,
    folder: resolve(out),
    freeDiskBytes: bavail * bsize,
    writable: isWritable(place),
    presets,
  };
  return { ...found, problems: findProblems(found) };
}

/** What is not right, each in one sentence with its fix. */
export function findProblems(found: Omit<Diagnosis, 'problems'>): string[] {
  const { node, runtime, threads, folder, freeDiskBytes, writable, presets } = found;
  const problems: string[] = [];
  const tell = (zh: string, en: string): void => void problems.push(text({ zh, en }));
  const [major, minor] = node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19))
    tell(
      `Node ${node} 太旧；请安装 20.19 或更新的版本。`,
      `Node ${node} is too old; install 20.19 or later.`,
    );
  if (runtime === 'onnxruntime-web') {
    tell(
      '没有原生的 ONNX Runtime，改用了较慢的 WebAssembly；请重新运行 npm install，或换一台有原生版本的机器。',
      'There is no native ONNX Runtime, and WebAssembly is slower; run npm install again, or use a machine that has one.',
    );
  }
  const usable = availableParallelism();
  if (threads > usable) {
    tell(
      `--threads ${threads} 多于可用的 ${usable} 个核心，会更慢；请改用 --threads ${usable}。`,
      `--threads ${threads} is more than the ${usable} cores that can be used, which is slower; give --threads ${usable}.`,
    );
  }
  for (const { preset, memoryWarning } of presets) {
    if (memoryWarning) tell(`${preset}：${memoryWarning.zh}`, `${preset}: ${memoryWarning.en}`);
  }
  if (freeDiskBytes < DISK_NEEDED) {
    tell(
      `${folder} 所在的磁盘只剩 ${gigabytes(freeDiskBytes)}；请清出 ${gigabytes(DISK_NEEDED)}，或用 --out 换一个磁盘。`,
      `Only ${gigabytes(freeDiskBytes)} are free on the disk of ${folder}; make room for ${gigabytes(DISK_NEEDED)}, or name another disk with --out.`,
    );
  }
  if (!writable) {
    tell(
      `${folder} 不可写；请修改它的权限，或用 --out 指定别的文件夹。`,
      `${folder} cannot be written to; change its permissions, or name another folder with --out.`,
    );
  }
  return problems;
}
