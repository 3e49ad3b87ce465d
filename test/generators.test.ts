import { describe, expect, it } from 'vitest';
import {
  arithmeticLine,
  fact,
  factKey,
  generateDrills,
  generatePretrainDocuments,
  generateTasks,
  isHeldOut,
  workedLine,
} from '../src/data/generators.ts';
import { UserError } from '../src/errors.ts';
import { VERDICTS, verifierFor } from '../src/verifiers.ts';
import { fc } from './support/property.ts';

const SPLITS = ['train', 'heldOut'] as const;
const drillsNamed = (name: string) =>
  generateDrills({ count: 900, seed: 1 }).filter(({ prompt }) => prompt.startsWith(name));
const sample = (split: 'train' | 'heldOut', type: 'math' | 'logic', count = 3000, seed = 7) =>
  generateTasks({ count, seed, split, types: [type] });

describe('the split', () => {
  it('holds out about 8% of the facts', () => {
    const keys = [];
    for (let a = 0; a < 100; a++) for (let b = a; b < 100; b++) keys.push(factKey(fact(a, '+', b)));
    const share = keys.filter(isHeldOut).length / keys.length;
    expect(share).toBeGreaterThan(0.06);
    expect(share).toBeLessThan(0.1);
  });

  it('does not move', () => {
    expect([...Array(40).keys()].filter((n) => isHeldOut(`${n}+57`))).toMatchInlineSnapshot(`
      [
        11,
        20,
        26,
        28,
        32,
        35,
        36,
        37,
      ]
    `);
  });

  it('puts 15+27 and 27+15 on one side, and 15-7 on its own', () => {
    fc.assert(
      fc.property(fc.nat(99), fc.nat(99), (a, b) => {
        expect(factKey(fact(a, '+', b))).toBe(factKey(fact(b, '+', a)));
        expect(factKey(fact(a, '×', b))).toBe(factKey(fact(b, '×', a)));
      }),
    );
    expect(factKey(fact(15, '-', 7))).toBe('15-7');
  });

  it('never holds out the tables', () => {
    for (let a = 0; a < 10; a++) {
      for (let b = 0; b < 10; b++) {
        for (const key of [`${a}+${b}`, `${a}×${b}`, `${a}-${b}`, `1${a}-${b}`])
          expect(isHeldOut(key)).toBe(false);
      }
    }
  });

  it.each(SPLITS)('is kept by the tasks of %s', (split) => {
    for (const task of generateTasks({ count: 4000, seed: 1, split })) {
      expect([task.key, isHeldOut(task.key)]).toEqual([task.key, split === 'heldOut']);
    }
  });
});

describe('generateTasks', () => {
  it('depends on the seed alone, and a longer run begins with a shorter one', () => {
    const short = generateTasks({ count: 50, seed: 3, split: 'train' });
    expect(generateTasks({ count: 100, seed: 3, split: 'train' }).slice(0, 50)).toEqual(short);
    expect(generateTasks({ count: 50, seed: 4, split: 'train' })).not.toEqual(short);
  });

  it('takes the types in turn', () => {
    expect(generateTasks({ count: 4, seed: 3, split: 'train' }).map((task) => task.type)).toEqual([
      'math',
      'logic',
      'math',
      'logic',
    ]);
    expect(sample('train', 'logic', 5).every((task) => task.type === 'logic')).toBe(true);
  });

  it('does not ask the same twice', () => {
    const prompts = generateTasks({ count: 2000, seed: 3, split: 'train' }).map((task) => task.prompt);
    expect(new Set(prompts).size).toBe(prompts.length);
  });

  it.each(SPLITS)('gives answers that the verifiers accept (%s)', (split) => {
    for (const { prompt, answer, expected, type } of generateTasks({ count: 4000, seed: 2, split })) {
      expect([prompt, answer, verifierFor(type).isCorrect(answer, expected)]).toEqual([prompt, answer, true]);
    }
  });

  it('gives prompts that are not answers themselves', () => {
    for (const { prompt, expected, type } of generateTasks({ count: 2000, seed: 5, split: 'train' })) {
      if (type === 'logic')
        expect([prompt, verifierFor(type).isCorrect(prompt, expected)]).toEqual([prompt, false]);
    }
  });

  it('refuses a count that is none, and no types', () => {
    expect(() => generateTasks({ count: -1, seed: 1, split: 'train' })).toThrow(UserError);
    expect(() => generateTasks({ count: 1.5, seed: 1, split: 'train' })).toThrow(UserError);
    expect(() => generateTasks({ count: 1, seed: 1, split: 'train', types: [] })).toThrow(UserError);
    expect(() => generatePretrainDocuments({ count: Number.NaN, seed: 1 })).toThrow(UserError);
  });
});

