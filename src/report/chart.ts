/**
 * @file Curves as SVG. A drawing needs little: a range for each axis, a rule that takes values to places, ticks, and for
 * each series a path. Colours are the page's CSS variables, so that a drawing follows its theme.
 */

import type { Chart, Series } from './document.ts';
import { escapeHtml } from './escape.ts';
import { formatNumber, type Point, rangeOf, smooth, thin, ticksOf } from './scale.ts';

const WIDTH = 520;
const HEIGHT = 240;
const MARGIN = { top: 12, right: 14, bottom: 40, left: 52 };
/** Points of a line: more than two for each unit of width cannot be told apart. */
const MOST_POINTS = 2 * WIDTH;

/** Takes a value on each axis to its place in the drawing. */
interface Frame {
  readonly x: (value: number) => number;
  readonly y: (value: number) => number;
}

/** A chart as an `<svg>` element. Values that are no finite numbers are left out. */
export function drawChart({ title, x: label, series }: Chart): string {
  const finite = series.map((each) => ({
    ...each,
    points: each.points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y)),
  }));
  const all = finite.flatMap(({ points }) => points);
  const [xRange, yRange] = [rangeOf(all.map(([x]) => x)), rangeOf(all.map(([, y]) => y))];
  const place = (low: number, high: number, from: number, to: number) => (value: number) =>
    from + ((value - low) / (high - low)) * (to - from);
  const frame: Frame = {
    x: place(xRange.low, xRange.high, MARGIN.left, WIDTH - MARGIN.right),
    y: place(yRange.low, yRange.high, HEIGHT - MARGIN.bottom, MARGIN.top),
  };
  const parts = [
    ...ticksOf(yRange).map((value) => horizontalTick(value, frame)),
    ...ticksOf(xRange).map((value) => verticalTick(value, frame)),
    axes(label),
    ...finite.map((each, i) => drawSeries(each, i, frame)),
  ];
  const name = escapeHtml(title);
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${name}"><title>${name}</title>${parts.join('')}</svg>`;
}

function axes(label: string): string {
  const [left, bottom] = [MARGIN.left, HEIGHT - MARGIN.bottom];
  const path = `M${left} ${MARGIN.top}V${bottom}H${WIDTH - MARGIN.right}`;
  const x = (left + WIDTH - MARGIN.right) / 2;
  return `<path class="axis" d="${path}"/><text x="${x}" y="${HEIGHT - 6}" text-anchor="middle">${escapeHtml(label)}</text>`;
}

function horizontalTick(value: number, { y }: Frame): string {
  const at = round(y(value));
  const line = `<path class="grid" d="M${MARGIN.left} ${at}H${WIDTH - MARGIN.right}"/>`;
  return `${line}<text x="${MARGIN.left - 6}" y="${at + 4}" text-anchor="end">${formatNumber(value)}</text>`;
}

function verticalTick(value: number, { x }: Frame): string {
  const at = round(x(value));
  const bottom = HEIGHT - MARGIN.bottom;
  const line = `<path class="axis" d="M${at} ${bottom}v4"/>`;
  return `${line}<text x="${at}" y="${bottom + 17}" text-anchor="middle">${formatNumber(value)}</text>`;
}

/** A series: its values pale and their moving average over them, or a dot for each value. */
function drawSeries({ points, form }: Series, index: number, frame: Frame): string {
  const color = `series-${index % 4}`;
  if (form === 'marks') {
    const dots = points.map(
      ([x, y]) => `<circle cx="${round(frame.x(x))}" cy="${round(frame.y(y))}" r="4"/>`,
    );
    return `<g class="${color}">${dots.join('')}</g>`;
  }
  const raw = `<path class="raw" d="${pathOf(thin(points, MOST_POINTS), frame)}"/>`;
  return `<g class="${color}">${raw}<path class="smooth" d="${pathOf(thin(smooth(points), MOST_POINTS), frame)}"/></g>`;
}

function pathOf(points: readonly Point[], { x, y }: Frame): string {
  return points.map(([px, py], i) => `${i === 0 ? 'M' : 'L'}${round(x(px))} ${round(y(py))}`).join('');
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
