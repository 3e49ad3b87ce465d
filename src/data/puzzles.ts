/**
 * @file Puzzles: small questions of logic whose answer follows from the premises alone.
 *
 * Each family below builds premises, works out the verdict from their structure and says why. 是 means that the premises
 * force it, 不是 that they exclude it, 不一定 that they leave it open; what is true of the real world plays no part.
 */

import type { Random } from '../tensor/random.ts';
import type { Verdict } from '../verifiers.ts';

/** A puzzle. Sentences come without their full stop, the question with its question mark. */
export interface Puzzle {
  readonly premises: readonly string[];
  readonly question: string;
  readonly verdict: Verdict;
  /** The decisive step. */
  readonly reason: string;
  readonly key: string;
}

const NAMES = ['小明', '小红', '小刚', '小丽', '小华', '小美', '小军', '小文', '小林', '小云'];
const GROUPS = ['医生', '老师', '学生', '工人', '农民', '司机', '画家', '歌手', '厨师', '警察'];
/** What can be said of a person; 不 before it denies it. */
const HABITS = [
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

// All A are B

const SYLLOGISMS = ['all', 'none', 'not', 'converse', 'inverse', 'some', 'chain'] as const;

function syllogism(random: Random): Puzzle {
  const form = random.pick(SYLLOGISMS);
  const name = random.pick(NAMES);
  const group = random.pick(GROUPS);
  const habit = random.pick(HABITS);
  const every = random.pick([`所有的${group}都`, `${group}都`, `每个${group}都`]);
  const all = `${every}${habit}`;
  const none = `${every}不${habit}`;
  const member = `${name}是${group}`;
  const has = `${name}${habit}`;
  const key = `syllogism ${form} ${name} ${group} ${habit}`;
  switch (form) {
    case 'all':
      return {
        premises: [all, member],
        question: `${has}吗？`,
        verdict: '是',
        reason: `${member}，${group}都${habit}`,
        key,
      };
    case 'none':
      return {
        premises: [none, member],
        question: `${has}吗？`,
        verdict: '不是',
        reason: `${member}，${group}都不${habit}`,
        key,
      };
    case 'not':
      return {
        premises: [all, `${name}不${habit}`],
        question: `${member}吗？`,
        verdict: '不是',
        reason: `${group}都${habit}，${name}不${habit}`,
        key,
      };
    case 'converse':
      return {
        premises: [all, has],
        question: `${member}吗？`,
        verdict: '不一定',
        reason: `别的人也可能${habit}`,
        key,
      };
    case 'inverse':
      return {
        premises: [all, `${name}不是${group}`],
        question: `${has}吗？`,
        verdict: '不一定',
        reason: `别的人也可能${habit}`,
        key,
      };
    case 'some':
      return {
        premises: [`有的${group}${habit}`, member],
        question: `${has}吗？`,
        verdict: '不一定',
        reason: `只知道有的${group}${habit}`,
        key,
      };
    case 'chain':
      return {
        premises: [`${name}的朋友都是${group}`, all, `小李是${name}的朋友`],
        question: `小李${habit}吗？`,
        verdict: '是',
        reason: `小李是${group}，${group}都${habit}`,
        key,
      };
  }
}

// A is more than B

interface Comparison {
  readonly things: readonly string[];
  readonly more: (a: string, b: string) => string;
  /** The same relation seen from the other end: `less(b, a)` means `more(a, b)`. */
  readonly less: (a: string, b: string) => string;
  /** `谁高`: what is not known about two of them. */
  readonly open: string;
}

function comparisonOf(things: readonly string[], more: string, less: string): Comparison {
  return {
    things,
    more: (a, b) => `${a}比${b}${more}`,
    less: (a, b) => `${a}比${b}${less}`,
    open: `${things === NAMES ? '谁' : '哪个'}${more}`,
  };
}

const COLORED = (thing: string): string[] =>
  ['红', '黄', '蓝', '绿', '白', '黑'].map((color) => color + thing);
const COMPARISONS: readonly Comparison[] = [
  comparisonOf(NAMES, '高', '矮'),
  comparisonOf(NAMES, '重', '轻'),
  comparisonOf(NAMES, '大', '小'),
  comparisonOf(NAMES, '跑得快', '跑得慢'),
  comparisonOf(COLORED('球'), '重', '轻'),
  comparisonOf(COLORED('车'), '快', '慢'),
  comparisonOf(COLORED('盒子'), '大', '小'),
  comparisonOf(['苹果', '梨', '桃', '香蕉', '葡萄', '西瓜'], '贵', '便宜'),
  {
    things: NAMES,
    more: (a, b) => `${a}在${b}前面`,
    less: (a, b) => `${a}在${b}后面`,
    open: '谁在前面',
  },
  comparisonOf(NAMES, '到得早', '到得晚'),
];

/** The way down from `from` to `to` along the given pairs (greater, smaller); undefined if there is none. */
function findPath(
  pairs: readonly (readonly [number, number])[],
  from: number,
  to: number,
): number[] | undefined {
  if (from === to) return [to];
  for (const [greater, smaller] of pairs) {
    if (greater !== from) continue;
    const rest = findPath(pairs, smaller, to);
    if (rest !== undefined) return [from, ...rest];
  }
  return undefined;
}

/** Pairs (greater, smaller) over things 0, 1, 2, ...: a pair, chains, two below one, two above one. */
const SHAPES: readonly (readonly (readonly [number, number])[])[] = [
  [[0, 1]],
  [
    [0, 1],
    [1, 2],
  ],
  [
    [0, 1],
    [0, 2],
  ],
  [
    [0, 2],
    [1, 2],
  ],
  [
    [0, 1],
    [1, 2],
    [2, 3],
  ],
];

function compare(random: Random): Puzzle {
  const { things, more, less, open } = random.pick(COMPARISONS);
  const shape = random.pick(SHAPES);
  const size = 1 + Math.max(...shape.flat());
  const named = random.shuffle(things).slice(0, size);
  const [first, second] = random.shuffle(named.map((_, i) => i));
  const claim = random.pick([more, less]);
  const [greater, smaller] = claim === more ? [first, second] : [second, first];
  const tell = ([a, b]: readonly [number, number]): string => more(named[a], named[b]);
  const steps = (path: readonly number[]): string =>
    path
      .slice(1)
      .map((to, i) => tell([path[i], to]))
      .join('，');
  const [x, y] = [named[first], named[second]];
  const forced = findPath(shape, greater, smaller);
  const excluded = findPath(shape, smaller, greater);
  const path = forced ?? excluded;
  return {
    premises: shape.map(([a, b]) =>
      random.uniform() < 0.25 ? less(named[b], named[a]) : more(named[a], named[b]),
    ),
    question: `${claim(x, y)}吗？`,
    verdict: forced ? '是' : excluded ? '不是' : '不一定',
    reason: path ? steps(path) : `不知道${x}和${y}${open}`,
    key: `compare ${open} ${shape
      .map(([a, b]) => `${named[a]}>${named[b]}`)
      .sort()
      .join(' ')}`,
  };
}

// On the list or not

const COLLECTIONS: readonly { place: string; things: readonly string[]; rest: string }[] = [
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

function membership(random: Random): Puzzle {
  const { place, things, rest } = random.pick(COLLECTIONS);
  const shuffled = random.shuffle(things);
  const count = 2 + random.integer(2);
  const [present, absent] = [shuffled.slice(0, count), shuffled[count]];
  const complete = random.uniform() < 0.5;
  const inside = random.uniform() < 0.4;
  const asked = inside ? random.pick(present) : absent;
  const list = `${present.slice(0, -1).join('、')}和${present[present.length - 1]}`;
  const premise = complete ? `${place}只有${list}` : `${place}有${list}，${rest}`;
  return {
    premises: [premise],
    question: `${place}有${asked}吗？`,
    verdict: inside ? '是' : complete ? '不是' : '不一定',
    reason: inside ? `${place}有${list}` : complete ? `${place}只有${list}` : `${place}${rest}`,
    key: `membership ${place} ${complete ? 'only ' : ''}${[...present].sort().join(' ')}`,
  };
}

// Days of the week

export const WEEKDAYS = ['一', '二', '三', '四', '五', '六', '日'].map((day) => `星期${day}`);
const DAYS = ['前天', '昨天', '今天', '明天', '后天'];

function weekday(random: Random): Puzzle {
  const known = random.integer(DAYS.length);
  const asked = (known + 1 + random.integer(DAYS.length - 1)) % DAYS.length;
  const day = random.integer(7);
  const shifted = (day + asked - known + 7) % 7;
  const denied = random.uniform() < 0.5;
  const claimed = random.uniform() < 0.45 ? shifted : random.integer(7);
  const matches = claimed === shifted;
  const premise = `${DAYS[known]}${denied ? '不' : ''}是${WEEKDAYS[day]}`;
  return {
    premises: [premise],
    question: `${DAYS[asked]}是${WEEKDAYS[claimed]}吗？`,
    verdict: matches ? (denied ? '不是' : '是') : denied ? '不一定' : '不是',
    reason:
      denied && !matches
        ? `只知道${premise}`
        : `${premise}，${DAYS[asked]}就${denied ? '不' : ''}是${WEEKDAYS[shifted]}`,
    key: `weekday ${premise} ${DAYS[asked]}`,
  };
}

// If A then B

/** A condition as it stands after 如果, as a fact, denied, and supposed not to be; and what people do then. */
const CONDITIONS: readonly (readonly [string, string, string, string, readonly string[]])[] = [
  ['下雨', '下雨了', '没有下雨', '不下雨', ['带伞', '坐公交车', '看书', '早回家']],
  ['下雪', '下雪了', '没有下雪', '不下雪', ['戴帽子', '出去玩', '拍照', '早回家']],
  ['天晴', '天晴了', '天没有晴', '天不晴', ['去公园', '跑步', '洗衣服', '爬山']],
  ['放假', '放假了', '没有放假', '不放假', ['去公园', '看书', '打球', '看电影']],
  ['停电', '停电了', '没有停电', '不停电', ['点灯', '早睡', '出门', '打电话']],
  ['妈妈在家', '妈妈在家', '妈妈不在家', '妈妈不在家', ['看书', '写作业', '打扫房间', '做饭']],
];
const CONDITIONALS = ['forward', 'refrain', 'backward', 'converse', 'inverse'] as const;

function conditional(random: Random): Puzzle {
  const [condition, holds, fails, otherwise, actions] = random.pick(CONDITIONS);
  const name = random.pick(NAMES);
  const action = random.pick(actions);
  const form = random.pick(CONDITIONALS);
  const rule = `如果${condition}，${name}就${form === 'refrain' ? '不' : ''}${action}`;
  const did = `${name}${action}了`;
  const didNot = `${name}没有${action}`;
  const common = { key: `conditional ${form} ${condition} ${name} ${action}` };
  const open = { verdict: '不一定', reason: `${otherwise}，${name}也可能${action}` } as const;
  switch (form) {
    case 'forward':
      return { ...common, premises: [rule, holds], question: `${did}吗？`, verdict: '是', reason: holds };
    case 'refrain':
      return { ...common, premises: [rule, holds], question: `${did}吗？`, verdict: '不是', reason: holds };
    case 'backward':
      return {
        ...common,
        premises: [rule, didNot],
        question: `${holds}吗？`,
        verdict: '不是',
        reason: didNot,
      };
    case 'converse':
      return { ...common, premises: [rule, did], question: `${holds}吗？`, ...open };
    case 'inverse':
      return { ...common, premises: [rule, fails], question: `${did}吗？`, ...open };
  }
}

/** The families; comparisons come in so many forms that they count twice. */
export const PUZZLE_FAMILIES: readonly ((random: Random) => Puzzle)[] = [
  syllogism,
  compare,
  compare,
  membership,
  weekday,
  conditional,
];

/** What the puzzles are about: whole words to the tokenizer, so that to name a thing again is to copy one token. */
export const PUZZLE_WORDS: readonly string[] = [
  ...new Set([
    ...NAMES,
    ...GROUPS,
    ...COMPARISONS.flatMap(({ things }) => things),
    ...COLLECTIONS.flatMap(({ place, things }) => [place, ...things]),
    ...WEEKDAYS,
    ...DAYS,
  ]),
];
