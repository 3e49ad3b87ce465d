/**
 * @file `npm run report`: the report of a run, as `npm start` writes it at its end.
 *
 *     npm run report                     # of checkpoints/
 *     npm run report -- --out my-run
 */

import { DEFAULT_FOLDER } from '../checkpoint.ts';
import { text } from '../i18n.ts';
import { writeReport } from '../report/write.ts';
import { openRuntime } from './device.ts';
import { addDeviceOptions, type DeviceFlags } from './device-options.ts';
import { collect, createCommand, parseCommand, runCommand } from './options.ts';
import { addFillOption } from './placeholders.ts';
import { loadData } from './training-data.ts';
import { loadVerifiers } from './verifiers.ts';

interface Options extends DeviceFlags {
  readonly out: string;
  readonly data: readonly string[];
  readonly fill: readonly string[];
  readonly verifiers: readonly string[];
}

async function run(options: Options): Promise<void> {
  const { out } = options;
  await loadVerifiers(options.verifiers);
  const data = loadData(options.data, options.fill);
  const path = await writeReport({ runtime: await openRuntime(options), out, data });
  console.log(text({ zh: `报告已写入 ${path}`, en: `The report is in ${path}` }));
}

await runCommand(async () => {
  const command = createCommand('report', {
    zh: '为一次训练生成报告：report.html（一个文件，不用联网）和 report.md',
    en: 'Make the report of a training run: report.html (one file, no network) and report.md',
  })
    .option(
      '--out <dir>',
      text({ zh: '检查点所在的文件夹', en: 'folder of the checkpoints' }),
      DEFAULT_FOLDER,
    )
    .option(
      '--data <[stage=]file...>',
      text({
        zh: '训练时用过的自己的数据，写法与训练相同',
        en: 'your own data, if it was trained on, given as in training',
      }),
      collect,
      [],
    )
    .option(
      '--verifiers <file...>',
      text({
        zh: '训练时用过的自己的验证器，写法与训练相同',
        en: 'your own verifiers, if they were used, given as in training',
      }),
      collect,
      [],
    );
  await parseCommand(addDeviceOptions(addFillOption(command)).action(run));
});