/** The value of an expression of whole numbers; × before + and -. */
function evaluate(expression: string): number {
  return expression
    .split(/(?=[+-])/)
    .map((term) => {
      const sign = term.startsWith('-') ? -1 : 1;
      return (
        sign *
        term
          .replace(/^[+-]/, '')
          .split('×')
          .map(Number)
          .reduce((a, b) => a * b, 1)
      );
    })
    .reduce((a, b) => a + b, 0);
}

const EQUATION = /(\d+(?:[-+×]\d+)*)=(\d+)/g;

describe('arithmetic', () => {
  it('answers what was asked, with working or without', () => {
    const tasks = sample('train', 'math');
    const worked = tasks.filter(({ answer }) => answer.includes('，')).length / tasks.length;
    // Four of ten answers, less the facts that need no working.
    expect(worked).toBeGreaterThan(0.28);
    expect(worked).toBeLessThan(0.38);
    for (const { prompt, answer, expected } of tasks) {
      const [, bare, result, restated, steps, told] =
        /^(?:(\d+[-+×]\d+)=(\d+)|(\d+[-+]\d+)：(\d[^得]+)，得(\d+))。$/.exec(answer)!;
      for (const [, equation, value] of answer.matchAll(EQUATION))
        expect(evaluate(equation)).toBe(Number(value));
      for (const step of steps?.split('，') ?? []) expect(step).toMatch(/^1?\d[-+]\d=1?\d$/);
      expect(result ?? told).toBe(expected);
      const equation = bare ?? restated;
      const asked = prompt.match(/\d+/g)!;
      expect(equation.match(/\d+/g)).toEqual(asked);
      const operator = equation.match(/[-+×]/)![0];
      const words = { '+': /加|\+|一共|又上来/, '-': /减|-|剩|还有/, '×': /乘|×|每/ }[operator]!;
      expect(prompt).toMatch(words);
    }
  });

  it('writes an equation', () => {
    expect(arithmeticLine(fact(15, '+', 27))).toBe('15+27=42');
    expect(arithmeticLine(fact(42, '-', 15))).toBe('42-15=27');
    expect(arithmeticLine(fact(6, '×', 7))).toBe('6×7=42');
  });

  it('works column by column', () => {
    expect(workedLine(fact(15, '+', 27))).toBe('15+27：5+7=12，1+2=3，3+1=4，得42');
    expect(workedLine(fact(51, '+', 68))).toBe('51+68：1+8=9，5+6=11，得119');
    expect(workedLine(fact(42, '-', 15))).toBe('42-15：12-5=7，4-1=3，3-1=2，得27');
    expect(workedLine(fact(48, '-', 5))).toBe('48-5：8-5=3，4-0=4，得43');
    expect(workedLine(fact(8, '+', 7))).toBe('8+7=15');
    expect(workedLine(fact(6, '×', 7))).toBe('6×7=42');
  });

  it('drills the steps that working consists of', () => {
    const drills = generateDrills({ count: 450, seed: 1 }).filter(
      ({ prompt }) => !/^(比一比|排一排|找一找|顺着找|数一数)/.test(prompt),
    );
    expect(drills.length).toBe(100);
    for (const { prompt, answer } of drills) {
      const asked = prompt.replace(/^[^\d]*/, '').split('，');
      const steps = answer.slice(0, -1).split('，');
      expect(steps.map((step) => step.split('=')[0])).toEqual(asked);
      for (const step of steps) {
        expect(step).toMatch(/^1?\d[-+]\d=1?\d$/);
        const [equation, result] = step.split('=');
        expect(evaluate(equation)).toBe(Number(result));
      }
    }
  });

  it('stays within two digits and above zero', () => {
    for (const { answer } of sample('train', 'math')) {
      const numbers = answer.match(/\d+/g)!.map(Number);
      expect(Math.max(numbers[0], numbers[1])).toBeLessThan(100);
      expect(Math.min(...numbers)).toBeGreaterThanOrEqual(0);
    }
  });
});

