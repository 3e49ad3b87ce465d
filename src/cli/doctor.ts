/** @file `npm run doctor`: whether this machine is fit for training, and how to mend what is not. */

import { DEFAULT_FOLDER } from '../checkpoint.ts';
import { formatDuration, table } from '../format-text.ts';
import { text } from '../i18n.ts';
import { STAGE_NAMES, STAGES } from '../stages/stage.ts';
import { addThreadsOption } from './device-options.ts';
import { type Diagnosis, diagnose } from './diagnosis.ts';
import { gigabytes } from './memory.ts';
import { createCommand, parseCommand, runCommand } from './options.ts';

function show(found: Diagnosis): void {
  const { node, onnxRuntime, runtime, threads, cores, gflops, freeMemoryBytes, folder, freeDiskBytes } =
    found;
  const yes = text(found.writable ? { zh: '可写', en: 'writable' } : { zh: '不可写', en: 'not writable' });
  console.log(`Node ${node} · ONNX Runtime ${onnxRuntime} (${runtime})`);
  console.log(
    text({
      zh: `${threads} 线程，${cores} 个核心 · 矩阵乘法峰值 ${gflops.toFixed(0)} GFLOP/s`,
      en: `${threads} threads, ${cores} cores · peak of matrix products ${gflops.toFixed(0)} GFLOP/s`,
    }),
  );
  console.log(
    text({
      zh: `空闲内存 ${gigabytes(freeMemoryBytes)} · 空闲磁盘 ${gigabytes(freeDiskBytes)} · ${folder} ${yes}`,
      en: `free memory ${gigabytes(freeMemoryBytes)} · free disk ${gigabytes(freeDiskBytes)} · ${folder} ${yes}`,
    }),
  );
  const head = [
    text({ zh: '估计', en: 'Estimates' }),
    ...STAGES.map((stage) => text(STAGE_NAMES[stage])),
    text({ zh: '总计', en: 'Total' }),
    text({ zh: '内存峰值', en: 'Peak memory' }),
  ];
  const rows = found.presets.map(({ preset, stageSeconds, seconds, peakBytes }) => [
    preset,
    ...STAGES.map((stage) => `≈${formatDuration(stageSeconds[stage])}`),
    `≈${formatDuration(seconds)}`,
    `≈${gigabytes(peakBytes)}`,
  ]);
  console.log(`\n${table([head, ...rows])}\n`);
  const fine = text({ zh: '没有发现问题。', en: 'Everything is in order.' });
  for (const line of found.problems.length === 0 ? [fine] : found.problems) console.log(line);
}

await runCommand(async () => {
  const command = createCommand('doctor', {
    zh: '检查这台机器是否适合训练：运行环境、速度、内存、磁盘，以及各规模的估计用时和内存。',
    en: 'Check whether this machine is fit for training: runtime, speed, memory, disk, and estimates for each size.',
  })
    .option('--json', text({ zh: '只打印一行 JSON', en: 'print one line of JSON' }))
    .option('--out <dir>', text({ zh: '检查点文件夹', en: 'folder for checkpoints' }), DEFAULT_FOLDER);
  addThreadsOption(command);
  const { json, ...options } = await parseCommand<{ json?: boolean; out: string; threads: number }>(command);
  const found = await diagnose(options);
  if (json) console.log(JSON.stringify(found));
  else show(found);
});
