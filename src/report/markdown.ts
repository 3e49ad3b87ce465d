/** @file A report as Markdown, for where no browser is: curves become lines of text. */

import { text } from '../i18n.ts';
import type { Bar, BarChart, Block, Chart, ReportDocument } from './document.ts';
import { escapeMarkdown } from './escape.ts';
import { formatNumber, sparkline } from './scale.ts';
import { describeExpected, formatReward, formatShare } from './wording.ts';

export function renderMarkdown({ title, blocks }: ReportDocument): string {
  return `${[`# ${escapeMarkdown(title)}`, ...blocks.map(renderBlock)].join('\n\n')}\n`;
}

function renderBlock(block: Block): string {
  switch (block.kind) {
    case 'heading':
      return `## ${escapeMarkdown(block.text)}`;
    case 'paragraph':
      return escapeMarkdown(block.text);
    case 'table':
      return renderTable(block.head, block.rows);
    case 'charts':
      return renderTable(...curveTable(block.charts));
    case 'bars':
      return block.charts.map(renderBars).join('\n\n');
    case 'tokens':
      return block.tokens
        .map((token) => {
          const shown = escapeMarkdown(token.text);
          return `${token.learned ? `⟦${shown}⟧` : shown}${token.endsLine ? '<br>' : ' '}`;
        })
        .join('')
        .trimEnd();
    case 'answers':
      return block.groups
        .map(({ question, expected, answers }) => {
          const items = answers.map((each) => `- ${formatReward(each.reward)} ${escapeMarkdown(each.text)}`);
          return `${escapeMarkdown(`${question} ${describeExpected(expected)}`)}\n\n${items.join('\n')}`;
        })
        .join('\n\n');
  }
}

/** Bars as a table: a row for each group, a column for each series. */
function renderBars({ title, series, groups }: BarChart): string {
  const shown = ({ value, low, high }: Bar): string => {
    const [middle, from, to] = [value, low, high].map(formatShare);
    return `${middle} [${from}, ${to}]`;
  };
  return renderTable(
    [title, ...series],
    groups.map(({ name, bars }) => [name, ...bars.map(shown)]),
  );
}

/** Heading and rows of a table of curves: where each began and ended, and its shape. */
export function curveTable(charts: readonly Chart[]): [head: string[], rows: string[][]] {
  const head = [
    text({ zh: '曲线', en: 'Curve' }),
    text({ zh: '开始', en: 'First' }),
    text({ zh: '结束', en: 'Last' }),
    text({ zh: '形状', en: 'Shape' }),
  ];
  const rows = charts.flatMap(({ title, series }) =>
    series
      .filter(({ points }) => points.length > 0)
      .map(({ name, points }) => [
        series.length > 1 ? `${title}: ${name}` : title,
        formatNumber(points[0][1]),
        formatNumber(points[points.length - 1][1]),
        sparkline(points),
      ]),
  );
  return [head, rows];
}

function renderTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${head.map((_, i) => escapeMarkdown(cells[i] ?? '')).join(' | ')} |`;
  return [line(head), `|${head.map(() => ' --- |').join('')}`, ...rows.map(line)].join('\n');
}
