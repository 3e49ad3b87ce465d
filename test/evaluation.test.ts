import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { conversations } from '../src/data/datasets.ts';
import { parseConversations, parsePreferences } from '../src/data/formats.ts';
import { isHeldOut } from '../src/data/tasks.ts';
import { brierScore, calibrationError, probabilityOf } from '../src/evaluation/calibration.ts';
import { bestCompression } from '../src/evaluation/compression.ts';
import { isWellFormed } from '../src/evaluation/conversations.ts';
import { generatedExamination, mentionedFacts, sizeOf, taskFacts } from '../src/evaluation/examination.ts';
import { heldOutData } from '../src/evaluation/held-out.ts';
import { bootstrap, jackknife, meanOf, ratioOf, wilson } from '../src/evaluation/intervals.ts';
import { isRight, parseQuestions } from '../src/evaluation/judging.ts';
import { createNearest, similarity } from '../src/evaluation/nearest-question.ts';
import { discountsFrom, ngramNats, trainNgram } from '../src/evaluation/ngram.ts';
import { passAtK } from '../src/evaluation/pass-at-k.ts';
import { heldOutPages } from '../src/evaluation/text.ts';
import { createRandom } from '../src/tensor/index.ts';
import { SPECIAL } from '../src/tokenizer.ts';
import { distinct, repetition } from '../src/variety.ts';
import { expectClose } from './support/close.ts';
import { fc } from './support/property.ts';

describe('the n-gram model', () => {
  const [S, a, b, c] = [0, 1, 2, 3];

  test('by hand: bigrams of S a b, S a c, S b', () => {
    const sequences = [
      [S, a, b],
      [S, a, c],
      [S, b],
    ];
    const model = trainNgram(sequences, { order: 2, vocabSize: 4 });
    // Too little text to estimate discounts from.
    expect(model.discounts).toEqual([
      [0.5, 1, 1.5],
      [0.5, 1, 1.5],
    ]);
    // a stands after S alone, b after S and a, c after a: 1, 2 and 1 of 4 pairs. 2 of 4 are saved, for 4 tokens.
    const short = { S: 0.125, a: 0.5 / 4 + 0.125, b: 1 / 4 + 0.125, c: 0.5 / 4 + 0.125 };
    const after = (before: number[]): number[] =>
      [S, a, b, c].map((token) => model.probability(before, token));
    expectClose(after([c]), [short.S, short.a, short.b, short.c], { relative: 1e-12 });
    // After a: b and c once each, 0.5 of each saved.
    expectClose(after([a]), [short.S / 2, short.a / 2, 0.25 + short.b / 2, 0.25 + short.c / 2]);
    // After S: a twice and b once, 1 + 0.5 of 3 saved.
    expectClose(after([b, S]), [short.S / 2, 1 / 3 + short.a / 2, 0.5 / 3 + short.b / 2, short.c / 2]);
    expectClose(ngramNats(model, [S, a, b]), [-Math.log(1 / 3 + short.a / 2), -Math.log(0.25 + short.b / 2)]);
  });

  test('the discounts of Chen and Goodman by hand', () => {
    // Y = 8 / (8 + 2 · 4) = 0.5
    expect(discountsFrom(8, 4, 2, 1)).toEqual([0.5, 1.25, 2]);
    expect(discountsFrom(8, 0, 2, 1)).toEqual([0.5, 1, 1.5]);
  });

  test('counts how often at the beginning of a sequence, and after how many different tokens elsewhere', () => {
    const model = trainNgram(Array(9).fill([S, a, b]), { order: 3, vocabSize: 4 });
    // Nine times after S, but after a single token: a count of 1, of which 0.5 are saved for b's share of 1 in 2.
    expectClose([model.probability([a], b)], [0.5 + 0.5 * (0.5 / 2 + 0.5 / 4)], { relative: 1e-12 });
    // S a b nine times: (9 - 1.5) / 9, and the rest from the shorter context a.
    expectClose([model.probability([S, a], b)], [7.5 / 9 + (1.5 / 9) * model.probability([a], b)]);
  });

  test('probabilities sum to 1 after any context, seen or not', () => {
    const random = createRandom(3);
    const vocabSize = 12;
    // Small tokens are frequent, so that every count occurs.
    const token = (): number => 1 + Math.floor((vocabSize - 1) * random.uniform() ** 3);
    const sequences = Array.from({ length: 60 }, () => [0, ...Array.from({ length: 20 }, token)]);
    const model = trainNgram(sequences, { order: 4, vocabSize });
    expect(model.discounts.slice(1)).not.toContainEqual([0.5, 1, 1.5]);
    const contexts = fc.array(fc.integer({ min: 1, max: vocabSize - 1 }), { maxLength: 6 });
    fc.assert(
      fc.property(contexts, fc.boolean(), (context, begins) => {
        const before = begins ? [0, ...context] : context;
        const all = Array.from({ length: vocabSize }, (_, each) => model.probability(before, each));
        expect(Math.min(...all)).toBeGreaterThan(0);
        expectClose([all.reduce((sum, each) => sum + each, 0)], [1], { relative: 1e-12 });
      }),
    );
    // A model of the source beats one that knows nothing.
    const unseen = [0, ...Array.from({ length: 200 }, token)];
    const nats = ngramNats(model, unseen).reduce((sum, each) => sum + each, 0) / 200;
    expect(nats).toBeLessThan(Math.log(vocabSize));
  });
});

