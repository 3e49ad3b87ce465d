/** @file The worked example of lesson 6: `npx tsx docs/lessons/6-rlvf.ts` */

import { groupAdvantages, normalizedAdvantages } from '../../src/stages/groups.ts';
import { clippedPolicyLoss } from '../../src/stages/ppo.ts';
import { tensor } from '../../src/tensor/index.ts';
import { logicVerifier, mathVerifier } from '../../src/verifiers.ts';

console.log('27+15=?, expected 42');
for (const answer of [
  '27+15=42。',
  '答案是４２',
  '先算 7+5=12，再算 20+10=30，所以是 42。',
  '42或43',
  '41，42，43',
  '不是42',
  '100-58',
]) {
  console.log(`  ${mathVerifier.reward(answer, '42').toFixed(1).padStart(4)}  ${answer}`);
}
console.log('a puzzle whose answer is 是');
for (const answer of [
  '是。因为小明是学生。',
  '小明是学生，所以是。',
  '是的。',
  '可是我不知道',
  '是或不是',
  '可能是',
]) {
  console.log(`  ${logicVerifier.reward(answer, '是').toFixed(1).padStart(4)}  ${answer}`);
}

console.log('advantages of a group of four: REINFORCE, GRPO');
for (const rewards of [
  [1, -0.5, -0.5, 1],
  [1, -0.5, -0.5, -0.5],
  [1, 1, 1, 1],
  [-0.5, -0.5, -0.5, -0.5],
]) {
  const normalized = normalizedAdvantages(rewards, 4).map((advantage) => advantage.toFixed(3));
  console.log(
    `  ${rewards.join(' ')}  →  ${groupAdvantages(rewards, 4).join(' ')}  |  ${normalized.join(' ')}`,
  );
}

console.log('GRPO, one token: the loss by its ratio, clipped at 0.8 and 1.28');
for (const [advantage, ratio] of [
  [1, 1.27],
  [1, 1.29],
  [-1, 0.81],
  [-1, 0.79],
]) {
  const row = (x: number) => tensor([x], [1, 1]);
  const { policyLoss, clipFraction } = clippedPolicyLoss(
    { logProbs: row(Math.log(ratio)), oldLogProbs: row(0), advantages: row(advantage), mask: row(1) },
    { low: 0.2, high: 0.28 },
  );
  console.log(
    `  A ${advantage}, ratio ${ratio}: ${policyLoss.item().toFixed(2)}${clipFraction.item() > 0 ? ' (clipped: no gradient)' : ''}`,
  );
}
