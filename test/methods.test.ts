import { beforeAll, describe, expect, it } from 'vitest';
import { renderConversation, renderPrompt } from '../src/chat-format.ts';
import { evenParts } from '../src/data/batches.ts';
import { UserError } from '../src/errors.ts';
import { bestOfEach, trainBestOfN } from '../src/stages/best-of-n.ts';
import { dpoObjective, trainDpo } from '../src/stages/dpo.ts';
import { normalizedAdvantages } from '../src/stages/groups.ts';
import { type GrpoOptions, trainGrpo } from '../src/stages/grpo.ts';
import { renderPairs } from '../src/stages/pairs.ts';
import { clippedPolicyLoss, k3, klLoss } from '../src/stages/ppo.ts';
import type { Attempt } from '../src/stages/practice.ts';
import { createScoredPractice } from '../src/stages/scored-responses.ts';
import { createVerifiedPractice } from '../src/stages/verified-answers.ts';
import { gradients, interpret, type NdArray, type Runtime, tensor, trace } from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { expectClose } from './support/close.ts';
import {
  BEST_OF_N,
  CHATS,
  chattingWeights,
  contextFor,
  DIGITS,
  DPO,
  figures,
  GRPO,
  PAIRS,
  RLVF_DATA,
  rewardForToken,
  sameBits,
  TASKS,
  tokenizer,
} from './support/tiny.ts';

let runtime: Runtime;
/** A model that answers each question with one of four digits. */
let chatWeights: Record<string, NdArray>;

beforeAll(async () => {
  runtime = await createNodeRuntime({ threads: 1 });
  chatWeights = await chattingWeights(runtime, { epochs: 12, chats: CHATS.slice(0, 40) });
});

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

describe('normalised advantages', () => {
  it('are counted in the deviation of the group', () => {
    // Mean -1/8; squared differences 81/64 and three times 9/64, so the variance is 27/64 and the deviation 3√3/8.
    const root = Math.sqrt(3);
    expectClose(
      normalizedAdvantages([1, -0.5, -0.5, -0.5, 1, 1, -0.5, -0.5], 4),
      [root, -1 / root, -1 / root, -1 / root, 1, 1, -1, -1],
      { absolute: 1e-5, relative: 0 },
    );
  });

  it('do not depend on the scale of the rewards', () => {
    const options = { absolute: 1e-3, relative: 0 };
    expectClose(normalizedAdvantages([3, 1, 2], 3), normalizedAdvantages([0.03, 0.01, 0.02], 3), options);
  });

  it('are zero in a group that agrees', () => {
    expect(normalizedAdvantages([1, 1, -0.5, -0.5], 2)).toEqual([0, 0, 0, 0]);
  });
});

describe('clip-higher', () => {
  const CLIP = { low: 0.2, high: 0.28 };
  const loss = (ratio: number, advantage: number) => {
    const row = (x: number) => tensor([x], [1, 1]);
    const actions = {
      logProbs: row(Math.log(ratio)),
      oldLogProbs: row(0),
      advantages: row(advantage),
      mask: row(1),
    };
    const { policyLoss, clipFraction } = clippedPolicyLoss(actions, CLIP);
    return [policyLoss.item(), clipFraction.item()];
  };

  it.each([
    // A good action is pushed up to 1.28, and no further.
    [1.27, 1, -1.27, 0],
    [1.29, 1, -1.28, 1],
    // It is pulled back from any depth.
    [0.5, 1, -0.5, 0],
    // A bad action is pushed down to 0.8, and no further.
    [0.81, -1, 0.81, 0],
    [0.79, -1, 0.8, 1],
    // It is pulled back from any height.
    [1.5, -1, 1.5, 0],
  ])(
    'at ratio %d and advantage %d has the loss %d and the clip fraction %d',
    (ratio, advantage, expected, clipped) => {
      const [policyLoss, clipFraction] = loss(ratio, advantage);
      expect(policyLoss).toBeCloseTo(expected, 5);
      expect(clipFraction).toBe(clipped);
    },
  );

  it('has no gradient beyond the edges', () => {
    const spec = { dtype: 'float32', shape: [1, 4] } as const;
    const row = (...values: number[]) => tensor(values, [1, 4]);
    const graph = trace({ logProbs: spec }, ({ logProbs }) => {
      const actions = {
        logProbs,
        oldLogProbs: row(0, 0, 0, 0),
        advantages: row(1, 1, -1, -1),
        mask: row(1, 1, 1, 1),
      };
      const [gradient] = gradients(clippedPolicyLoss(actions, CLIP).policyLoss, [logProbs]);
      return { gradient };
    });
    const ratios = [1.27, 1.29, 0.81, 0.79];
    const { gradient } = interpret(graph, { logProbs: row(...ratios.map(Math.log)).value });
    // -A ratio / 4 where it is not clipped
    expectClose(gradient.data as Float32Array, [-1.27 / 4, 0, 0.81 / 4, 0], { absolute: 1e-6 });
  });

  it('takes its mean over tokens, not over answers', () => {
    // An answer of one token with loss -1, and one of three with loss 2 each: (-1 + 3 · 2) / 4, not (-1 + 2) / 2.
    const grid = (...values: number[]) => tensor(values, [2, 3]);
    const zeros = grid(0, 0, 0, 0, 0, 0);
    const { policyLoss } = clippedPolicyLoss(
      {
        logProbs: zeros,
        oldLogProbs: zeros,
        advantages: grid(1, 0, 0, -2, -2, -2),
        mask: grid(1, 0, 0, 1, 1, 1),
      },
      CLIP,
    );
    expect(policyLoss.item()).toBeCloseTo(5 / 4, 6);
  });

  it('beside it the KL is the mean of k3 over tokens', () => {
    const row = (...values: number[]) => tensor(values, [1, 3]);
    const kl = klLoss(row(-1, -2, -3), row(-1.5, -1, 9), row(1, 1, 0));
    expect(kl.item()).toBeCloseTo((k3(0.5) + k3(-1)) / 2, 6);
  });
});

