/** @file The report that a training run ends with. */

import { text } from '../i18n.ts';
import { type ReportOptions, writeReport } from '../report/write.ts';
import { print } from './training-report.ts';

/** Write the report and say where it is; where that fails, say so on stderr: the run is not lost by it. */
export async function reportRun(options: ReportOptions): Promise<void> {
  try {
    const path = await writeReport(options);
    print({ zh: `训练报告：${path}`, en: `Report of the training: ${path}` });
  } catch (error) {
    const [reason] = (error instanceof Error ? error.message : String(error)).split('\n');
    process.stderr.write(
      text({
        zh: `没能写出训练报告（${reason}）；检查点都完好，可以用 npm run report -- --out ${options.out} 再试。\n`,
        en: `The report could not be written (${reason}); the checkpoints are intact, npm run report -- --out ${options.out} tries again.\n`,
      }),
    );
  }
}