// An independent checker: it reads the puzzle as text and tries every possible world.

type World = (claim: string) => boolean;

const PAIR =
  /^(.+?)(?:比(.+?)(高|矮|重|轻|大|小|跑得快|跑得慢|快|慢|贵|便宜|到得早|到得晚)|在(.+?)(前面|后面))$/;
const LESS = /矮|轻|^小$|慢|便宜|晚|后面/;

/** Every ranking of the things named, ties included. */
function rankings(claims: readonly string[]): World[] {
  const read = (claim: string) => {
    const [, a, b1, word1, b2, word2] = PAIR.exec(claim)!;
    const [b, word] = [b1 ?? b2, word1 ?? word2];
    return LESS.test(word) ? [b, a] : [a, b];
  };
  const things = [...new Set(claims.flatMap(read))];
  const worlds: World[] = [];
  for (let code = 0; code < things.length ** things.length; code++) {
    const rank = new Map(
      things.map((thing, i) => [thing, Math.floor(code / things.length ** i) % things.length]),
    );
    worlds.push((claim) => {
      const [greater, smaller] = read(claim);
      return rank.get(greater)! > rank.get(smaller)!;
    });
  }
  return worlds;
}

/** Every day that today can be. */
function weeks(): World[] {
  return [0, 1, 2, 3, 4, 5, 6].map((today) => (claim) => {
    const [, day, not, name] = /^(前天|昨天|今天|明天|后天)(不?)是星期(.)$/.exec(claim)!;
    const index = (today + ['前天', '昨天', '今天', '明天', '后天'].indexOf(day) - 2 + 7) % 7;
    return (index === '一二三四五六日'.indexOf(name)) === (not === '');
  });
}

/** Every content of a place, given all the things that might be there. */
function contents(things: readonly string[]): World[] {
  return Array.from({ length: 2 ** things.length }, (_, bits) => {
    const present = things.filter((_thing, i) => (bits >> i) & 1);
    return (claim: string) => {
      const [, only, list, more] = /里?上?(只?)有(.+?)(，还有一.+)?$/.exec(claim)!;
      const named = list.split(/[、和]/);
      const all = named.every((thing) => present.includes(thing));
      if (only) return all && present.length === named.length;
      return all && (more === undefined || present.length === named.length + 1);
    };
  });
}

/** Whether it rains (say) and whether the deed was done: four worlds. */
function deeds(claims: readonly string[]): World[] {
  const rule = claims.find((claim) => claim.startsWith('如果'))!;
  const [, condition, name, not, action] = /^如果(.+?)，(小.)就(不?)(.+)$/.exec(rule)!;
  return [0, 1, 2, 3].map((bits) => (claim) => {
    const [holds, done] = [(bits & 1) === 1, (bits & 2) === 2];
    if (claim === rule) return !holds || done === (not === '');
    if (claim.startsWith(name)) {
      expect([`${name}${action}了`, `${name}没有${action}`]).toContain(claim);
      return done === !claim.includes('没有');
    }
    expect(claim.replace(/没有|不/, '').replace('了', '')).toBe(condition);
    return holds === !/没有|不/.test(claim);
  });
}

