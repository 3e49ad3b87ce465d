/** @file The worked example of lesson 6: `npx tsx docs/lessons/6-rlvf.ts` */

import { groupAdvantages } from '../../src/stages/groups.ts';
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

console.log('advantages of a group of four');
for (const rewards of [
  [1, -0.5, -0.5, 1],
  [1, -0.5, -0.5, -0.5],
  [1, 1, 1, 1],
  [-0.5, -0.5, -0.5, -0.5],
]) {
  console.log(`  ${rewards.join(' ')}  →  ${groupAdvantages(rewards, 4).join(' ')}`);
}
