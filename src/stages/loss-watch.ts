/**
 * @file Notices a loss that explodes without becoming NaN.
 *
 * Losses are noisy, and a single bad batch is no cause for alarm: somebody is told when the loss has stayed far above what
 * it was. But a loss that leaps beyond anything that was seen lately will not come back, and each further step would only
 * replace a saved state that is still good.
 */

import type { Text } from '../i18n.ts';

/** The latest losses that are remembered. */
const WINDOW = 100;
/** Steps in a row that have to be high before somebody is told. */
const PATIENCE = 20;

export interface LossWatch {
  /** The latest losses that were not high, oldest first: what a resumed run goes on from. */
  readonly usual: readonly number[];
  /** Take in the loss of a step. */
  see(step: number, loss: number): Verdict;
}

export interface Verdict {
  /** Told once, when the loss has been high for 20 steps in a row, and again only when it has come down in between. */
  readonly note?: Text;
  /** The loss is beyond anything that was seen, by far: training has to end. */
  readonly diverged?: { readonly step: number; readonly loss: number; readonly median: number };
}

/**
 * A watch over the losses of one stage. High is what is above `3 |median| + 2`, once there are 20 losses. Diverged is what
 * is above `4 max|loss| + 8`: for a language model, which begins near `ln V`, far worse than knowing nothing.
 */
export function createLossWatch(resumed: readonly number[] = []): LossWatch {
  const usual = [...resumed];
  let high = 0;
  return {
    usual,
    see(step, loss) {
      const before = median(usual);
      if (usual.length > 0 && loss > 4 * Math.max(...usual.map(Math.abs)) + 8)
        return { diverged: { step, loss, median: before } };
      if (usual.length < PATIENCE || loss <= 3 * Math.abs(before) + 2) {
        high = 0;
        usual.push(loss);
        if (usual.length > WINDOW) usual.shift();
        return {};
      }
      high++;
      return high === PATIENCE ? { note: describeHigh(step, loss, before) } : {};
    },
  };
}

function describeHigh(step: number, loss: number, median: number): Text {
  const first = step - PATIENCE + 1;
  const [now, before] = [loss, median].map((value) => value.toFixed(2));
  return {
    zh: `损失从第 ${first} 步起一直远高于之前（现在 ${now}，之前的中位数 ${before}）；如果它不再降下来，请按 Ctrl-C，调低 --lr 后重新运行。`,
    en: `Since step ${first} the loss has been far above what it was (${now} now, a median of ${before} before); if it does not come down, press Ctrl-C, lower --lr and run again.`,
  };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
