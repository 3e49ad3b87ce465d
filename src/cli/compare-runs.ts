/**
 * @file `npm run compare`: what differs between two runs.
 *
 *     npm run compare -- RUN_A RUN_B                        # tables in the terminal
 *     npm run compare -- RUN_A RUN_B --output compared.html # and one file with the curves over each other
 *     npm run compare -- RUN/previous RUN                   # with the run before it in the same folder
 */

import { writeFileAtomic } from '../files.ts';
import { table } from '../format-text.ts';
import { text } from '../i18n.ts';
import { compareRuns } from '../report/comparison.ts';
import type { Block } from '../report/document.ts';
import { renderHtml } from '../report/html.ts';
import { curveTable } from '../report/markdown.ts';
import { readRunToCompare } from '../report/run-record.ts';
import { createCommand, parseCommand, runCommand } from './options.ts';
import { withoutControls } from './terminal.ts';

function run(a: string, b: string, { output }: { readonly output?: string }): void {
  const document = compareRuns(readRunToCompare(a), readRunToCompare(b));
  console.log([document.title, ...document.blocks.map(shown)].map(withoutControls).join('\n\n'));
  if (output === undefined) return;
  writeFileAtomic(output, renderHtml(document));
  console.log(`\n${text({ zh: `已写入 ${output}`, en: `Written to ${output}` })}`);
}

/** A block of a comparison in a terminal. */
function shown(block: Block): string {
  switch (block.kind) {
    case 'heading':
      return `— ${block.text} —`;
    case 'table':
      return table([block.head, ...block.rows]);
    case 'charts': {
      const [head, rows] = curveTable(block.charts);
      return table([head, ...rows]);
    }
    case 'paragraph':
      return block.text;
    default:
      throw new Error(`a comparison has no ${block.kind}`);
  }
}

await runCommand(async () => {
  const command = createCommand('compare', {
    zh: '比较两次训练：不同的设置、并排的指标、叠在一起的曲线',
    en: 'Compare two training runs: settings that differ, figures side by side, curves over each other',
  })
    .usage(text({ zh: '<文件夹A> <文件夹B> [选项]', en: '<run-a> <run-b> [options]' }))
    .argument('<run-a>', text({ zh: '一次训练的检查点文件夹', en: 'folder of the checkpoints of a run' }))
    .argument('<run-b>', text({ zh: '另一次训练的检查点文件夹', en: 'folder of the checkpoints of another' }))
    .option(
      '--output <file>',
      text({
        zh: '另写一个 HTML 文件，含叠在一起的曲线',
        en: 'also write an HTML file with the curves over each other',
      }),
    );
  await parseCommand(command.action(run));
});