describe('GRPO', () => {
  const train = async (options: Partial<GrpoOptions>, data = RLVF_DATA) => {
    const context = contextFor(runtime);
    return { context, ...(await trainGrpo(context, chatWeights, data, { ...GRPO, ...options })) };
  };

  it('raises the accuracy on a task that is easy to learn', async () => {
    const { context, evaluations } = await train({ iterations: 12, learningRate: 1e-2 });
    const accuracy = figures(context, 'accuracy');
    expect(accuracy[0]).toBeLessThan(0.5);
    expect(mean(accuracy.slice(-3))).toBeGreaterThan(0.85);
    expect(evaluations[0]).toMatchObject({ after: 1, unit: 'share' });
    expect(evaluations[1].after).toBeGreaterThan(evaluations[1].before! + 0.3);
  });

  it('starts each iteration with ratios of 1, and moves away from them', async () => {
    const { context } = await train({ iterations: 6, learningRate: 1e-2 });
    for (const deviation of figures(context, 'firstRatioDeviation')) expect(deviation).toBeLessThan(1e-5);
    expect(Math.max(...figures(context, 'approxKl'))).toBeGreaterThan(1e-3);
    for (const name of ['reward', 'policyLoss', 'kl', 'clipFraction', 'entropy', 'endRate', 'responseLength'])
      for (const value of figures(context, name)) expect(Number.isFinite(value), name).toBe(true);
  });

  it('takes no step where every group agrees, KL or not', async () => {
    const impossible = TASKS.map((task) => ({ ...task, expected: '99999' }));
    const draw: typeof RLVF_DATA.draw = (count, random) =>
      Array.from({ length: count }, () => random.pick(impossible));
    const { context, weights, evaluations } = await train({ klCoefficient: 1 }, { draw, heldOut: [] });
    expect(figures(context, 'groupsWithoutVariance')).toEqual([1, 1, 1, 1]);
    expect(context.io.records.map(({ gradientNorm }) => gradientNorm)).toEqual([0, 0, 0, 0]);
    expect(sameBits(weights, chatWeights)).toBe(true);
    expect(evaluations).toEqual([]);
  });

  it('learns nothing from answers that were cut off', async () => {
    // No room for `<|im_end|>` after the digit.
    const { context, weights } = await train({ maxNewTokens: 1 });
    expect(figures(context, 'groupsWithoutVariance').some((share) => share < 1)).toBe(true);
    expect(sameBits(weights, chatWeights)).toBe(true);
  });

  it('does without the reference where the KL coefficient is 0', async () => {
    const { context, weights } = await train({ klCoefficient: 0 });
    expect(context.io.records[0].figures).not.toHaveProperty('kl');
    expect(sameBits(weights, chatWeights)).toBe(false);
  });
});

