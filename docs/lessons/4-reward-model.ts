/** @file The worked example of lesson 4: `npx tsx docs/lessons/4-reward-model.ts` */

import { bradleyTerryLoss } from '../../src/stages/reward-model.ts';
import { tensor } from '../../src/tensor/index.ts';

console.log('chosen - rejected, P(chosen wins), loss, slope of the loss');
for (const margin of [-2, -1, 0, 1, 2, 4]) {
  const probability = 1 / (1 + Math.exp(-margin));
  const loss = bradleyTerryLoss(tensor([margin, 0], [2])).loss.item();
  console.log([margin, probability.toFixed(3), loss.toFixed(3), (probability - 1).toFixed(3)].join('  '));
}

// Three pairs: the chosen answers first, then the rejected ones.
const { loss, accuracy, margin } = bradleyTerryLoss(tensor([1.5, 0.2, -0.4, 0.5, 0.6, -1.4], [6]));
console.log(
  `loss ${loss.item().toFixed(3)}, accuracy ${accuracy.item().toFixed(3)}, margin ${margin.item().toFixed(3)}`,
);
const shifted = bradleyTerryLoss(tensor([101.5, 100.2, 99.6, 100.5, 100.6, 98.6], [6]));
console.log(`all rewards 100 higher: loss ${shifted.loss.item().toFixed(3)}`);
