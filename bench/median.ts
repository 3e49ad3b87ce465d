/** @file The middle of some measurements: one slow one does not move it. */

/** The upper of the two in the middle where there is an even number of values. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}
