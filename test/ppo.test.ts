import { describe, expect, it } from 'vitest';
import { groupAdvantages, sortGroups } from '../src/stages/groups.ts';
import {
  adaptKlCoefficient,
  clippedPolicyLoss,
  clippedValueLoss,
  explainedVariance,
  generalizedAdvantages,
  k3,
  type PolicyBatch,
  PPO_CLIPPING,
  tokenRewards,
  type ValueBatch,
  whiten,
} from '../src/stages/ppo.ts';
import { gradients, interpret, type Tensor, tensor, trace } from '../src/tensor/index.ts';
import { distinct } from '../src/variety.ts';
import { expectClose } from './support/close.ts';
import { fc } from './support/property.ts';

const numbers = fc.double({ min: -100, max: 100, noNaN: true });

describe('the reward of each token', () => {
  it('is minus the KL penalty, and at the last token also the score', () => {
    const rewards = tokenRewards([-1, -2, -3], [-1.5, -1, -3], 2, 0.1);
    // log ratios 0.5, -1, 0
    expectClose(rewards, [-0.05, 0.1, 2], { absolute: 1e-12, relative: 0 });
  });

  it('adds up to the score minus the KL of the whole response', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(numbers, numbers), { minLength: 1 }), numbers, (pairs, score) => {
        const policy = pairs.map(([a]) => a);
        const reference = pairs.map(([, b]) => b);
        const kl = pairs.reduce((sum, [a, b]) => sum + a - b, 0);
        const total = tokenRewards(policy, reference, score, 0.3).reduce((a, b) => a + b, 0);
        expect(total).toBeCloseTo(score - 0.3 * kl, 8);
      }),
    );
  });
});

describe('generalised advantage estimation', () => {
  // r = [0, 0, 1], V = [0.5, 0.6, 0.7], and the value after the end is 0:
  // δ₂ = 1 - 0.7 = 0.3;  δ₁ = 0.7 - 0.6 = 0.1;  δ₀ = 0.6 - 0.5 = 0.1 (γ = 1)
  const trajectory = { rewards: Float64Array.of(0, 0, 1), values: Float64Array.of(0.5, 0.6, 0.7) };

  it('is the example worked by hand, with γ = 1 and λ = 0.95', () => {
    const { advantages, returns } = generalizedAdvantages(trajectory, 1, 0.95);
    const a2 = 0.3;
    const a1 = 0.1 + 0.95 * a2;
    const a0 = 0.1 + 0.95 * a1;
    expectClose(advantages, [a0, a1, a2], { absolute: 1e-12, relative: 0 });
    expectClose(returns, [a0 + 0.5, a1 + 0.6, a2 + 0.7], { absolute: 1e-12, relative: 0 });
  });

  it('discounts: γ = 0.9, λ = 0.5', () => {
    const { advantages } = generalizedAdvantages(trajectory, 0.9, 0.5);
    // δ₂ = 0.3; δ₁ = 0.63 - 0.6 = 0.03; δ₀ = 0.54 - 0.5 = 0.04
    const a1 = 0.03 + 0.45 * 0.3;
    expectClose(advantages, [0.04 + 0.45 * a1, a1, 0.3], { absolute: 1e-12, relative: 0 });
  });

  it('with λ = 1 gives back the sum of the rewards to come, with λ = 0 the error of one step', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(numbers, numbers), { minLength: 1, maxLength: 20 }), (steps) => {
        const rewards = Float64Array.from(steps, ([r]) => r);
        const values = Float64Array.from(steps, ([, v]) => v);
        const { returns } = generalizedAdvantages({ rewards, values }, 1, 1);
        rewards.forEach((_, t) => {
          expect(returns[t]).toBeCloseTo(
            rewards.slice(t).reduce((a, b) => a + b, 0),
            6,
          );
        });
        const { advantages } = generalizedAdvantages({ rewards, values }, 1, 0);
        rewards.forEach((reward, t) => {
          expect(advantages[t]).toBeCloseTo(reward + (values[t + 1] ?? 0) - values[t], 8);
        });
      }),
    );
  });
});

describe('whitening', () => {
  it('takes mean and deviation over all rows together', () => {
    // 1 2 3 4: mean 2.5, variance 1.25
    const [a, b] = whiten([Float64Array.of(1, 2, 3), Float64Array.of(4)]);
    const deviation = Math.sqrt(1.25);
    expectClose(a, [-1.5 / deviation, -0.5 / deviation, 0.5 / deviation], { absolute: 1e-6 });
    expectClose(b, [1.5 / deviation], { absolute: 1e-6 });
  });

  it('leaves equal numbers at zero instead of dividing by zero', () => {
    expect(whiten([Float64Array.of(3, 3), Float64Array.of(3)]).flatMap((row) => [...row])).toEqual([0, 0, 0]);
  });
});

