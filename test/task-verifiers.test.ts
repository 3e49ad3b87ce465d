/** The verifiers of the types beyond math and logic: what they accept, what they refuse, and how one might cheat. */

import { describe, expect, it } from 'vitest';
import { UserError } from '../src/errors.ts';
import { VERIFIERS, verifierFor } from '../src/verifiers.ts';
import { fc } from './support/property.ts';

interface Table {
  readonly expected: string;
  readonly right: readonly string[];
  readonly wrong: readonly string[];
}

const TABLES: Readonly<Record<string, readonly Table[]>> = {
  multiplication: [
    {
      expected: '238',
      right: [
        '238',
        '34×7=238。',
        '34×7：4×7=28，3×7=21，21+2=23，得238。',
        '７×３４＝２３８',
        '一共238颗。',
      ],
      wrong: [
        '',
        '28',
        '237、238',
        '238或228',
        '34×7',
        '34×7=',
        '不是238',
        '是238吗？',
        '34×7=228，34×7=238',
      ],
    },
  ],
  counting: [
    {
      expected: '2',
      right: ['2', '2个。', '有2个“香”。', '香1蕉1苹1果1香2，共2个。', '出现了2次'],
      wrong: [
        '',
        '两个',
        '1个',
        '1、2、3',
        '1个，2个，3个',
        '1或2',
        '1到2',
        '2个吗？',
        '不是2',
        '2个或3个',
        '共2个，共3个',
      ],
    },
    { expected: '0', right: ['0', '香0蕉0，共0个。'], wrong: ['没有', '0、1', '香1蕉1'] },
  ],
  equation: [
    {
      expected: '8',
      right: ['8', 'x=8', 'x = 8。', 'x=15-7=8。', 'X＝８', '7+x=15，x=8', '这个数是8。', 'x1=8', 'x=8，x=8'],
      wrong: [
        '',
        '15-7',
        'x=15-7',
        'x=7',
        'x=-8',
        'x=7，x=8',
        'x=7；x=8',
        'x1=7，x2=8',
        'x是7，x是8',
        'x=7或8',
        'x=7或x=8',
        '7、8',
        'x≠8',
        'x=8？',
        'x+7=15',
      ],
    },
    {
      expected: '27',
      right: ['x=42-15：12-5=7，4-1=3，3-1=2，得27。'],
      wrong: ['x=42-15：12-5=7，4-1=3，3-1=2'],
    },
    {
      expected: '4',
      right: ['3x=12，x=4', '3×x=12，x=12÷3=4', 'x×3=12，x=4。'],
      wrong: ['3x=12', '8-x=4', 'x-0=4，求x。'],
    },
  ],
  units: [
    {
      expected: '300厘米',
      right: [
        '300厘米',
        '300 厘米。',
        '300',
        '３００厘米',
        '300cm',
        '3米=300厘米。',
        '1米=100厘米，3×100=300，3米=300厘米。',
      ],
      wrong: [
        '',
        '3米',
        '300米',
        '300毫米',
        '300厘米=3米',
        '30厘米、300厘米',
        '30厘米或300厘米',
        '可能是30厘米，也可能是300厘米',
        '300米或300厘米',
        '300米、300厘米',
        '300厘米、300米',
        '300厘米多',
        '300厘米吗？',
        '不是300厘米',
        '3×100',
      ],
    },
    { expected: '2小时', right: ['2小时', '2个小时', '120分钟=2小时。'], wrong: ['2分钟', '120分钟', '2天'] },
    { expected: '30分', right: ['30分', '30分钟', '30分钱'], wrong: ['30角', '30秒'] },
    { expected: '60', right: ['60分钟', '60'], wrong: ['6'] },
  ],
  comparison: [
    {
      expected: '73',
      right: [
        '73',
        '73。',
        '73大',
        '73更大。',
        '７３',
        '较大的是73。',
        '大的是73',
        '答案是73。',
        '73比37大。',
        '3<7，73大。',
        '3<7，所以73比37大。',
        '37<73，所以73大',
      ],
      wrong: [
        '',
        '37',
        '37、73',
        '37，73',
        '37大，73大',
        '37和73',
        '73或37',
        '可能是73',
        '不是73',
        '73吗？',
        '37比73大',
        '一样大',
        '大于',
        '37和73哪个大？',
      ],
    },
    {
      expected: '小于',
      right: [
        '小于',
        '小于。',
        '填小于',
        '填“小于”。',
        '<',
        '＜',
        '小于号',
        '3<7，所以小于。',
        '37<73',
        '37小于73。',
        '3=3，5<8，所以小于。',
      ],
      wrong: [
        '',
        '大于',
        '等于',
        '大于、小于、等于',
        '大于小于',
        '小于或等于',
        '小于，大于',
        '小于。大于。',
        '不小于',
        '不是小于',
        '可能小于',
        '小于吗？',
        '37>73',
        '37>73，37<73',
        '37是大于、小于还是等于73？',
      ],
    },
    {
      expected: '等于',
      right: ['等于', '=', '相等', '一样大', '37=37', '3=3，7=7，所以等于。'],
      wrong: ['小于', '3=3，7=7'],
    },
  ],
  reversing: [
    {
      expected: '果苹',
      right: [
        '果苹',
        '果苹。',
        '“果苹”',
        '"果苹"',
        '答案是果苹。',
        '答案：果苹',
        '倒过来是“果苹”。',
        '苹、果，倒过来是“果苹”。',
        '“苹果”倒过来是“果苹”。',
        '苹果→果苹',
        '把“苹果”倒过来写是什么？果苹。',
      ],
      wrong: [
        '',
        '苹果',
        '果苹、苹果',
        '苹果、果苹',
        '苹果，果苹',
        '苹果 果苹',
        '苹果\n果苹',
        '苹果。果苹。',
        '“苹果”、“果苹”',
        '“苹果”“果苹”',
        '“苹果”和“果苹”',
        '苹果或果苹',
        '苹果或者“果苹”',
        '可能是果苹',
        '不是果苹',
        '不是“果苹”',
        '果苹吗？',
        '果苹果',
        '果',
        '“果苹”不对',
      ],
    },
    {
      expected: 'cba',
      right: ['cba', 'a、b、c，倒过来是“cba”。'],
      wrong: ['CBA', 'abc', 'cab、cba', 'c b a'],
    },
    { expected: '321', right: ['321', '1、2、3，倒过来是“321”。'], wrong: ['123', '312，321', '3 2 1'] },
  ],
  sorting: [
    {
      expected: '5、37、82',
      right: [
        '5、37、82',
        '5，37，82。',
        '5, 37, 82',
        '5 37 82',
        '5<37<82',
        '从小到大是5、37、82。',
        '37、5、82从小到大是5、37、82。',
        '答案：５、３７、８２',
        '5→37→82',
      ],
      wrong: [
        '',
        '37、5、82',
        '82、37、5',
        '5、37',
        '5、37、82、82',
        '5、5、37、82',
        '37、5、82、5、37、82',
        '37、5、82。5、37、82。',
        '37、5、82\n5、37、82',
        '37、5、82；5、37、82',
        '37、5、82或5、37、82',
        '是37、5、82，是5、37、82',
        '答案是37、5、82，答案是5、37、82',
        '不是5、37、82',
        '5、37、82吗？',
        '5>37>82',
        '5、37、82，不对',
        '5、37、82+1',
      ],
    },
    { expected: '9、4、1', right: ['9>4>1', '9、4、1'], wrong: ['1<4<9', '1、4、9', '9<4<1'] },
  ],
  dates: [
    {
      expected: '4月2日',
      right: [
        '4月2日',
        '4 月 2 日。',
        '4月2号',
        '４月２日',
        '04月02日',
        '是4月2日。',
        '28+5=33，3月有31天，33-31=2，所以是4月2日。',
        '3月28日之后5天是4月2日。',
      ],
      wrong: [
        '',
        '4月1日',
        '2月4日',
        '4月22日',
        '4月1日、4月2日',
        '4月1日，4月2日',
        '4月1日或4月2日',
        '4月1日和4月2日',
        '4月1日\n4月2日',
        '是4月1日，是4月2日',
        '答案是4月1日，答案是4月2日',
        '所以是4月1日，是4月2日',
        '4月1日到4月2日',
        '4月2日，4月3日',
        '不是4月2日',
        '可能是4月2日',
        '4月2日吗？',
        '4月2日之前',
        '4月2日0',
        '四月二日',
        '星期二',
      ],
    },
    {
      expected: '星期一',
      right: [
        '星期一',
        '周一。',
        '礼拜一',
        '3+5=8，8-7=1，所以是星期一。',
        '今天是星期三，5天后是星期一。',
        '星期三之后5天是星期一',
      ],
      wrong: [
        '',
        '星期二',
        '星期一、星期二',
        '星期一星期二星期三星期四星期五星期六星期日',
        '星期一或星期二',
        '星期二，星期一',
        '不是星期一',
        '星期一吗？',
        '1',
        '星期',
        '今天是星期三，5天后是星期几？',
      ],
    },
    { expected: '星期日', right: ['星期日', '星期天', '周日'], wrong: ['星期六', '日'] },
  ],
};

