/**
 * @file How sure the mean of a few measurements is. Three trainings with different seeds are a small sample, whose own
 * scatter tells poorly how much seeds matter; Student's t distribution (Student 1908, "The Probable Error of a Mean") is
 * wider than the normal one by just as much as that costs: ±4.30 standard errors for three, where the normal has ±1.96.
 */

/**
 * The chance that |t| stays below `t` with ν degrees of freedom: the finite series for whole ν of Abramowitz and Stegun
 * (1964), 26.7.3 and 26.7.4, with θ = atan(t / √ν).
 */
function chanceWithin(t: number, degrees: number): number {
  const theta = Math.atan(t / Math.sqrt(degrees));
  const cos2 = Math.cos(theta) ** 2;
  const isOdd = degrees % 2 === 1;
  // 1 + (1/2) cos²θ + (1·3)/(2·4) cos⁴θ + ... for even ν; cos θ (1 + (2/3) cos²θ + ...) for odd ν.
  let term = isOdd ? Math.cos(theta) : 1;
  let sum = degrees === 1 ? 0 : term;
  for (let k = isOdd ? 2 : 1; k < degrees - 2; k += 2) {
    term *= (k / (k + 1)) * cos2;
    sum += term;
  }
  return isOdd ? (2 / Math.PI) * (theta + Math.sin(theta) * sum) : Math.sin(theta) * sum;
}

/** The t of which `share` of the distribution lies within ±t, for a whole number of degrees of freedom. */
export function studentQuantile(degrees: number, share = 0.95): number {
  if (!Number.isInteger(degrees) || degrees < 1) throw new RangeError('degrees of freedom are 1 or more');
  let [low, high] = [0, 1];
  while (chanceWithin(high, degrees) < share) high *= 2;
  for (let halving = 0; halving < 60; halving++) {
    const middle = (low + high) / 2;
    if (chanceWithin(middle, degrees) < share) low = middle;
    else high = middle;
  }
  return high;
}

/** Measurements of the same thing. */
export interface Summary {
  readonly mean: number;
  readonly least: number;
  readonly most: number;
  /** Ends of the 95% interval of the mean. */
  readonly low: number;
  readonly high: number;
}

/** Mean, range, and the interval `mean ± t s/√n`, where s² is the sum of squared deviations over n-1. */
export function summarize(values: readonly number[]): Summary {
  const n = values.length;
  if (n < 2) throw new RangeError('one measurement does not tell how measurements vary');
  const mean = values.reduce((sum, each) => sum + each, 0) / n;
  const variance = values.reduce((sum, each) => sum + (each - mean) ** 2, 0) / (n - 1);
  const half = studentQuantile(n - 1) * Math.sqrt(variance / n);
  return {
    mean,
    least: Math.min(...values),
    most: Math.max(...values),
    low: mean - half,
    high: mean + half,
  };
}
