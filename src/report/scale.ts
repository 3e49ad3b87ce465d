/** @file The arithmetic of a drawing: round ticks, a calm line through noise, and no more points than can be seen. */

export type Point = readonly [x: number, y: number];

/** Ends of an axis. */
export interface Range {
  readonly low: number;
  readonly high: number;
}

/** From the least to the greatest number, with some room about a single one. */
export function rangeOf(values: readonly number[]): Range {
  if (values.length === 0) return { low: 0, high: 1 };
  const low = values.reduce((least, value) => Math.min(least, value));
  const high = values.reduce((most, value) => Math.max(most, value));
  if (high > low) return { low, high };
  const room = Math.abs(low) / 10 || 1;
  return { low: low - room, high: high + room };
}

/** About `count` round numbers in a range: 1, 2 or 5 times a power of ten apart. */
export function ticksOf({ low, high }: Range, count = 5): number[] {
  const wanted = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(wanted));
  const step = power * ([1, 2, 5].find((times) => times * power >= wanted) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/**
 * Exponential moving average over about `span` points. The weights are normalised, so that the first points are not
 * drawn towards zero; a `span` of 1 gives the points themselves.
 *
 * @param span by default a fortieth of a long run and a quarter of a short one, 6 of those between
 */
export function smooth(points: readonly Point[], span = usualSpan(points.length)): Point[] {
  const keep = 1 - 1 / span;
  let sum = 0;
  let weight = 0;
  return points.map(([x, y]): Point => {
    sum = keep * sum + y;
    weight = keep * weight + 1;
    return [x, sum / weight];
  });
}

function usualSpan(count: number): number {
  return Math.max(1, count / 40, Math.min(6, count / 4));
}

/** At most about `most` points that look the same when drawn: of each stretch, the lowest and the highest. */
export function thin(points: readonly Point[], most: number): Point[] {
  if (points.length <= most) return [...points];
  const stretches = Math.max(1, Math.floor(most / 2));
  return Array.from({ length: stretches }, (_, i) => {
    const edge = (at: number): number => Math.floor((at * points.length) / stretches);
    const stretch = points.slice(edge(i), edge(i + 1));
    const lowest = stretch.reduce((a, b) => (b[1] < a[1] ? b : a));
    const highest = stretch.reduce((a, b) => (b[1] > a[1] ? b : a));
    if (lowest === highest) return [lowest];
    return lowest[0] < highest[0] ? [lowest, highest] : [highest, lowest];
  }).flat();
}

const BARS = '▁▂▃▄▅▆▇█';

/** A curve as a line of text: the mean of each of `width` stretches, from `▁` (lowest) to `█`. */
export function sparkline(points: readonly Point[], width = 24): string {
  const columns = Math.min(width, points.length);
  const means = Array.from({ length: columns }, (_, i) => {
    const edge = (at: number): number => Math.floor((at * points.length) / columns);
    const stretch = points.slice(edge(i), edge(i + 1));
    return stretch.reduce((sum, [, y]) => sum + y, 0) / stretch.length;
  });
  const { low, high } = rangeOf(means);
  return means.map((y) => BARS[Math.round(((y - low) / (high - low)) * (BARS.length - 1))]).join('');
}

/** A number as an axis or a table shows it: four digits that count, no more. */
export function formatNumber(value: number): string {
  if (value !== 0 && (Math.abs(value) >= 1e6 || Math.abs(value) < 1e-4)) return value.toExponential(2);
  return String(Math.abs(value) >= 1000 ? Math.round(value) : Number(value.toPrecision(4)));
}
