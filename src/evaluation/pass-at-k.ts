/** @file pass@k: the chance that at least one of k answers is right. */

/**
 * The unbiased estimate of pass@k from n answers of which c are right (Chen et al. 2021, "Evaluating Large Language
 * Models Trained on Code"): one minus the share of the choices of k answers that hold none of the right ones,
 * `1 - C(n - c, k) / C(n, k)`. Taking `1 - (1 - c/n)^k` instead would be too low.
 */
export function passAtK(n: number, c: number, k: number): number {
  if (!(k >= 1 && k <= n && c >= 0 && c <= n)) throw new RangeError(`no pass@${k} from ${c} of ${n} answers`);
  let allWrong = 1;
  for (let i = 0; i < k; i++) allWrong *= Math.max(0, n - c - i) / (n - i);
  return 1 - allWrong;
}
