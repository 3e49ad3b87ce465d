/** @file The worked example of lesson 5: `npx tsx docs/lessons/5-rlhf.ts` */

import { dpoObjective } from '../../src/stages/dpo.ts';
import {
  adaptKlCoefficient,
  clippedPolicyLoss,
  generalizedAdvantages,
  k3,
  PPO_CLIPPING,
  tokenRewards,
  whiten,
} from '../../src/stages/ppo.ts';
import { tensor } from '../../src/tensor/index.ts';

const list = (numbers: Iterable<number>): string => Array.from(numbers, (x) => x.toFixed(3)).join('  ');

// A response of three tokens with a score of 1.
const logProbs = [-1.0, -0.5, -0.2];
const referenceLogProbs = [-1.2, -0.5, -0.4];
const rewards = tokenRewards(logProbs, referenceLogProbs, 1, 0.15);
console.log(`rewards     ${list(rewards)}`);
const values = Float64Array.of(0.2, 0.4, 0.6);
const { advantages, returns } = generalizedAdvantages({ rewards, values }, 1, 0.95);
console.log(`advantages  ${list(advantages)}`);
console.log(`returns     ${list(returns)}`);
console.log(`whitened    ${list(whiten([advantages])[0])}`);

console.log('one token: the loss by its ratio');
for (const advantage of [1, -1]) {
  for (const ratio of [0.5, 0.8, 1, 1.2, 1.5]) {
    const row = (x: number) => tensor([x], [1, 1]);
    const { policyLoss, clipFraction } = clippedPolicyLoss(
      {
        logProbs: row(Math.log(ratio)),
        oldLogProbs: row(0),
        advantages: row(advantage),
        mask: row(1),
      },
      { low: PPO_CLIPPING.ratioClip, high: PPO_CLIPPING.ratioClip },
    );
    console.log(
      `  A ${advantage}, ratio ${ratio}: ${policyLoss.item().toFixed(2)}${clipFraction.item() > 0 ? ' (clipped: no gradient)' : ''}`,
    );
  }
}

console.log(`k3 of log ratios 0.2, 0, -0.2: ${list([0.2, 0, -0.2].map(k3))}`);
const steer = (kl: number): number => adaptKlCoefficient(0.15, kl, 32, { target: 6, horizon: 10_000 });
console.log(
  `coefficient 0.15 after 32 responses of KL 3, 6, 9: ${[3, 6, 9].map((kl) => steer(kl).toFixed(6))}`,
);

// The better answer has -10 under the policy and -12 under the reference, the worse one -9 and -8.
const { loss, metrics } = dpoObjective(tensor([-10, -9], [2]), tensor([-12, -8], [2]), 0.1);
const { chosenReward, rejectedReward, margin } = metrics;
console.log(
  `DPO: implicit rewards ${list([chosenReward.item(), rejectedReward.item()])}, margin ${margin.item().toFixed(3)}, loss ${loss.item().toFixed(3)}`,
);