const rows = (side: 'right' | 'wrong'): [type: string, expected: string, answer: string][] =>
  Object.entries(TABLES).flatMap(([type, tables]) =>
    tables.flatMap(({ expected, [side]: answers }) =>
      answers.map((answer): [string, string, string] => [type, expected, answer]),
    ),
  );

describe('the verifiers of the other types', () => {
  it.each(rows('right'))('%s: for %s, %j is right', (type, expected, answer) => {
    expect(verifierFor(type).isCorrect(answer, expected)).toBe(true);
  });

  it.each(rows('wrong'))('%s: for %s, %j is wrong', (type, expected, answer) => {
    expect(verifierFor(type).isCorrect(answer, expected)).toBe(false);
    expect(verifierFor(type).reward(answer, expected)).toBe(-0.5);
  });

  it('are all in the tables', () => {
    expect([...VERIFIERS.keys()].sort()).toEqual(['logic', 'math', ...Object.keys(TABLES)].sort());
  });

  it.each([
    ['multiplication', '多'],
    ['counting', '1、2'],
    ['equation', 'x'],
    ['units', '厘米'],
    ['units', '3米4厘米'],
    ['comparison', '不知道'],
    ['reversing', '“果苹”。'],
    ['sorting', '5'],
    ['sorting', '大'],
    ['dates', '4月'],
    ['dates', '4月1日或4月2日'],
  ])('%s: %s is no expected value', (type, expected) => {
    expect(() => verifierFor(type).isCorrect('1', expected)).toThrow(UserError);
  });

  it('accept at most one of all possible answers, whatever an answer says', () => {
    const candidates: Readonly<Record<string, readonly string[]>> = {
      multiplication: ['1', '2', '12', '21', '22'],
      counting: ['1', '2', '12', '21', '22'],
      equation: ['1', '2', '12', '21', '22'],
      units: ['1米', '2米', '12米', '1厘米', '2厘米'],
      comparison: ['1', '2', '12', '21', '大于', '小于', '等于'],
      reversing: ['12', '21', '大小', '小大'],
      sorting: ['1、2', '2、1', '1、2、12', '12、2、1'],
      dates: ['1月2日', '2月1日', '1月1日', '星期一', '星期二', '星期日'],
    };
    const pieces = '1|2|、|，|。|或|是|不|大|小|于|等|米|厘|=|<|>|x|“|”|月|日|星期|一|二|答案|\n| '.split(
      '|',
    );
    const text = fc.array(fc.constantFrom(...pieces), { maxLength: 24 }).map((chosen) => chosen.join(''));
    fc.assert(
      fc.property(text, (answer) => {
        for (const [type, values] of Object.entries(candidates)) {
          const accepted = values.filter((value) => verifierFor(type).isCorrect(answer, value));
          // A bare number fits any unit.
          const kinds = new Set(
            accepted.map((value) => (type === 'units' ? value.replace(/\D/g, '') : value)),
          );
          expect([type, answer, [...kinds].slice(1)]).toEqual([type, answer, []]);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('take long answers in their stride', () => {
    const started = performance.now();
    const parts = [
      '42，',
      'x=1，',
      '3<7',
      '大于',
      '“果',
      '”',
      '是',
      '4月2日',
      '星期一',
      '、',
      ' ',
      '1',
      '，',
    ];
    const expected: Readonly<Record<string, string>> = Object.fromEntries(
      Object.entries(TABLES).map(([type, [table]]) => [type, table.expected]),
    );
    for (const part of parts) {
      for (const type of Object.keys(TABLES)) verifierFor(type).isCorrect(part.repeat(5000), expected[type]);
    }
    expect(performance.now() - started).toBeLessThan(10_000);
  });
});