describe('mini-batches', () => {
  it('are as few and as equal as can be', () => {
    expect(evenParts([1, 2, 3, 4, 5, 6, 7, 8, 9], 8)).toEqual([
      [1, 2, 3, 4, 5],
      [6, 7, 8, 9],
    ]);
    expect(evenParts([1, 2, 3, 4], 2)).toEqual([
      [1, 2],
      [3, 4],
    ]);
    expect(evenParts([1, 2], 8)).toEqual([[1, 2]]);
    expect(evenParts([], 8)).toEqual([]);
  });
});

describe('DPO', () => {
  const DATA = { pairs: PAIRS.slice(0, 32), heldOut: PAIRS.slice(32) };

  it('has the loss of a known pair', () => {
    // Chosen: -10 against -12 of the reference; rejected: -9 against -8. β = 0.1: rewards 0.2 and -0.1, margin 0.3.
    const { loss, metrics } = dpoObjective(tensor([-10, -9], [2]), tensor([-12, -8], [2]), 0.1);
    expect(loss.item()).toBeCloseTo(Math.log(1 + Math.exp(-0.3)), 6); // 0.554355
    expect(metrics.chosenReward.item()).toBeCloseTo(0.2, 6);
    expect(metrics.rejectedReward.item()).toBeCloseTo(-0.1, 6);
    expect(metrics.margin.item()).toBeCloseTo(0.3, 6);
    expect(metrics.accuracy.item()).toBe(1);
  });

  it('is log 2 where the policy is the reference, whatever the answers', () => {
    const logProbs = tensor([-3, -50, -7, -0.5], [4]);
    const { loss, metrics } = dpoObjective(logProbs, logProbs, 0.5);
    expect(loss.item()).toBeCloseTo(Math.LN2, 6);
    expect(metrics.accuracy.item()).toBe(0);
  });

  it('pushes both answers by β σ(-margin), apart', () => {
    const spec = { dtype: 'float32', shape: [2] } as const;
    const graph = trace({ logProbs: spec }, ({ logProbs }) => {
      const [gradient] = gradients(dpoObjective(logProbs, tensor([-12, -8], [2]), 0.1).loss, [logProbs]);
      return { gradient };
    });
    const { gradient } = interpret(graph, { logProbs: tensor([-10, -9], [2]).value });
    const push = 0.1 / (1 + Math.exp(0.3));
    expectClose(gradient.data as Float32Array, [-push, push], { absolute: 1e-6 });
  });

  it('cuts a pair where the answer begins', () => {
    const { rendered } = renderPairs(tokenizer, PAIRS.slice(0, 1), 32);
    const [{ chosen, rejected, promptLength }] = rendered;
    const prompt = renderPrompt(tokenizer, PAIRS[0].prompt);
    for (const answer of [chosen, rejected]) expect(answer.subarray(0, promptLength)).toEqual(prompt);
    const { ids, mask } = renderConversation(tokenizer, [
      ...PAIRS[0].prompt,
      { role: 'assistant', content: PAIRS[0].chosen },
    ]);
    expect(chosen.subarray(promptLength)).toEqual(ids.filter((_, i) => mask[i] === 1));
  });

  it('learns which answers are preferred, on pairs it has not seen too', async () => {
    const context = contextFor(runtime);
    const options = { ...DPO, epochs: 4, learningRate: 1e-2 };
    const { evaluations, weights } = await trainDpo(context, chatWeights, DATA, options);
    expect(context.io.records[0].loss).toBeCloseTo(Math.LN2, 5);
    expect(context.io.records.at(-1)!.loss).toBeLessThan(0.4);
    for (const name of ['chosenReward', 'rejectedReward', 'margin'])
      expect(Math.abs(figures(context, name)[0]), name).toBeLessThan(1e-5);
    const [margin, chosen, rejected] = ['margin', 'chosenReward', 'rejectedReward'].map(
      (name) => figures(context, name).at(-1)!,
    );
    expect(margin).toBeCloseTo(chosen - rejected, 5);
    const [accuracy, heldOutMargin] = evaluations;
    expect(accuracy.before).toBeUndefined();
    expect(accuracy.unit).toBe('share');
    expect(accuracy.after).toBeGreaterThan(0.9);
    expect(heldOutMargin).toMatchObject({ before: 0, unit: 'number' });
    expect(heldOutMargin.after).toBeGreaterThan(0.5);
    expect(Object.keys(weights).sort()).toEqual(Object.keys(chatWeights).sort());
  });

  it('reports nothing where no pair is held out, and says so where none fits', async () => {
    const { evaluations } = await trainDpo(
      contextFor(runtime),
      chatWeights,
      { pairs: PAIRS.slice(0, 8), heldOut: [] },
      { ...DPO, epochs: 1 },
    );
    expect(evaluations).toEqual([]);
    const long = { ...PAIRS[0], chosen: '日'.repeat(60) };
    const none = trainDpo(contextFor(runtime), chatWeights, { pairs: [long], heldOut: [] }, DPO);
    await expect(none).rejects.toThrow(UserError);
  });
});