describe('the adaptive KL coefficient', () => {
  const controller = { target: 6, horizon: 10_000 };

  it('stays at the target', () => {
    expect(adaptKlCoefficient(0.15, 6, 32, controller)).toBe(0.15);
  });

  it('follows the relative error within ±0.2', () => {
    // 10% above the target: 1 + 0.1 · 500 / 10000
    expect(adaptKlCoefficient(0.15, 6.6, 500, controller)).toBeCloseTo(0.15 * 1.005, 12);
    expect(adaptKlCoefficient(0.15, 5.4, 500, controller)).toBeCloseTo(0.15 * 0.995, 12);
  });

  it('cuts the error off at ±0.2', () => {
    expect(adaptKlCoefficient(0.15, 600, 500, controller)).toBeCloseTo(0.15 * 1.01, 12);
    expect(adaptKlCoefficient(0.15, 0, 500, controller)).toBeCloseTo(0.15 * 0.99, 12);
    expect(adaptKlCoefficient(0.15, -5, 500, controller)).toBeCloseTo(0.15 * 0.99, 12);
  });

  it('moves more slowly with a longer horizon', () => {
    expect(adaptKlCoefficient(1, 12, 100, { target: 6, horizon: 1000 })).toBeCloseTo(1.02, 12);
    expect(adaptKlCoefficient(1, 12, 100, { target: 6, horizon: 2000 })).toBeCloseTo(1.01, 12);
  });
});

describe('the k3 estimate', () => {
  it('is never negative, and zero only without a difference', () => {
    expect(k3(0)).toBe(0);
    expect(k3(Math.log(2))).toBeCloseTo(0.5 - 1 + Math.log(2), 12);
    fc.assert(
      fc.property(fc.double({ min: -20, max: 20, noNaN: true }), (x) => {
        expect(k3(x)).toBeGreaterThanOrEqual(0);
      }),
    );
    for (const x of [-1e-17, -3e-16, -1e-9, 1e-17]) expect(k3(x)).toBeGreaterThanOrEqual(0);
  });

  it('has the KL divergence as its mean', () => {
    const policy = [0.7, 0.2, 0.1];
    const reference = [0.5, 0.25, 0.25];
    const kl = policy.reduce((sum, p, i) => sum + p * Math.log(p / reference[i]), 0);
    const estimate = policy.reduce((sum, p, i) => sum + p * k3(Math.log(p / reference[i])), 0);
    expect(estimate).toBeCloseTo(kl, 12);
  });
});

describe('explained variance', () => {
  it('is 1 for perfect values, 0 for their mean, negative for worse', () => {
    expect(explainedVariance([1, 2, 3], [1, 2, 3])).toBeCloseTo(1, 6);
    expect(explainedVariance([2, 2, 2], [1, 2, 3])).toBeCloseTo(0, 6);
    expect(explainedVariance([3, 2, 1], [1, 2, 3])).toBeCloseTo(-3, 6);
  });

  it('does not care for a constant error', () => {
    expect(explainedVariance([11, 12, 13], [1, 2, 3])).toBeCloseTo(1, 6);
  });
});

const CLIP = { low: PPO_CLIPPING.ratioClip, high: PPO_CLIPPING.ratioClip };

/** A batch of one row; everything that is not given is zero, and every action counts. */
function rowOf<Name extends string>(
  names: readonly Name[],
  given: Partial<Record<Name, readonly number[]>>,
): Record<Name | 'mask', Tensor> {
  const length = Math.max(
    ...Object.values<readonly number[]>(given as Record<Name, readonly number[]>).map(
      (values) => values.length,
    ),
  );
  return Object.fromEntries(
    [...names, 'mask' as const].map((name) => [
      name,
      tensor([...(given[name as Name] ?? Array(length).fill(name === 'mask' ? 1 : 0))], [1, length]),
    ]),
  ) as Record<Name | 'mask', Tensor>;
}

/** The loss of one row of actions. */
function loss(given: Partial<Record<keyof PolicyBatch, readonly number[]>>, clip = CLIP) {
  const result = clippedPolicyLoss(rowOf(['logProbs', 'oldLogProbs', 'advantages'], given), clip);
  return Object.fromEntries(Object.entries(result).map(([name, metric]) => [name, metric.item()])) as Record<
    keyof typeof result,
    number
  >;
}

