/** @file The options that every command that trains has: the seed, where to compute, how progress is kept. */

import { availableParallelism } from 'node:os';
import type { Command } from 'commander';
import { text } from '../i18n.ts';
import type { DeviceFlags } from './device-options.ts';
import { choice, integer, number } from './options.ts';

/** As commander names them. */
export interface RunFlags extends DeviceFlags {
  readonly seed: number;
  readonly restart?: boolean;
  /** Seconds. */
  readonly saveInterval: number;
}

export function addRunOptions(command: Command): Command {
  return command
    .option(
      '--seed <n>',
      text({ zh: '随机种子', en: 'random seed' }),
      integer({ min: 0, max: 2 ** 31 - 1 }),
      1,
    )
    .option(
      '--device <name>',
      text({ zh: '计算设备：cpu、webgpu 或 cuda', en: 'where to compute: cpu, webgpu or cuda' }),
      choice(['cpu', 'webgpu', 'cuda']),
      'cpu',
    )
    .option(
      '--threads <n>',
      text({ zh: '线程数', en: 'number of threads' }),
      integer({ min: 1, max: 256 }),
      availableParallelism(),
    )
    .option(
      '--save-interval <seconds>',
      text({ zh: '每隔多少秒保存一次进度', en: 'seconds between saves of the progress' }),
      number({ min: 0 }),
      30,
    )
    .option(
      '--restart',
      text({ zh: '重新训练，不使用已有的进度', en: 'train anew, ignoring earlier progress' }),
    );
}
