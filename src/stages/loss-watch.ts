/**
 * @file Notices a loss that explodes without becoming NaN: training goes on, and somebody should know.
 *
 * A single bad batch is no cause for alarm. The loss has to stay far above what it was for a while.
 */

import type { Text } from '../i18n.ts';

/** Losses that the running median is taken over. */
const WINDOW = 100;
/** Steps in a row that have to be far above it. */
const PATIENCE = 20;
/** How far: so many times the size of the median, and so many nats more. */
const FACTOR = 3;
const MARGIN = 2;

/**
 * A watch over the losses of one stage, step after step. It says so once when the loss has been above `3 |median| + 2` for
 * 20 steps in a row, the median being that of the steps before; and again only when it has come down in between.
 */
export function createLossWatch(): (step: number, loss: number) => Text | undefined {
  /** The latest losses that were not far above the median. */
  const usual: number[] = [];
  let above = 0;
  return (step, loss) => {
    const limit =
      usual.length < PATIENCE ? Number.POSITIVE_INFINITY : FACTOR * Math.abs(median(usual)) + MARGIN;
    if (loss <= limit) {
      above = 0;
      usual.push(loss);
      if (usual.length > WINDOW) usual.shift();
      return undefined;
    }
    above++;
    if (above !== PATIENCE) return undefined;
    const [now, before] = [loss, median(usual)].map((value) => value.toFixed(2));
    return {
      zh: `损失从第 ${step - PATIENCE + 1} 步起一直远高于之前（现在 ${now}，之前的中位数 ${before}）；如果它不再降下来，请按 Ctrl-C，调低 --lr 后重新运行。`,
      en: `Since step ${step - PATIENCE + 1} the loss has been far above what it was (${now} now, a median of ${before} before); if it does not come down, press Ctrl-C, lower --lr and run again.`,
    };
  };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
