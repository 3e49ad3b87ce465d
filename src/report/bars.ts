/**
 * @file Shares as bars in an SVG, groups of them side by side, with their intervals. The axis always goes from 0 to 100%:
 * a cut axis makes a small difference look large.
 */

import type { Bar, BarChart } from './document.ts';
import { escapeHtml } from './escape.ts';
import { formatShare } from './wording.ts';

const WIDTH = 520;
const HEIGHT = 250;
const MARGIN = { top: 22, right: 14, bottom: 44, left: 52 };
const BOTTOM = HEIGHT - MARGIN.bottom;
const LINE = 15;
/** Of the width of a group, what its bars take up. */
const FILLED = 0.68;
/** Half the width of the end of an interval. */
const CAP = 5;
const TICKS = [0, 0.25, 0.5, 0.75, 1];

/** The groups as an `<svg>` element. */
export function drawBars({ title, series, groups }: BarChart): string {
  const width = (WIDTH - MARGIN.left - MARGIN.right) / Math.max(1, groups.length);
  const barWidth = (width * FILLED) / Math.max(1, series.length);
  const drawn = groups.map(({ name, bars }, i) => {
    const center = MARGIN.left + (i + 0.5) * width;
    const left = center - (barWidth * bars.length) / 2;
    const each = bars.map((bar, at) => drawBar(bar, at, left + at * barWidth, barWidth));
    return each.join('') + groupName(name, center);
  });
  const axis = `<path class="axis" d="M${MARGIN.left} ${BOTTOM}H${WIDTH - MARGIN.right}"/>`;
  const name = escapeHtml(title);
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${name}"><title>${name}</title>${TICKS.map(tick).join('')}${drawn.join('')}${axis}</svg>`;
}

/** Where a share is in the drawing. */
function heightOf(share: number): number {
  return Math.round(10 * (BOTTOM - share * (BOTTOM - MARGIN.top))) / 10;
}

function tick(share: number): string {
  const at = heightOf(share);
  const line = `<path class="grid" d="M${MARGIN.left} ${at}H${WIDTH - MARGIN.right}"/>`;
  return `${line}<text x="${MARGIN.left - 6}" y="${at + 4}" text-anchor="end">${100 * share}%</text>`;
}

/** A bar, its interval, and its value above both. */
function drawBar({ value, low, high }: Bar, series: number, left: number, width: number): string {
  const [top, from, to] = [value, low, high].map(heightOf);
  const [x, middle, full] = [left + width * 0.06, left + width / 2, width * 0.88].map(
    (each) => Math.round(10 * each) / 10,
  );
  const bar = `<rect class="bar" x="${x}" y="${top}" width="${full}" height="${Math.round(10 * (BOTTOM - top)) / 10}"/>`;
  const ends = [from, to].map((y) => `M${middle - CAP} ${y}h${2 * CAP}`);
  const interval = `<path class="interval" d="M${middle} ${from}V${to}${ends.join('')}"/>`;
  const label = `<text class="value" x="${middle}" y="${Math.min(top, to) - 6}" text-anchor="middle">${formatShare(value)}</text>`;
  return `<g class="series-${series % 4}">${bar}${interval}${label}</g>`;
}

function groupName(name: string, x: number): string {
  const lines = name
    .split('\n')
    .map((line, i) => `<tspan x="${x}" y="${BOTTOM + 17 + i * LINE}">${escapeHtml(line)}</tspan>`);
  return `<text text-anchor="middle">${lines.join('')}</text>`;
}
