/** @file `--threads` and `--device`, for every command that runs a model. */

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
  return command
    .option(
      '--threads <n>',
      text({ zh: '线程数；0 自动选择', en: 'number of threads; 0 chooses' }),
      integer({ min: 0 }),
      0,
    )
    .option(
      '--device <name>',
      text({ zh: '运行设备：cpu、webgpu 或 cuda', en: 'where to run: cpu, webgpu or cuda' }),
      choice(['cpu', 'webgpu', 'cuda']),
      'cpu',
    );
}