/** The value loss of one row. */
function valueLoss(given: Partial<Record<keyof ValueBatch, readonly number[]>>, clip?: number): number {
  return clippedValueLoss(rowOf(['values', 'oldValues', 'returns'], given), clip).item();
}

describe('the PPO loss', () => {
  const [UP, DOWN] = [Math.log(1.5), Math.log(0.5)];

  it('is minus the advantage where policy and old policy agree', () => {
    const { policyLoss, clipFraction, approxKl, ratioDeviation } = loss({
      logProbs: [-1, -2],
      oldLogProbs: [-1, -2],
      advantages: [3, -1],
    });
    expect(policyLoss).toBeCloseTo(-1, 6);
    expect([clipFraction, approxKl, ratioDeviation]).toEqual([0, 0, 0]);
  });

  it('stops paying for a good action above ratio 1.2', () => {
    // ratio 1.5, A = 2: max(-3, -2.4) = -2.4
    expect(loss({ logProbs: [UP], advantages: [2] })).toMatchObject({ clipFraction: 1 });
    expect(loss({ logProbs: [UP], advantages: [2] }).policyLoss).toBeCloseTo(-2.4, 6);
  });

  it('goes on charging for a bad action above ratio 1.2', () => {
    // ratio 1.5, A = -2: max(3, 2.4) = 3
    expect(loss({ logProbs: [UP], advantages: [-2] }).policyLoss).toBeCloseTo(3, 5);
    expect(loss({ logProbs: [UP], advantages: [-2] }).clipFraction).toBe(0);
  });

  it('stops paying for less of a bad action below ratio 0.8', () => {
    // ratio 0.5, A = -2: max(1, 1.6) = 1.6
    expect(loss({ logProbs: [DOWN], advantages: [-2] }).policyLoss).toBeCloseTo(1.6, 6);
    expect(loss({ logProbs: [DOWN], advantages: [-2] }).clipFraction).toBe(1);
  });

  it('goes on charging for less of a good action below ratio 0.8', () => {
    // ratio 0.5, A = 2: max(-1, -1.6) = -1
    expect(loss({ logProbs: [DOWN], advantages: [2] }).policyLoss).toBeCloseTo(-1, 6);
    expect(loss({ logProbs: [DOWN], advantages: [2] }).clipFraction).toBe(0);
  });

  it('takes half the larger of clipped and unclipped squared error of the values', () => {
    // V = 1, V_old = 0, R = 1: the error is 0, the clipped value 0.2 is off by 0.8
    expect(valueLoss({ values: [1], returns: [1] })).toBeCloseTo(0.5 * 0.64, 6);
    // V = 1, V_old = 0, R = -1: 2² against 1.2²
    expect(valueLoss({ values: [1], returns: [-1] })).toBeCloseTo(0.5 * 4, 6);
    // V = -1, V_old = 0, R = -1: the clipped value -0.2 is off by 0.8
    expect(valueLoss({ values: [-1], returns: [-1] })).toBeCloseTo(0.5 * 0.64, 6);
    // Within the range: V = 0.6, V_old = 0.5, R = 1
    expect(valueLoss({ values: [0.6], oldValues: [0.5], returns: [1] })).toBeCloseTo(0.5 * 0.16, 6);
  });

  it('takes its clipping as an option', () => {
    const { policyLoss } = loss({ logProbs: [UP], advantages: [1] }, { low: 0.1, high: 0.1 });
    expect(policyLoss).toBeCloseTo(-1.1, 6);
    expect(valueLoss({ values: [1], returns: [1] }, 0.5)).toBeCloseTo(0.5 * 0.25, 6);
  });

  it('sees only what the mask covers, and averages over that', () => {
    const mask = [1, 0, 1, 0];
    const expected = loss({ logProbs: [UP, DOWN], advantages: [2, 1] });
    const actual = loss({ logProbs: [UP, 5, DOWN, -9], advantages: [2, 50, 1, -50], mask });
    const visible = valueLoss({ values: [1, 0], returns: [0, 3] });
    expect(visible).toBeCloseTo(0.5 * 5, 6);
    expect(valueLoss({ values: [1, 99, 0, 7], returns: [0, -9, 3, 1], mask })).toBeCloseTo(visible, 6);
    for (const name of Object.keys(expected) as (keyof typeof expected)[])
      expect(actual[name], name).toBeCloseTo(expected[name], 6);
  });

  it('is zero, not NaN, for an empty mask', () => {
    expect(loss({ logProbs: [1, 2], advantages: [1, 1], mask: [0, 0] }).policyLoss).toBe(0);
    expect(valueLoss({ values: [1, 2], returns: [5, 5], mask: [0, 0] })).toBe(0);
  });

  it('clamps log ratios to ±20', () => {
    for (const difference of [25, 1000]) {
      const up = loss({ logProbs: [difference], advantages: [-1] });
      expect(up.policyLoss / Math.exp(20)).toBeCloseTo(1, 5);
      const down = loss({ logProbs: [-difference], advantages: [1] });
      expect(Number.isFinite(down.policyLoss)).toBe(true);
      expect(down.approxKl).toBeCloseTo(Math.exp(-20) - 1 + 20, 4);
    }
  });

  it('reports the approximate KL r - 1 - log r and the largest deviation of a ratio', () => {
    const { approxKl, ratioDeviation } = loss({ logProbs: [UP, DOWN], advantages: [0, 0] });
    expect(approxKl).toBeCloseTo((0.5 - UP + (-0.5 - DOWN)) / 2, 6);
    expect(ratioDeviation).toBeCloseTo(0.5, 6);
  });

  it('has a gradient only where the ratio is not clipped, and none where the mask is 0', () => {
    const spec = { dtype: 'float32', shape: [1, 4] } as const;
    const row = (...values: number[]) => tensor(values, [1, 4]);
    const graph = trace({ logProbs: spec, values: spec }, ({ logProbs, values }) => {
      const [oldLogProbs, oldValues] = [row(0, 0, 0, 0), row(0, 0, 0, 0)];
      const [advantages, returns, mask] = [row(2, 2, -2, 2), row(1, 1, 1, 1), row(1, 1, 1, 0)];
      const { policyLoss } = clippedPolicyLoss({ logProbs, oldLogProbs, advantages, mask }, CLIP);
      const [policy] = gradients(policyLoss, [logProbs]);
      const [value] = gradients(clippedValueLoss({ values, oldValues, returns, mask }), [values]);
      return { policy, value };
    });
    const feeds = { logProbs: row(UP, DOWN, DOWN, DOWN).value, values: row(0.5, -0.1, 0.1, 0.1).value };
    const { policy, value } = interpret(graph, feeds);
    // Clipped; -A r / 3; clipped; masked.
    expectClose(policy.data as Float32Array, [0, -2 * 0.5 * (1 / 3), 0, 0]);
    // V = 0.5 lies outside of 0 ± 0.2 and the clipped error 0.8 is the larger: no gradient. Else (V - R) / 3.
    expectClose(value.data as Float32Array, [0, -1.1 / 3, -0.9 / 3, 0]);
  });
});

