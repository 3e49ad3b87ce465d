import { describe, expect, it } from 'vitest';
import { UserError } from '../src/errors.ts';
import {
  createVerifier,
  logicVerifier,
  mathVerifier,
  RIGHT_REWARD,
  registerVerifier,
  VERDICTS,
  VERIFIERS,
  verifierFor,
  WRONG_REWARD,
} from '../src/verifiers.ts';
import { fc } from './support/property.ts';

describe('mathVerifier', () => {
  it.each([
    ['42', '42'],
    ['42。', '42'],
    ['15+27=42。', '42'],
    ['15 + 27 = 42', '42'],
    ['27=27', '27'],
    ['15加27等于42', '42'],
    ['15和27一共42', '42'],
    ['先算 5+7=12，答案是 42', '42'],
    ['先算5+7=12，再算12+30=42，所以答案是42。', '42'],
    ['小明有5个苹果，又买了3个，一共8个。', '8'],
    ['答案是４２。', '42'],
    ['１５＋２７＝４２', '42'],
    ['一共 1,000 元', '1000'],
    ['１，０００', '1000'],
    ['1000', '1,000'],
    ['1,234,567.50', '1234567.5'],
    ['-5', '-5'],
    ['3-8=-5', '-5'],
    ['3 - 8 = -5', '-5'],
    ['3－8＝－5', '-5'],
    ['答案是 −5', '-5'],
    ['答案是负5', '-5'],
    ['(-5)', '-5'],
    ['3.50', '3.5'],
    ['3.0元', '3'],
    ['007', '7'],
    ['-0', '0'],
    ['答案：42', '42'],
    ['15+27=?\n15+27=42。', '42'],
    ['答案是42。还有问题吗？', '42'],
    ['答案是42。你也可能用别的办法算出来。', '42'],
    ['答案是42，也就是42。', '42'],
    ['42，42', '42'],
    ['15-7=8', '8'],
    ['9007199254740993', '9007199254740993'],
    ['还剩 73-73=0 个', '0'],
    ['6乘7，得42', '42'],
    ['从58里减去19，得39。', '39'],
    ['15+27=20+22=42', '42'],
    ['个位：5+7=12，写2进1；十位：1+2+1=4；所以15+27=42。', '42'],
  ])('%s is right for %s', (answer, expected) => {
    expect(mathVerifier.isCorrect(answer, expected)).toBe(true);
    expect(mathVerifier.reward(answer, expected)).toBe(1);
  });

  it.each([
    ['', '42'],
    ['   \n', '42'],
    ['不知道', '42'],
    ['四十二', '42'],
    ['43', '42'],
    ['142', '42'],
    ['4 2', '42'],
    ['4\u200b2', '42'],
    ['-42', '42'],
    ['42.5', '42'],
    ['42%', '42'],
    ['12 或 13', '13'],
    ['12 或 13', '12'],
    ['12或者13', '13'],
    ['12还是13', '13'],
    ['可能是 12、13', '13'],
    ['可能是12，也可能是13', '13'],
    ['要么12，要么13', '13'],
    ['12个或13个', '13'],
    ['12个、13个', '13'],
    ['12 or 13', '13'],
    ['12,13', '13'],
    ['12/13', '13'],
    ['12 13', '13'],
    ['12\n13\n14', '14'],
    ['12和13', '13'],
    ['10~20', '20'],
    ['10-20', '20'],
    ['10到20', '20'],
    ['11、42、12、42', '42'],
    ['41，42，42', '42'],
    ['答案是42，或者别的数', '42'],
    ['答案是41。答案是42。', '42'],
    ['41。或者42。', '42'],
    ['15+27=41，15+27=42', '42'],
    ['15+27=41=42', '42'],
    ['15+27=41或42', '42'],
    ['15+27=42、43', '43'],
    ['100-50', '50'],
    ['0+64', '64'],
    ['100减50', '50'],
    ['64+', '64'],
    ['50=?', '50'],
    ['不是42', '42'],
    ['是42吗？', '42'],
    ['小明有10个苹果，送给朋友5个，还剩多少个？', '5'],
    ['答案≠42', '42'],
    ['42，不，43', '42'],
    ['9007199254740992', '9007199254740993'],
  ])('%s is wrong for %s', (answer, expected) => {
    expect(mathVerifier.isCorrect(answer, expected)).toBe(false);
    expect(mathVerifier.reward(answer, expected)).toBe(-0.5);
  });

  it('judges every committed number by its value', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: -9999, max: 9999 }),
        fc.integer({ min: -9999, max: 9999 }),
        (n, other) => {
          expect(mathVerifier.isCorrect(`答案是${n}。`, String(n))).toBe(true);
          expect(mathVerifier.isCorrect(`答案是${other}。`, String(n))).toBe(other === n);
        },
      ),
    );
  });

  it('never rewards a list of different numbers, whatever its order and separator', () => {
    const separators = [
      '、',
      '，',
      ',',
      ' ',
      '\n',
      '或',
      '或者',
      ' or ',
      '；',
      '/',
      '还是',
      '和',
      '，也可能是',
    ];
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.nat(199), { minLength: 2, maxLength: 20 }),
        fc.constantFrom(...separators),
        fc.constantFrom('', '答案是', '15+27=', '可能是'),
        (numbers, separator, start) => {
          const list = start + numbers.join(separator);
          for (const n of numbers) expect(mathVerifier.isCorrect(list, String(n))).toBe(false);
        },
      ),
    );
  });

  it('accepts at most one value for any text', () => {
    const text = fc.string({ unit: fc.constantFrom(...'0123456789+-=,.，。、 或是个答案\n') });
    fc.assert(
      fc.property(text, (answer) => {
        const accepted = new Set<string>();
        for (const digits of answer.match(/-?\d+(\.\d+)?/g) ?? []) {
          if (mathVerifier.isCorrect(answer, digits)) accepted.add(String(Number(digits)));
        }
        expect(accepted.size).toBeLessThanOrEqual(1);
      }),
    );
  });

  it('says what is wrong with the expected value of a task', () => {
    expect(() => mathVerifier.isCorrect('42', '')).toThrow(UserError);
    expect(() => mathVerifier.isCorrect('42', '12 或 13')).toThrow(UserError);
  });
});

