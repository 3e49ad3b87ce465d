/** @file A report as one HTML file that needs nothing but itself. */

import { getLanguage } from '../i18n.ts';
import { drawBars } from './bars.ts';
import { drawChart } from './chart.ts';
import type { Block, PaidAnswers, ReportDocument, ShownToken } from './document.ts';
import { escapeHtml } from './escape.ts';
import { STYLE } from './style.ts';
import { describeExpected, formatReward } from './wording.ts';

export function renderHtml({ title, blocks }: ReportDocument): string {
  const headings = blocks.filter((block) => block.kind === 'heading').map(({ text }) => text);
  // The line may end between two links, at the space.
  const links = headings.map((text, i) => `<a href="#part-${i + 1}">${escapeHtml(text)}</a>`).join(' ');
  const lang = getLanguage() === 'zh' ? 'zh-CN' : 'en';
  return `<!doctype html>
<html lang="${lang}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<header><h1>${escapeHtml(title)}</h1><nav>${links}</nav></header>
<main>
${blocks.map((block) => renderBlock(block, headings)).join('\n')}
</main>
</body>
</html>
`;
}

function renderBlock(block: Block, headings: readonly string[]): string {
  switch (block.kind) {
    case 'heading':
      return `<h2 id="part-${headings.indexOf(block.text) + 1}">${escapeHtml(block.text)}</h2>`;
    case 'paragraph':
      return `<p>${escapeHtml(block.text)}</p>`;
    case 'table':
      return renderTable(block.head, block.rows);
    case 'charts':
      return `<div class="charts">${block.charts
        .map((chart) =>
          renderFigure(
            chart.title,
            chart.series.map(({ name }) => name),
            drawChart(chart),
          ),
        )
        .join('\n')}</div>`;
    case 'bars':
      return `<div class="charts">${block.charts.map((chart) => renderFigure(chart.title, chart.series, drawBars(chart))).join('\n')}</div>`;
    case 'tokens':
      return `<div class="tokens">${block.tokens.map(renderToken).join('')}</div>`;
    case 'answers':
      return block.groups.map(renderAnswers).join('\n');
  }
}

const NUMERIC = /^[-+−]?\d[\d.,]*(%|[a-z]+\d*[a-z]*|[kM])?$|^[-–]?$/i;

/** A row with a single cell is the heading of those below it. */
function renderTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const whole = rows.filter((row) => row.length > 1);
  const isNumeric = head.map(
    (_, column) => column > 0 && whole.every((row) => NUMERIC.test((row[column] ?? '').split('\n')[0])),
  );
  const attribute = (column: number): string => (isNumeric[column] ? ' class="number"' : '');
  const heading = head.map((cell, i) => `<th scope="col"${attribute(i)}>${escapeHtml(cell)}</th>`);
  const body = rows.map((row) => {
    if (row.length === 1)
      return `<tr class="group"><td colspan="${head.length}">${escapeHtml(row[0])}</td></tr>`;
    return `<tr>${head.map((_, i) => `<td${attribute(i)}>${escapeHtml(row[i] ?? '')}</td>`).join('')}</tr>`;
  });
  return `<div class="scroll"><table><thead><tr>${heading.join('')}</tr></thead><tbody>${body.join('\n')}</tbody></table></div>`;
}

function renderFigure(title: string, series: readonly string[], drawing: string): string {
  const entries = series.map(
    (name, i) => `<li class="series-${i % 4}"><span>${escapeHtml(name)}</span></li>`,
  );
  const legend = entries.length > 1 ? `<ul class="legend">${entries.join('')}</ul>` : '';
  return `<figure><figcaption>${escapeHtml(title)}</figcaption>${legend}${drawing}</figure>`;
}

function renderToken({ text, learned, endsLine }: ShownToken): string {
  return `<span class="token${learned ? ' learned' : ''}">${escapeHtml(text)}</span>${endsLine ? '<br>' : '<wbr>'}`;
}

function renderAnswers({ question, expected, answers }: PaidAnswers): string {
  const items = answers.map(
    ({ text, reward, right }) =>
      `<li><span class="reward ${right ? 'right' : 'wrong'}">${formatReward(reward)}</span><span class="answer">${escapeHtml(text)}</span></li>`,
  );
  const asked = `${escapeHtml(question)} <span class="faint">${escapeHtml(describeExpected(expected))}</span>`;
  return `<p class="question">${asked}</p><ul class="answers">${items.join('')}</ul>`;
}