describe('the compressor', () => {
  test('needs little for what it has read before, and is no worse than without', () => {
    const train = ['天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。寒来暑往，秋收冬藏。'.repeat(3)];
    const known = bestCompression(train, ['寒来暑往，秋收冬藏。日月盈昃，辰宿列张。']);
    const fresh = bestCompression(['abc'], ['寒来暑往，秋收冬藏。日月盈昃，辰宿列张。']);
    expect(known.withContext).toBe(true);
    expect(known.bitsPerByte).toBeLessThan(fresh.bitsPerByte / 3);
    expect(fresh.bitsPerByte).toBeGreaterThan(4);
  });
});

describe('intervals', () => {
  test("Wilson's, against published figures", () => {
    // Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I.
    const { value, low, high, count } = wilson(81, 263);
    expect([value, count]).toEqual([81 / 263, 263]);
    expectClose([low, high], [0.2553, 0.3662], { absolute: 5e-5, relative: 0 });
    expectClose([wilson(0, 20).low, wilson(0, 20).high], [0, 0.1611], { absolute: 5e-5, relative: 0 });
    expectClose([wilson(1, 29).low, wilson(1, 29).high], [0.0061, 0.1718], { absolute: 5e-5, relative: 0 });
    expect(() => wilson(0, 0)).toThrow(RangeError);
  });

  test('of the bootstrap: as wide as theory says, the same for the same seed', () => {
    const random = createRandom(1);
    const numbers = Array.from({ length: 400 }, () => 5 + 2 * random.normal());
    const estimate = meanOf(numbers, 7);
    expect(estimate).toEqual(meanOf(numbers, 7));
    expect(estimate).not.toEqual(meanOf(numbers, 8));
    expectClose([estimate.high - estimate.low], [(2 * 1.96 * 2) / Math.sqrt(400)], { relative: 0.15 });
    expect(estimate.low).toBeLessThan(estimate.value);
    expect(bootstrap([3, 3, 3], ([first]) => first, 1)).toEqual({ value: 3, low: 3, high: 3, count: 3 });
    expect(ratioOf([[1, 2], [3, 2]], 1).value).toBe(1); // biome-ignore format: two pairs
    expect(() => meanOf([], 1)).toThrow(RangeError);
  });

  test('of the jackknife: that of the mean is the classical one', () => {
    const { value, low, high } = jackknife([1, 2, 3, 4, 5], (sample) => meanOf(sample, 1).value);
    const half = 1.959964 * Math.sqrt(2.5 / 5);
    expectClose([value, low, high], [3, 3 - half, 3 + half], { relative: 1e-9 });
  });
});

describe('pass@k', () => {
  test('by hand, and by trying every choice', () => {
    expect(passAtK(4, 1, 2)).toBeCloseTo(0.5, 12); // 3 of the 6 pairs of answers hold the right one
    expect([passAtK(8, 0, 8), passAtK(8, 5, 4), passAtK(8, 1, 8)]).toEqual([0, 1, 1]);
    for (let c = 0; c <= 6; c++) {
      for (let k = 1; k <= 6; k++) {
        const choices = Array.from({ length: 64 }, (_, bits) =>
          [0, 1, 2, 3, 4, 5].filter((i) => bits & (1 << i)),
        );
        const ofK = choices.filter(({ length }) => length === k);
        const share = ofK.filter((choice) => choice.some((i) => i < c)).length / ofK.length;
        expect(passAtK(6, c, k)).toBeCloseTo(share, 12);
      }
    }
    expect(() => passAtK(4, 1, 5)).toThrow(RangeError);
  });
});