/** Two people at most, each in or out of the group and with or without the habit: every combination. */
function people(claims: readonly string[]): World[] {
  const rule = claims.find((claim) => /^(所有的|每个|有的)|^..都/.test(claim))!;
  const [, some, group, habit] = /^(所有的|每个|有的)?(..)都?不?(.+)$/.exec(rule)!;
  const names = [...new Set(claims.flatMap((claim) => claim.match(/小./g) ?? []))];
  const friend = claims.find((claim) => claim.includes('的朋友都是'));
  // A stranger of each kind may exist too, so that 有的 can be true without anyone who is named.
  const bodies = [...names, '别人'];
  const worlds: World[] = [];
  for (let code = 0; code < 8 ** bodies.length; code++) {
    const traits = new Map(bodies.map((body, i) => [body, (code >> (3 * i)) & 7]));
    const [inGroup, has, isFriend] = [1, 2, 4].map(
      (bit) => (body: string) => (traits.get(body)! & bit) !== 0,
    );
    worlds.push((claim) => {
      if (claim === rule) {
        const members = bodies.filter(inGroup);
        if (some === '有的') return members.some(has);
        return members.every((body) => has(body) === !claim.includes(`不${habit}`));
      }
      if (claim === friend) return bodies.filter(isFriend).every(inGroup);
      const body = claim.slice(0, 2);
      if (claim.endsWith('的朋友')) return isFriend(body);
      if (claim.endsWith(group)) return inGroup(body) === !claim.includes('不是');
      expect([`${body}${habit}`, `${body}不${habit}`]).toContain(claim);
      return has(body) === !claim.includes('不');
    });
  }
  return worlds;
}

/** What holds in every world in which the premises hold. */
function solve(prompt: string): string {
  const sentences = prompt.replace(/吗？$/, '').split('。');
  const claim = sentences.pop()!;
  const parts = (premise: string) => (/^如果|看不清/.test(premise) ? [premise] : premise.split('，'));
  const premises = sentences.flatMap(parts);
  const claims = [...premises, claim];
  const worlds =
    prompt.startsWith('如果') || /。如果/.test(prompt)
      ? deeds(claims)
      : /星期/.test(prompt)
        ? weeks()
        : /(里|上)只?有/.test(prompt)
          ? contents([
              ...new Set([...claims.flatMap((c) => /有([^，]+)/.exec(c)![1].split(/[、和]/)), '别的']),
            ])
          : /都|每个|有的/.test(prompt)
            ? people(claims)
            : rankings(claims);
  const possible = worlds.filter((world) => premises.every(world));
  expect(possible.length, `${prompt} contradicts itself`).toBeGreaterThan(0);
  const truths = new Set(possible.map((world) => world(claim)));
  return truths.size === 2 ? '不一定' : truths.has(true) ? '是' : '不是';
}

