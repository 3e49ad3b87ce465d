/** @file Puzzles of the form "if A, then B". */

import type { Random } from '../../tensor/random.ts';
import { inSomeOrder, NAMES, type Puzzle } from './puzzle.ts';

/** A condition as it stands after 如果, as a fact, denied, and supposed not to be; and what people do then. */
export const CONDITIONS: readonly (readonly [string, string, string, string, readonly string[]])[] = [
  ['下雨', '下雨了', '没有下雨', '不下雨', ['带伞', '坐公交车', '看书', '早回家']],
  ['下雪', '下雪了', '没有下雪', '不下雪', ['戴帽子', '出去玩', '拍照', '早回家']],
  ['天晴', '天晴了', '天没有晴', '天不晴', ['去公园', '跑步', '洗衣服', '爬山']],
  ['放假', '放假了', '没有放假', '不放假', ['去公园', '看书', '打球', '看电影']],
  ['停电', '停电了', '没有停电', '不停电', ['点灯', '早睡', '出门', '打电话']],
  ['妈妈在家', '妈妈在家', '妈妈不在家', '妈妈不在家', ['看书', '写作业', '打扫房间', '做饭']],
];
const FORMS = ['forward', 'refrain', 'backward', 'converse', 'inverse'] as const;

export function conditional(random: Random): Puzzle {
  const [condition, holds, fails, otherwise, actions] = random.pick(CONDITIONS);
  const name = random.pick(NAMES);
  const action = random.pick(actions);
  const form = random.pick(FORMS);
  const rule = `如果${condition}，${name}就${form === 'refrain' ? '不' : ''}${action}`;
  const [did, didNot] = [`${name}${action}了`, `${name}没有${action}`];
  const open = `${otherwise}也可能${action}`;
  const key = `conditional ${form} ${condition} ${name} ${action}`;
  switch (form) {
    case 'forward':
      return {
        key,
        premises: inSomeOrder(random, [rule, holds]),
        claim: did,
        verdict: '是',
        steps: [holds, rule, did],
      };
    case 'refrain':
      return {
        key,
        premises: inSomeOrder(random, [rule, holds]),
        claim: did,
        verdict: '不是',
        steps: [holds, rule, didNot],
      };
    case 'backward':
      return {
        key,
        premises: inSomeOrder(random, [rule, didNot]),
        claim: holds,
        verdict: '不是',
        steps: [didNot, rule, fails],
      };
    case 'converse':
      return {
        key,
        premises: inSomeOrder(random, [rule, did]),
        claim: holds,
        verdict: '不一定',
        steps: [did, rule, open],
      };
    case 'inverse':
      return {
        key,
        premises: inSomeOrder(random, [rule, fails]),
        claim: did,
        verdict: '不一定',
        steps: [fails, rule, open],
      };
  }
}