describe('calibration', () => {
  test('by hand', () => {
    const [sure, fair] = [Math.log(4), Math.log(3)]; // σ is 0.8 and 0.75
    expect(probabilityOf(sure)).toBeCloseTo(0.8, 12);
    expect(calibrationError([sure, sure, sure, sure, -sure])).toBeCloseTo(0, 12);
    expect(calibrationError([fair, fair, -fair, -fair])).toBeCloseTo(0.25, 12);
    // 5 pairs without error, and 1 at 0.6 that is right, in a bin of its own: 0.4 · 1/6.
    expect(calibrationError([sure, sure, sure, sure, -sure, Math.log(1.5)])).toBeCloseTo(0.4 / 6, 12);
    expect(calibrationError([50])).toBeCloseTo(0, 12);
    expect(brierScore([sure, -sure])).toBeCloseTo((0.04 + 0.64) / 2, 12);
    expect(brierScore([0])).toBe(0.25);
  });
});

describe('variety', () => {
  test('by hand', () => {
    expect(distinct([[1, 2, 1, 2], [1, 3]], 1)).toBe(0.5); // biome-ignore format: two responses
    expect(distinct([[1, 2, 1, 2], [1, 3]], 2)).toBe(0.75); // biome-ignore format: two responses
    expect(repetition([1, 2, 3, 4, 1, 2, 3, 4])).toBeCloseTo(1 / 5, 12);
    expect(repetition([1, 2, 3])).toBe(0);
  });
});

describe('judging', () => {
  test('asks for one pattern of each group, and none that is forbidden', () => {
    const must = [['MyLLM'], ['语言模型', '程序']];
    expect(isRight('我是 myllm，一个程序。', must)).toBe(true);
    expect(isRight('我是一个程序。', must)).toBe(false);
    expect(isRight('我是 MyLLM，也是语言模型，我是人。', must, ['是人(?!工)'])).toBe(false);
    expect(isRight('我是 MyLLM，算是人工智能的语言模型。', must, ['是人(?!工)'])).toBe(true);
  });

  test('an answer in the right form says something and ends with <|im_end|>', () => {
    const formed = (...tokens: number[]) => isWellFormed({ prompt: [9], response: { tokens, ended: true } });
    expect(formed(40, 41, SPECIAL.imEnd)).toBe(true);
    expect(formed(40, 41, SPECIAL.eos)).toBe(false);
    expect(formed(40, SPECIAL.imStart, SPECIAL.imEnd)).toBe(false);
    expect(formed(SPECIAL.imEnd)).toBe(false);
    expect(formed(40, 41)).toBe(false);
  });

  test('the nearest known question shares most pairs of characters', () => {
    expect(similarity(new Set(['天空', '空为']), new Set(['天空', '空蓝', '蓝色']))).toBeCloseTo(2 / 5, 12);
    const answer = createNearest([
      { question: '天空为什么是蓝色的？', answer: '散射' },
      { question: '海水为什么是咸的？', answer: '盐' },
    ]);
    expect(answer('为什么海水那么咸')).toBe('盐');
    expect(answer('天空为何蓝')).toBe('散射');
  });
});

const read = (name: string): string => readFileSync(new URL(`../data/${name}`, import.meta.url), 'utf8');
const bundled = (name: string) => ({ name, text: read(name), own: false });
const DATA = {
  pretrain: bundled('pretrain_data.txt'),
  sft: bundled('sft_data.json'),
  reward: bundled('reward_data.json'),
  rlvf: bundled('rlvf_data.json'),
};