describe('logic', () => {
  it.each(SPLITS)('has the verdict that all possible worlds agree on (%s)', (split) => {
    for (const { prompt, expected } of sample(split, 'logic', 1500)) {
      expect([prompt, expected]).toEqual([prompt, solve(prompt)]);
    }
  });

  it('is balanced over the verdicts, in all and in most families', () => {
    const tasks = sample('train', 'logic');
    for (const verdict of VERDICTS) {
      const share = tasks.filter((task) => task.expected === verdict).length / tasks.length;
      expect(share).toBeGreaterThan(0.28);
      expect(share).toBeLessThan(0.38);
    }
    const families = new Set(tasks.map((task) => `${task.key.split(' ')[0]} ${task.expected}`));
    expect(families.size).toBe(15);
  });

  it('reasons in steps that are true', () => {
    const tasks = sample('train', 'logic').filter(({ key }) => /^(compare|weekday)/.test(key));
    for (const { prompt, answer } of tasks) {
      const given = prompt.slice(0, prompt.lastIndexOf('。'));
      const [claim, steps] = answer.split('：');
      const isTrue = (fact: string): boolean => solve(`${given}。${fact}吗？`) === '是';
      for (const step of steps.split('，').slice(0, -1)) {
        if (/^往|^从.+找|>没有$/.test(step)) continue;
        const [, asked, end] = /^(.+)(多|少)$/.exec(step) ?? [];
        if (end) {
          expect(claim.startsWith(asked)).toBe(true);
          expect([claim, end]).toEqual([claim, /(矮|轻|小|慢|便宜|晚|后面)$/.test(claim) ? '少' : '多']);
          continue;
        }
        const [, a, b, likeness] = /^(.+)和(.+)(相|不)同$/.exec(step) ?? [];
        if (likeness) {
          expect([step, likeness]).toEqual([step, a === b ? '相' : '不']);
          continue;
        }
        // 小丽>小云 stands for the relation that is asked about, or for its opposite the other way round.
        const [above, below] = step.includes('<') ? step.split('<').reverse() : step.split('>');
        const [, word] = below
          ? /^(?:.+比.+?|.+在.+?)([高矮重轻大小快慢贵早晚]|便宜|.面|跑得.|到得.)$/.exec(claim)!
          : [];
        const [greater, smaller] = word && LESS.test(word) ? [below, above] : [above, below];
        const fact = !word
          ? step
          : word.endsWith('面')
            ? `${greater}在${smaller}${word}`
            : `${greater}比${smaller}${word}`;
        expect([prompt, step, isTrue(fact)]).toEqual([prompt, step, true]);
      }
    }
  });

  it('drills the likeness of words', () => {
    const drills = drillsNamed('比一比');
    expect(drills.length).toBe(100);
    const steps = drills.flatMap(({ answer }) => answer.slice(0, -1).split('，'));
    const same = steps.filter((step) => /^(.+)和\1相同$/.test(step));
    expect(steps.every((step) => /^(.+)和\1相同$/.test(step) || /^(.+)和(?!\1不).+不同$/.test(step))).toBe(
      true,
    );
    expect(same.length / steps.length).toBeGreaterThan(0.4);
    expect(same.length / steps.length).toBeLessThan(0.7);
  });

  it('drills the order of two, told from either end', () => {
    const drills = drillsNamed('排一排：');
    expect(drills.length).toBe(200);
    let turned = 0;
    let count = 0;
    for (const { prompt, answer } of drills) {
      const expected = prompt
        .slice('排一排：'.length)
        .split('，')
        .map((premise) => {
          const [, a, b, rest] = /^(.+?)(?:比|在)(.{1,3}?)(跑得.|到得.|.面|便宜|[高矮重轻大小快慢贵])$/.exec(
            premise,
          )!;
          count++;
          if (!LESS.test(rest)) return `${a}>${b}`;
          turned++;
          return `${a}<${b}，${b}>${a}`;
        });
      expect([prompt, answer]).toEqual([prompt, `${expected.join('，')}。`]);
    }
    expect(turned / count).toBeGreaterThan(0.4);
    expect(turned / count).toBeLessThan(0.6);
  });

  it('drills what facts say of a thing, or that they say nothing', () => {
    const drills = drillsNamed('找一找：');
    expect(drills.length).toBe(200);
    let nothing = 0;
    let count = 0;
    for (const { prompt, answer } of drills) {
      const [facts, asked] = prompt.slice('找一找：'.length).split('。');
      const below = new Map(facts.split('，').map((each) => each.split('>') as [string, string]));
      expect(below.size).toBe(facts.split('，').length);
      // Whoever goes down from anywhere arrives.
      for (const start of below.keys()) {
        let steps = 0;
        for (
          let thing: string | undefined = start;
          thing !== undefined && steps <= 99;
          thing = below.get(thing)
        )
          steps++;
        expect(steps).toBeLessThanOrEqual(below.size + 1);
      }
      const expected = asked.split('、').map((thing) => `${thing}>${below.get(thing) ?? '没有'}`);
      expect([prompt, answer]).toEqual([prompt, `${expected.join('，')}。`]);
      nothing += expected.filter((each) => each.endsWith('没有')).length;
      count += expected.length;
    }
    expect(nothing / count).toBeGreaterThan(0.25);
    expect(nothing / count).toBeLessThan(0.6);
  });

  it('drills the way to what is looked for, where a thing is above two', () => {
    const drills = drillsNamed('顺着找：');
    expect(drills.length).toBe(100);
    let second = 0;
    let count = 0;
    for (const { prompt, answer } of drills) {
      const [facts, asked] = prompt.slice('顺着找：'.length).split('。');
      const pairs = facts.split('，').map((each) => each.split('>'));
      const expected = asked.split('、').map((question) => {
        const [, from, to] = /^从(.+)找(.+)$/.exec(question)!;
        expect(from).not.toBe(to);
        const below = pairs.filter(([above]) => above === from).map(([, each]) => each);
        count++;
        if (below.indexOf(to) > 0) second++;
        return `${question}，${from}>${below.includes(to) ? to : (below[0] ?? '没有')}`;
      });
      expect([prompt, answer]).toEqual([prompt, `${expected.join('，')}。`]);
    }
    // The first fact about a thing is not always the answer.
    expect(second / count).toBeGreaterThan(0.15);
  });

  it('drills the counting of days, of which none is held out', () => {
    const names = ['前天', '昨天', '今天', '明天', '后天'];
    const drills = drillsNamed('数一数：');
    expect(drills.length).toBe(100);
    for (const { prompt, answer } of drills) {
      const questions = prompt.slice('数一数：'.length).split('；');
      const countings = answer.split('。').slice(0, -1);
      expect(countings.length).toBe(questions.length);
      questions.forEach((question, i) => {
        const [known, asked] = question.split('，');
        const [first, direction, ...days] = countings[i].split('，');
        expect(first).toBe(known);
        const step = direction === '往后数' ? 1 : -1;
        const read = (told: string) => {
          const [, day, is, weekday] = /^(..)(不?是)星期(.)$/.exec(told)!;
          return { day: names.indexOf(day), is, weekday: '一二三四五六日'.indexOf(weekday) };
        };
        const start = read(known);
        expect(days.map(read)).toEqual(
          days.map((_, k) => ({
            day: start.day + step * (k + 1),
            is: start.is,
            weekday: (start.weekday + step * (k + 1) + 7) % 7,
          })),
        );
        expect(names[read(days.at(-1)!).day]).toBe(asked);
        expect(isHeldOut(`weekday ${known} ${asked}`)).toBe(false);
      });
    }
  });

  it('answers in one form, shortly', () => {
    for (const { prompt, answer } of sample('train', 'logic')) {
      expect(answer).toMatch(/^[^。：]+：[^。：]+，所以(是|不是|不一定)。$/);
      expect(prompt.endsWith(`。${answer.split('：')[0]}吗？`)).toBe(true);
      expect(prompt.length + answer.length).toBeLessThan(180);
    }
  });
});

