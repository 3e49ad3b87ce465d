/** @file Puzzles of the form "all A are B". */

import type { Random } from '../../tensor/random.ts';
import { inSomeOrder, NAMES, type Puzzle } from './puzzle.ts';

export const GROUPS = ['医生', '老师', '学生', '工人', '农民', '司机', '画家', '歌手', '厨师', '警察'];
/** What can be said of a person; 不 before it denies it. */
export const HABITS = [
  '会游泳',
  '会唱歌',
  '会画画',
  '会下棋',
  '喜欢音乐',
  '喜欢读书',
  '喜欢跑步',
  '爱喝茶',
  '爱吃鱼',
  '怕冷',
];

const FORMS = ['all', 'none', 'not', 'converse', 'inverse', 'some', 'chain'] as const;

export function syllogism(random: Random): Puzzle {
  const form = random.pick(FORMS);
  const name = random.pick(NAMES);
  const group = random.pick(GROUPS);
  const habit = random.pick(HABITS);
  const every = random.pick([`所有的${group}都`, `${group}都`, `每个${group}都`]);
  const [all, none] = [`${every}${habit}`, `${every}不${habit}`];
  // As the answer says it, whatever the wording of the premise.
  const [plainAll, plainNone] = [`${group}都${habit}`, `${group}都不${habit}`];
  const [member, outsider] = [`${name}是${group}`, `${name}不是${group}`];
  const [has, lacks] = [`${name}${habit}`, `${name}不${habit}`];
  const others = `别的人也可能${habit}`;
  const key = `syllogism ${form} ${name} ${group} ${habit}`;
  switch (form) {
    case 'all':
      return {
        key,
        premises: inSomeOrder(random, [all, member]),
        claim: has,
        verdict: '是',
        steps: [member, plainAll, has],
      };
    case 'none':
      return {
        key,
        premises: inSomeOrder(random, [none, member]),
        claim: has,
        verdict: '不是',
        steps: [member, plainNone, lacks],
      };
    case 'not':
      return {
        key,
        premises: inSomeOrder(random, [all, lacks]),
        claim: member,
        verdict: '不是',
        steps: [lacks, plainAll, outsider],
      };
    case 'converse':
      return {
        key,
        premises: inSomeOrder(random, [all, has]),
        claim: member,
        verdict: '不一定',
        steps: [has, plainAll, others],
      };
    case 'inverse':
      return {
        key,
        premises: inSomeOrder(random, [all, outsider]),
        claim: has,
        verdict: '不一定',
        steps: [outsider, plainAll, others],
      };
    case 'some': {
      const some = `有的${group}${habit}`;
      const steps = [member, some, `别的${group}可能不${habit}`];
      return { key, premises: inSomeOrder(random, [some, member]), claim: has, verdict: '不一定', steps };
    }
    case 'chain': {
      const friend = random.pick(NAMES.filter((each) => each !== name));
      const [friends, isFriend] = [`${name}的朋友都是${group}`, `${friend}是${name}的朋友`];
      const claim = `${friend}${habit}`;
      const steps = [isFriend, friends, `${friend}是${group}`, plainAll, claim];
      return { key, premises: inSomeOrder(random, [friends, all, isFriend]), claim, verdict: '是', steps };
    }
  }
}
