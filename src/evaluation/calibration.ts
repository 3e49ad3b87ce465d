/**
 * @file Whether a reward model knows how sure it may be. Bradley and Terry read its margin as a probability: `σ(margin)`
 * is how likely the answer with the higher reward is the better one. Where it says 80%, it should be right in 80% of
 * the cases.
 */

/** Bins of confidence, from 1/2 (a coin) to 1. */
const BINS = 10;

/** The chosen answer's reward less the rejected one's as a probability that the chosen one is better. */
export function probabilityOf(margin: number): number {
  return 1 / (1 + Math.exp(-margin));
}

/**
 * Expected calibration error (Naeini et al. 2015; Guo et al. 2017): pairs are sorted into bins by the confidence
 * `σ(|margin|)`, and the distance between mean confidence and share of right pairs is averaged, bins weighted by their
 * pairs. 0 is perfect.
 */
export function calibrationError(margins: readonly number[]): number {
  const bins = Array.from({ length: BINS }, () => ({ count: 0, confidence: 0, right: 0 }));
  for (const margin of margins) {
    const confidence = probabilityOf(Math.abs(margin));
    const bin = bins[Math.min(BINS - 1, Math.floor((confidence - 0.5) * 2 * BINS))];
    bin.count++;
    bin.confidence += confidence;
    if (margin > 0) bin.right++;
  }
  // |mean confidence - accuracy| of a bin times its share of the pairs.
  return bins.reduce((sum, { confidence, right }) => sum + Math.abs(confidence - right), 0) / margins.length;
}

/** Brier's score (1950): the mean of `(1 - σ(margin))²`, 0 at best; a coin has 1/4. */
export function brierScore(margins: readonly number[]): number {
  return margins.reduce((sum, margin) => sum + (1 - probabilityOf(margin)) ** 2, 0) / margins.length;
}