describe('generatePretrainDocuments', () => {
  const documents = generatePretrainDocuments({ count: 1500, seed: 11 });

  it('depends on the seed alone', () => {
    expect(generatePretrainDocuments({ count: 20, seed: 11 })).toEqual(documents.slice(0, 20));
    expect(generatePretrainDocuments({ count: 20, seed: 12 })).not.toEqual(documents.slice(0, 20));
  });

  it('varies', () => {
    expect(new Set(documents).size).toBe(documents.length);
    expect(documents.every((document) => document.trim() === document && document.length > 5)).toBe(true);
  });

  it('has no wrong equation and none that is held out', () => {
    let count = 0;
    for (const document of documents) {
      for (const [equation, expression, result] of document.matchAll(EQUATION)) {
        expect([equation, evaluate(expression)]).toEqual([equation, Number(result)]);
        count++;
        const operands = /^(\d+)([-+×])(\d+)$/.exec(expression);
        if (operands === null) continue;
        const [, left, operator, right] = operands;
        const key = factKey(fact(Number(left), operator as '+' | '-' | '×', Number(right)));
        expect([key, isHeldOut(key)]).toEqual([key, false]);
      }
    }
    expect(count).toBeGreaterThan(2000);
  });

  it('has no wrong verdict', () => {
    let count = 0;
    for (const document of documents) {
      for (const [, prompt, verdict] of document.matchAll(
        /^(?:问：)?(.+吗？)\n(?:答：)?[^。\n]+，所以(是|不是|不一定)。$/gm,
      )) {
        expect([prompt, verdict]).toEqual([prompt, solve(prompt)]);
        count++;
      }
      for (const [, given, denied, unknown] of document.matchAll(
        /^(.+?)。(?:因为[^。]+，)?所以说“(.+)”(?:不对|(不一定对))。$/gm,
      )) {
        expect([given, denied, solve(`${given}。${denied}吗？`)]).toEqual([
          given,
          denied,
          unknown ? '不一定' : '不是',
        ]);
        count++;
      }
    }
    expect(count).toBeGreaterThan(800);
  });
});