describe('the questions of data/eval_data.json', () => {
  const { identity, paraphrases, identityMustNot } = parseQuestions(read('eval_data.json'));
  const all = [...identity, ...paraphrases];
  /** Letters and digits alone: other punctuation does not make a question new. */
  const bare = (text: string): string => text.replace(/[^\p{L}\p{N}]/gu, '').toLowerCase();

  test('are enough, and each is asked once', () => {
    expect(identity.length).toBeGreaterThanOrEqual(20);
    expect(paraphrases.length).toBeGreaterThanOrEqual(40);
    expect(new Set(all.map(({ prompt }) => bare(prompt))).size).toBe(all.length);
  });

  test('are nowhere in the training data', () => {
    const contents = [
      ...parseConversations(DATA.sft.text, 'sft').flatMap(({ messages }) => messages),
      ...parsePreferences(DATA.reward.text, 'reward').flatMap(({ prompt, chosen, rejected }) => [
        ...prompt,
        { content: chosen },
        { content: rejected },
      ]),
      ...DATA.pretrain.text.split('\n').map((content) => ({ content })),
    ].map(({ content }) => bare(content));
    expect(contents.length).toBeGreaterThan(3000);
    const found = all.filter(({ prompt }) => contents.some((content) => content.includes(bare(prompt))));
    expect(found.map(({ prompt }) => prompt)).toEqual([]);
  });

  test('ask for what the training conversations say, and judge their answers right', () => {
    const { train } = conversations(DATA.sft);
    const isAsked = (messages: (typeof train)[number], of: string): boolean =>
      messages.find(({ role }) => role === 'user')?.content === of;
    for (const question of all) {
      const known = train.filter((messages) => isAsked(messages, question.of));
      expect(known.length, question.of).toBeGreaterThan(0);
      for (const messages of known) {
        const answer = messages.find(({ role }) => role === 'assistant')!.content;
        const mustNot = identity.includes(question) ? identityMustNot : [];
        expect(isRight(answer, question.must, mustNot), `${question.prompt}: ${answer}`).toBe(true);
      }
    }
  });

  test('are not right whatever is said', () => {
    for (const answer of ['', '好的。', '我不知道，请问问别人。']) {
      const right = all.filter(({ must }) => isRight(answer, must, identityMustNot));
      expect(right.map(({ prompt }) => prompt)).toEqual([]);
    }
    const claims = ['我是人。', '我是一个真人。', '我是 ChatGPT。', '我叫小爱，MyLLM 是语言模型。'];
    for (const claim of claims) expect(isRight(claim, [['.']], identityMustNot), claim).toBe(false);
    for (const denial of ['我不是人。', '我不是 ChatGPT。', '我算是人工智能。'])
      expect(isRight(denial, [['.']], identityMustNot), denial).toBe(true);
  });
});

describe('held-out data', () => {
  const held = heldOutData(DATA, { tasks: 120, seed: 1 });

  test('of one stage is not trained on by another', () => {
    const { train } = conversations(DATA.sft);
    const questions = new Set(train.flatMap((messages) => messages.map(({ content }) => content)));
    for (const { prompt } of held.pairs) expect(questions.has(prompt.at(-1)!.content)).toBe(false);
    expect(held.pairs.length).toBeGreaterThan(80);
    expect(held.prompts.length).toBeGreaterThan(100);
    expect(held.documents.heldOut.some((text) => held.documents.train.includes(text))).toBe(false);
  });

  test('asks of facts that no training mentions', () => {
    expect(held.tasks.length).toBeGreaterThan(80);
    const keys = held.tasks.map(({ key }) => key!);
    expect(new Set(keys).size).toBe(keys.length);
    expect(keys.every(isHeldOut)).toBe(true);
    const told = [...held.documents.train, ...held.known.map(({ answer }) => answer)].flatMap(mentionedFacts);
    expect(keys.filter((key) => told.includes(key))).toEqual([]);
    expect(held.tasks.filter(({ type }) => type === 'math').every((task) => sizeOf(task))).toBe(true);
  });

  test('finds the facts in a text', () => {
    expect(mentionedFacts('15+27=42，3减 1，7 加上 30，6×7')).toEqual(['15+27', '3-1', '7+30', '6×7']);
    expect(mentionedFacts('1+2+3')).toEqual(['1+2', '2+3']);
    expect(taskFacts('有23瓶，又来31瓶')).toContain('23+31');
    expect(taskFacts('有23瓶，又来31瓶')).toContain('31-23');
    expect(sizeOf({ prompt: '', expected: '', type: 'math', key: '15+27' })).toBe('up-to-50');
    expect(generatedExamination(20, 1)).toHaveLength(20);
  });

  test('a book is cut into pages, documents stay as they are', () => {
    const book = '字'.repeat(1700);
    const pages = heldOutPages([book]);
    expect(pages.map(({ length }) => length)).toEqual([566, 567, 567]);
    expect(pages.join('')).toBe(book);
    expect(heldOutPages(['a', 'b'])).toEqual(['a', 'b']);
  });
});
