/** @file What the generators share: drawing a question of a split whose working gives no held-out fact away. */

import { type Fact, factKey } from '../arithmetic.ts';
import { isHeldOut, isInSplit, type Split } from '../tasks.ts';

/** What is asked, whatever the words. */
export interface Asked {
  /** The fact by which the split is decided. */
  readonly key: string;
  /** Sums and products that the working shows. */
  readonly steps?: readonly Fact[];
}

/**
 * Draw until something of the split comes. A step of its working must not be held out itself: 34×7 would else teach
 * the sum 21+2 to a model that is examined on it.
 */
export function drawInSplit<T extends Asked>(split: Split, draw: () => T): T {
  for (;;) {
    const asked = draw();
    if (!isInSplit(asked.key, split)) continue;
    if (split === 'heldOut' || (asked.steps ?? []).every((step) => !isHeldOut(factKey(step)))) return asked;
  }
}