describe('logicVerifier', () => {
  it.each([
    ['是', '是'],
    ['是。', '是'],
    ['是的', '是'],
    ['是的，小明比小红高。', '是'],
    ['对', '是'],
    ['对的。', '是'],
    ['对，是的。', '是'],
    ['是啊', '是'],
    ['当然是。', '是'],
    ['答案是是', '是'],
    ['答案：是', '是'],
    ['答案是“是”。', '是'],
    ['小明是学生，所以是。', '是'],
    ['是。因为小明是学生，但是小红不是学生。', '是'],
    ['是。可是这不是重点。', '是'],
    ['是因为小明比小红高', '是'],
    ['是。总是这样，还是这样，于是这样，就是这样。', '是'],
    ['不是', '不是'],
    ['不是。', '不是'],
    ['不是的', '不是'],
    ['不对。', '不是'],
    ['否', '不是'],
    ['答案不是', '不是'],
    ['不是。因为小明是老师，不是学生。', '不是'],
    ['不，不是。', '不是'],
    ['小明是不是学生？不是。', '不是'],
    ['当然不是，因为鱼是动物。', '不是'],
    ['不一定', '不一定'],
    ['不一定。', '不一定'],
    ['不一定是', '不一定'],
    ['不一定对。', '不一定'],
    ['不一定。因为……是……', '不一定'],
    ['不一定。因为……是……，……不是……。', '不一定'],
    ['不一定。因为小明是学生，不是老师。', '不一定'],
    ['不一定因为小明是学生', '不一定'],
    ['不一定。可能是，也可能不是。', '不一定'],
    ['答案是不一定。', '不一定'],
    ['“不一定”', '不一定'],
    ['不一定。有的是，有的不是。', '不一定'],
    ['因为小明是学生，所以答案是不一定。', '不一定'],
  ])('%s is right for %s and wrong for the others', (answer, expected) => {
    for (const verdict of VERDICTS) {
      expect([verdict, logicVerifier.isCorrect(answer, verdict)]).toEqual([verdict, verdict === expected]);
    }
    expect(logicVerifier.reward(answer, expected)).toBe(1);
  });

  it.each([
    '',
    ' \n。',
    '是或不是',
    '是，不是，不一定',
    '是 不是 不一定',
    '是、不是或不一定',
    '是/不是',
    '是|不是',
    '是不是',
    '是还是不是',
    '是不是不一定',
    '是不是\n不一定',
    '是\u200b不是',
    '既是又不是',
    '是也不是',
    '是。不是。',
    '不是。是的。',
    '不一定，是',
    '是，但是不一定',
    '是，但不是',
    '对，不是。',
    '是，也可能不是',
    '可能是',
    '可能是，可能不是',
    '但是',
    '可是',
    '于是',
    '还是',
    '总是',
    '就是',
    '只是',
    '但是，可是，还是',
    '小明是学生',
    '小明不是学生。',
    '不是老师',
    '是学生',
    '不',
    '一定',
    '不是吗？',
    '我不知道。',
    '请回答是、不是或不一定。',
  ])('%s is wrong for every verdict', (answer) => {
    for (const verdict of VERDICTS) {
      expect([verdict, logicVerifier.isCorrect(answer, verdict)]).toEqual([verdict, false]);
    }
    expect(logicVerifier.reward(answer, '是')).toBe(-0.5);
  });

  it('accepts at most one verdict for any text', () => {
    const text = fc.string({ unit: fc.constantFrom(...'是不一定对的否或还但可能也，。、 \n…学生因为') });
    fc.assert(
      fc.property(text, (answer) => {
        const accepted = VERDICTS.filter((verdict) => logicVerifier.isCorrect(answer, verdict));
        expect(accepted.length).toBeLessThanOrEqual(1);
      }),
      { numRuns: 2000 },
    );
  });

  it('never rewards a list of different verdicts, whatever its order and separator', () => {
    const separators = [
      '',
      '、',
      '，',
      ' ',
      '\n',
      '或',
      '或者',
      '还是',
      '。',
      '/',
      '和',
      '，也',
      '，但是',
      '！',
      '，所以',
    ];
    fc.assert(
      fc.property(
        fc.shuffledSubarray([...VERDICTS, '是的', '不是的', '对'], { minLength: 2 }),
        fc.constantFrom(...separators),
        (words, separator) => {
          fc.pre(new Set(words.map((word) => (word === '对' ? '是' : word.replace('的', '')))).size > 1);
          const answer = words.join(separator);
          fc.pre(!/不一定[是对]$/.test(answer)); // one verdict, written in full
          for (const verdict of VERDICTS) {
            expect([answer, logicVerifier.isCorrect(answer, verdict)]).toEqual([answer, false]);
          }
        },
      ),
    );
  });

  it('says what is wrong with the expected value of a task', () => {
    expect(() => logicVerifier.isCorrect('是', '也许')).toThrow(UserError);
  });
});

