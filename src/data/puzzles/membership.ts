/** @file Puzzles of what is on a list. */

import type { Random } from '../../tensor/random.ts';
import { likeness, NAMES, type Puzzle } from './puzzle.ts';

export const COLLECTIONS: readonly { place: string; things: readonly string[]; rest: string }[] = [
  {
    place: '盒子里',
    things: ['苹果', '梨', '桃', '香蕉', '糖', '面包', '鸡蛋'],
    rest: '还有一样看不清的东西',
  },
  {
    place: '书包里',
    things: ['书', '铅笔', '尺子', '钥匙', '水杯', '雨伞', '地图'],
    rest: '还有一样看不清的东西',
  },
  { place: '名单上', things: NAMES, rest: '还有一个看不清的名字' },
  { place: '院子里', things: ['猫', '狗', '鸡', '鸭', '羊', '牛', '马'], rest: '还有一只看不清的动物' },
];

export function membership(random: Random): Puzzle {
  const { place, things, rest } = random.pick(COLLECTIONS);
  const shuffled = random.shuffle(things);
  const count = 2 + random.integer(2);
  const [present, absent] = [shuffled.slice(0, count), shuffled[count]];
  const complete = random.uniform() < 0.5;
  const inside = random.uniform() < 0.4;
  const asked = inside ? random.pick(present) : absent;
  const list = `${present.slice(0, -1).join('、')}和${present[present.length - 1]}`;
  /** What decides where the list does not hold it. */
  const beyond = inside ? [] : [complete ? '没有别的' : rest];
  const looked = inside ? present.slice(0, present.indexOf(asked) + 1) : present;
  return {
    premises: [complete ? `${place}只有${list}` : `${place}有${list}，${rest}`],
    claim: `${place}有${asked}`,
    verdict: inside ? '是' : complete ? '不是' : '不一定',
    steps: [...looked.map((thing) => likeness(thing, asked)), ...beyond],
    prose: beyond,
    key: `membership ${place} ${complete ? 'only ' : ''}${[...present].sort().join(' ')}`,
  };
}