describe('best of N', () => {
  const attempt = (reward: number, more: { ended?: boolean; correct?: boolean } = {}): Attempt => ({
    episode: { prompt: [1], response: { tokens: [2], ended: more.ended ?? true } },
    reward,
    correct: more.correct,
  });

  it('keeps the best of each group', () => {
    const attempts = [1, 3, 2, -5, -4, -6].map((reward) => attempt(reward));
    expect(bestOfEach(attempts, 3)).toEqual([attempts[1], attempts[4]]);
    // The first of equals.
    const equals = [attempt(1), attempt(1)];
    expect(bestOfEach(equals, 2)[0]).toBe(equals[0]);
  });

  it('keeps nothing that is wrong or unfinished', () => {
    const right = attempt(1, { correct: true });
    const wrong = attempt(-0.5, { correct: false });
    const cut = attempt(9, { ended: false });
    expect(bestOfEach([wrong, right, wrong, wrong], 2)).toEqual([right]);
    expect(bestOfEach([cut, attempt(2)], 2)).toEqual([attempt(2)]);
    expect(bestOfEach([cut, cut], 2)).toEqual([]);
  });

  it('raises the accuracy of answers that a program checks', async () => {
    const context = contextFor(runtime);
    const practice = await createVerifiedPractice(context, RLVF_DATA, { ...BEST_OF_N, batchSize: 16 });
    const options = { ...BEST_OF_N, iterations: 12, learningRate: 1e-2 };
    const { evaluations } = await trainBestOfN(context, chatWeights, practice, options);
    const accuracy = figures(context, 'accuracy');
    expect(accuracy[0]).toBeLessThan(0.5);
    expect(mean(accuracy.slice(-3))).toBeGreaterThan(0.9);
    expect(figures(context, 'bestReward').every((reward) => reward === 1)).toBe(true);
    expect(evaluations[0]).toMatchObject({ after: 1, unit: 'share' });
    expect(evaluations[1].after).toBeGreaterThan(evaluations[1].before! + 0.3);
  });

  it('raises the score of a reward model that likes one token', async () => {
    const prompts = TASKS.map(({ prompt }) => renderPrompt(tokenizer, [{ role: 'user', content: prompt }]));
    const data = { prompts: prompts.slice(0, 12), heldOut: prompts.slice(12) };
    const reward = rewardForToken(tokenizer.encode(DIGITS[1])[0]);
    const context = contextFor(runtime);
    const practice = await createScoredPractice(context, reward, data, { ...BEST_OF_N, batchSize: 16 });
    const options = { ...BEST_OF_N, iterations: 12, learningRate: 1e-2 };
    const { evaluations } = await trainBestOfN(context, chatWeights, practice, options);
    const rewards = figures(context, 'reward');
    // In the end every answer is as good as the best that was ever found.
    expect(rewards[0]).toBeLessThan(0.15);
    expect(mean(rewards.slice(-3))).toBeCloseTo(Math.max(...figures(context, 'bestReward')), 5);
    expect(evaluations[0].after).toBeGreaterThan(evaluations[0].before!);
    expect(context.io.records[0].figures).not.toHaveProperty('accuracy');
  });

  it('takes no step where no answer is right', async () => {
    const impossible = TASKS.map((task) => ({ ...task, expected: '99999' }));
    const draw: typeof RLVF_DATA.draw = (count, random) =>
      Array.from({ length: count }, () => random.pick(impossible));
    const context = contextFor(runtime);
    const practice = await createVerifiedPractice(
      context,
      { draw, heldOut: [] },
      { ...BEST_OF_N, batchSize: 8 },
    );
    const { weights, evaluations } = await trainBestOfN(context, chatWeights, practice, BEST_OF_N);
    expect(figures(context, 'keptQuestions')).toEqual([0, 0, 0, 0]);
    expect(sameBits(weights, chatWeights)).toBe(true);
    expect(evaluations).toEqual([]);
  });
});
