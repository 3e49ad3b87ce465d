/** @file `--threads` and `--device`, for every command that runs a model. */

import { availableParallelism } from 'node:os';
import type { Command } from 'commander';
import { text } from '../i18n.ts';
import type { Device } from '../tensor/runtime/node.ts';
import { choice, integer } from './options.ts';

/** As commander names them. */
export interface DeviceFlags {
  readonly threads: number;
  readonly device: Device;
}

export function addDeviceOptions(command: Command): Command {
  return addDeviceOption(
    command.option(
      '--threads <n>',
      text({ zh: '线程数；0 自动选择', en: 'number of threads; 0 chooses' }),
      integer({ min: 0 }),
      0,
    ),
  );
}

/** Where the number of threads has to be known beforehand, as to foretell how long a training takes: all, unless told. */
export function addThreadsOption(command: Command): Command {
  return command.option(
    '--threads <n>',
    text({ zh: '线程数', en: 'number of threads' }),
    integer({ min: 1, max: 256 }),
    availableParallelism(),
  );
}

export function addDeviceOption(command: Command): Command {
  return command.option(
    '--device <name>',
    text({ zh: '计算设备：cpu、webgpu 或 cuda', en: 'where to compute: cpu, webgpu or cuda' }),
    choice(['cpu', 'webgpu', 'cuda']),
    'cpu',
  );
}
