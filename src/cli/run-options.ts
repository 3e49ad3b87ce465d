/** @file The options of every command that trains: the seed, and how progress is kept. */

import type { Command } from 'commander';
import { text } from '../i18n.ts';
import type { DeviceFlags } from './device-options.ts';
import { integer, number } from './options.ts';

/** As commander names them; the device has options of its own. */
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