describe('verifiers', () => {
  it('take long answers in their stride', () => {
    const started = performance.now();
    for (const part of [
      '是',
      '不',
      '42，',
      '1+1=',
      '4',
      '-',
      ' ',
      '不是',
      '0.',
      '答案',
      '，',
      '1,000',
      '个',
      'x',
    ]) {
      const answer = part.repeat(20_000);
      mathVerifier.isCorrect(answer, '42');
      logicVerifier.isCorrect(answer, '不一定');
    }
    expect(performance.now() - started).toBeLessThan(5000);
  });

  it('are found by type, and a new one is a few lines', () => {
    expect(verifierFor('math')).toBe(mathVerifier);
    expect(verifierFor('logic')).toBe(logicVerifier);
    expect(() => verifierFor('poetry')).toThrow(UserError);
    expect(() => verifierFor('constructor')).toThrow(UserError);

    const echo = createVerifier('echo', (answer, expected) => answer === expected);
    registerVerifier(echo);
    expect(() => registerVerifier(echo)).toThrow(/already.*another name/);
    expect(verifierFor('echo').reward('a', 'a')).toBe(RIGHT_REWARD);
    expect(verifierFor('echo').reward('b', 'a')).toBe(WRONG_REWARD);
    VERIFIERS.delete(echo.type);
  });
});