describe('group advantages', () => {
  it('are rewards minus the mean of their group', () => {
    expectClose(
      groupAdvantages([1, -0.5, -0.5, -0.5, 1, 1, -0.5, -0.5], 4),
      [1.125, -0.375, -0.375, -0.375, 0.75, 0.75, -0.75, -0.75],
    );
  });

  it('are zero in a group without differences', () => {
    expect(groupAdvantages([-0.5, -0.5, -0.5, 1, 1, 1], 3)).toEqual([0, 0, 0, 0, 0, 0]);
  });

  it('add up to zero in every group', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(numbers, numbers, numbers)), (groups) => {
        const advantages = groupAdvantages(groups.flat(), 3);
        expect(advantages).toHaveLength(3 * groups.length);
        groups.forEach((_, i) => {
          expect(advantages.slice(3 * i, 3 * i + 3).reduce((a, b) => a + b, 0)).toBeCloseTo(0, 8);
        });
      }),
    );
  });

  it('tell mixed groups from those that agree', () => {
    expect(sortGroups([1, 1, -0.5, 1, -0.5, -0.5, 1, -0.5], 2)).toEqual({
      mixed: [
        [2, 3],
        [6, 7],
      ],
      agreed: [
        [0, 1],
        [4, 5],
      ],
    });
  });
});

describe('distinct-2', () => {
  it('is the share of pairs that are unlike all others', () => {
    expect(distinct([[1, 2, 3, 4]], 2)).toBe(1);
    expect(
      distinct(
        [
          [1, 2, 1, 2],
          [1, 2],
        ],
        2,
      ),
    ).toBe(2 / 4);
    expect(distinct([[7], []], 2)).toBe(0);
  });
});
