import { afterEach, describe, expect, test } from 'vitest';
import { parseConversations, parsePreferences, parsePretrain, parseTasks } from '../src/data/formats.ts';
import { UserError } from '../src/errors.ts';
import { setLanguage } from '../src/i18n.ts';
import { fc } from './support/property.ts';

afterEach(() => setLanguage('en'));

const user = (content: string) => ({ role: 'user', content });
const assistant = (content: string) => ({ role: 'assistant', content });
const system = (content: string) => ({ role: 'system', content });

function expectErrors<T>(
  parse: (content: string, source: string) => T,
  cases: [content: unknown, message: RegExp][],
): void {
  for (const [content, message] of cases) {
    const json = typeof content === 'string' ? content : JSON.stringify(content);
    expect(() => parse(json, 'my.json'), json).toThrow(UserError);
    expect(() => parse(json, 'my.json')).toThrow(message);
    expect(() => parse(json, 'my.json')).toThrow('my.json');
  }
}

describe('pretraining documents', () => {
  test('plain text, split at separator lines', () => {
    expect(parsePretrain('\ufeff一\n二\n', 'a.txt')).toEqual(['一\n二']);
    const text = '<|endoftext|>\n\n  一\n\n二\n<|endoftext|>\r\n \n<|endoftext|>\n三 <|endoftext|> 四\n\n';
    expect(parsePretrain(text, 'a.txt')).toEqual(['  一\n\n二', '三 <|endoftext|> 四']);
    expect(parsePretrain('{"not": "json data"}', 'a.md')).toEqual(['{"not": "json data"}']);
    expect(() => parsePretrain(' \n<|endoftext|>\n', 'a.txt')).toThrow(/a.txt holds no records/);
  });

  test('JSON and JSONL, strings or objects with text', () => {
    expect(parsePretrain('["一", {"text": "二"}]', 'a.json')).toEqual(['一', '二']);
    expect(parsePretrain('{"text": "一"}\n\n"二"\n', 'a.jsonl')).toEqual(['一', '二']);
    expect(parsePretrain('{"text": "一"}\n{"text": "二"}\n', 'a.json')).toEqual(['一', '二']);
    expect(parsePretrain('[{"text": "一"}]', 'a.jsonl')).toEqual(['一']);
    expect(parsePretrain('{"text": "一"}', 'a.json')).toEqual(['一']);
    expectErrors(parsePretrain, [
      ['', /no records/],
      [[], /no records/],
      [[{ texts: 'x' }], /record 1: the field text is missing/],
      [['x', ''], /record 2: the field text is empty/],
      [[3], /record 1: this is not a JSON object/],
      ['["\\ud83d"]', /half a character/],
      ['[\n"a",\n"b"\n"c"]', /not valid JSON \(a mistake near line [34]/],
      ['["a", "b', /not valid JSON/],
    ]);
    expect(() => parsePretrain('{"text":"a"}\n{"text":\n', 'b.jsonl')).toThrow(
      'b.jsonl, line 2: this is not valid JSON',
    );
    expect(() => parsePretrain('{"text":"a"}\n\n{"text":1}\n', 'b.jsonl')).toThrow(
      'b.jsonl, line 3: the field text',
    );
  });
});

describe('poems as chinese-poetry writes them', () => {
  test('are documents: title, author, and each paragraph on a line', () => {
    const poem = {
      title: '无题',
      author: '无名',
      paragraphs: ['山高月小天，', '水落石出边。'],
      tags: ['五言'],
      id: 'x',
    };
    expect(parsePretrain(JSON.stringify([poem, { paragraphs: ['一。'] }]), 'poems.json')).toEqual([
      '无题\n无名\n山高月小天，\n水落石出边。',
      '一。',
    ]);
    expectErrors(parsePretrain, [
      [[{ title: '无题', paragraphs: [] }], /record 1: the field text is missing/],
      [[{ title: '无题', paragraphs: ['一。', 2] }], /record 1: the field paragraphs\[1\] is not a string/],
      [[{ title: 3, paragraphs: ['一。'] }], /record 1: the field title is not a string/],
    ]);
  });
});

describe('sums as plain text', () => {
  const sums = '\ufeff\n8+12=20\r\n 100 - 7 = 93 \n\n(2+3)×4=20\n';

  test('are exercises of fine-tuning and tasks of RLVF', () => {
    expect(parseConversations(sums, 'sums.txt').map(({ messages }) => messages)).toEqual([
      [user('8+12='), assistant('20')],
      [user('100 - 7 ='), assistant('93')],
      [user('(2+3)×4='), assistant('20')],
    ]);
    expect(parseTasks(sums, 'sums.txt')[1]).toEqual({ prompt: '100 - 7 =', expected: '93', type: 'math' });
    expect(parsePretrain('1+1=2\n1+2=3\n', 'sums.txt')).toEqual(['1+1=2\n1+2=3']);
  });

  test('another line is a mistake, and other text is told to be text', () => {
    for (const parse of [parseConversations, parseTasks]) {
      expect(() => parse('1+1=2\n1+2\n', 'sums.txt')).toThrow(
        'sums.txt, line 2: this is no sum like 8+12=20',
      );
      expect(() => parse('1+1=two\n', 'a.txt')).toThrow('a.txt is plain text, not JSON');
      expect(() => parse('x=1\n', 'a.txt')).toThrow('a.txt is plain text, not JSON');
    }
    expect(() => parsePreferences('1+1=2\n', 'a.txt')).toThrow(/plain text is for pretraining alone/);
  });
});

describe('conversations', () => {
  const parse = (...records: unknown[]) => parseConversations(JSON.stringify(records), 'my.json');

  test('the common shapes', () => {
    const expected = [system('s'), user('q'), assistant('a')];
    expect(parse({ messages: expected, category: 'x' })).toEqual([{ messages: expected, category: 'x' }]);
    const shareGpt = [
      { from: 'system', value: 's' },
      { from: 'human', value: 'q' },
      { from: 'gpt', value: 'a' },
    ];
    expect(parse({ conversations: shareGpt })).toEqual([{ messages: expected }]);
    expect(parse({ conversations: shareGpt.slice(1), system: 's' })).toEqual([{ messages: expected }]);
    expect(parse({ conversations: [user('q'), assistant('a')] })).toEqual([
      { messages: [user('q'), assistant('a')] },
    ]);
    expect(parse({ instruction: 'q', input: '', output: 'a' })[0].messages).toEqual([
      user('q'),
      assistant('a'),
    ]);
    expect(parse({ instruction: 'q', input: 'i', output: 'a', system: 's' })[0].messages).toEqual([
      system('s'),
      user('q\ni'),
      assistant('a'),
    ]);
    expect(parse({ prompt: 'q', response: 'a' })[0].messages).toEqual([user('q'), assistant('a')]);
    expect(parse({ prompt: [user('q')], completion: [assistant('a')] })[0].messages).toEqual([
      user('q'),
      assistant('a'),
    ]);
    expect(
      parse({ messages: [user('q'), { role: 'assistant', content: [{ type: 'text', text: 'a' }] }] })[0]
        .messages,
    ).toEqual([user('q'), assistant('a')]);
    expect(parse({ messages: [user('q'), assistant('a'), user('left out')] })[0].messages).toHaveLength(2);
  });

  test('JSONL', () => {
    const line = JSON.stringify({ prompt: 'q', response: 'a\nb' });
    expect(parseConversations(`${line}\r\n${line}\r\n`, 'x.jsonl')).toHaveLength(2);
    expect(() => parseConversations(`${line}\n{"prompt":"q"}\n`, 'x.jsonl')).toThrow(
      'x.jsonl, line 2: the field response is missing; make it a text',
    );
  });

  test('errors name the file, the record, the field and the fix', () => {
    expectErrors(parseConversations, [
      [[{ question: 'x' }], /record 1: no known field; use one of/],
      [['x'], /record 1: this is not a JSON object/],
      [[null], /record 1/],
      [[{ messages: [] }], /messages is not a list of messages/],
      [[{ messages: 'x' }], /messages is not a list/],
      [[{ messages: ['x'] }], /messages\[0\] is not a message/],
      [
        [{ messages: [user('q'), { role: 'bot', content: 'a' }] }],
        /messages\[1\].role is "bot"; use one of system, user/,
      ],
      [[{ messages: [user('q'), { role: 'constructor', content: 'a' }] }], /messages\[1\].role/],
      [
        [{ conversations: [{ from: 'bing', value: 'a' }] }],
        /conversations\[0\].from is "bing"; use one of system, human/,
      ],
      [
        [{ messages: [user('q'), assistant('a')] }, { messages: [user('q'), { role: 'assistant' }] }],
        /record 2: the field messages\[1\].content is missing/,
      ],
      [[{ messages: [user('q'), assistant(' ')] }], /messages\[1\].content is empty/],
      [
        [{ messages: [user('q'), { role: 'assistant', content: null }] }],
        /messages\[1\].content is not a string/,
      ],
      [[{ messages: [user('q')] }], /no answer by the assistant/],
      [[{ messages: [user('q'), system('s'), assistant('a')] }], /messages\[1\] is a system message/],
      [[{ instruction: 'q' }], /output is missing/],
      [[{ prompt: 'q', response: 3 }], /response is not a string/],
      [[{ prompt: 'q', response: 'a', category: 3 }], /category is not a string/],
    ]);
    setLanguage('zh');
    expect(() => parseConversations('[{"messages":[{"role":"user","content":""}]}]', 'a.json')).toThrow(
      'a.json 第 1 条记录：字段 messages[0].content 是空的，请填入内容',
    );
  });
});

describe('preferences', () => {
  const parse = (record: unknown) => parsePreferences(JSON.stringify([record]), 'my.json')[0];
  const expected = { prompt: [user('q')], chosen: 'good', rejected: 'bad' };

  test('the common shapes', () => {
    expect(parse({ prompt: 'q', chosen: 'good', rejected: 'bad', category: 'c' })).toEqual({
      ...expected,
      category: 'c',
    });
    expect(parse({ prompt: [user('q')], chosen: assistant('good'), rejected: [assistant('bad')] })).toEqual(
      expected,
    );
    expect(
      parse({ prompt: 'q', chosen: [user('q'), assistant('good')], rejected: [user('q'), assistant('bad')] }),
    ).toEqual(expected);
    expect(
      parse({ chosen: [user('q'), assistant('good')], rejected: [user('q'), assistant('bad')] }),
    ).toEqual(expected);
    expect(
      parse({
        conversations: [{ from: 'human', value: 'q' }],
        chosen: { from: 'gpt', value: 'good' },
        rejected: { from: 'gpt', value: 'bad' },
      }),
    ).toEqual(expected);
    expect(parse({ instruction: 'q', input: 'i', chosen: 'good', rejected: 'bad' }).prompt).toEqual([
      user('q\ni'),
    ]);
    expect(parse({ prompt: 'q', system: 's', chosen: 'good', rejected: 'bad' }).prompt).toEqual([
      system('s'),
      user('q'),
    ]);
    const prompt = [system('s'), user('a'), assistant('b'), user('q')];
    expect(parse({ prompt, chosen: [user('q'), assistant('good')], rejected: 'bad' }).prompt).toEqual(prompt);
    expect(parse({ prompt: 'q', chosen: [...prompt, assistant('good')], rejected: 'bad' }).prompt).toEqual(
      prompt,
    );
  });

  test('errors', () => {
    expectErrors(parsePreferences, [
      [[{ prompt: 'q', chosen: 'a' }], /record 1: the field rejected is missing/],
      [[{ chosen: 'a', rejected: 'b' }], /there is no prompt; use one of/],
      [[{ prompt: 'q', chosen: 'a', rejected: 'a' }], /chosen and rejected are the same/],
      [
        [{ prompt: [user('q'), assistant('x')], chosen: 'a', rejected: 'b' }],
        /prompt does not end with the user's message/,
      ],
      [
        [{ prompt: 'q', chosen: [user('q')], rejected: 'b' }],
        /chosen does not end with a message by the assistant/,
      ],
      [
        [{ prompt: 'q', chosen: [user('z'), assistant('a')], rejected: 'b' }],
        /conversation in chosen differs from the prompt/,
      ],
      [
        [{ chosen: [user('q'), assistant('a')], rejected: [user('z'), assistant('b')] }],
        /conversation in rejected differs/,
      ],
      [[{ prompt: '', chosen: 'a', rejected: 'b' }], /prompt is empty/],
    ]);
  });
});

test('tasks', () => {
  const parity = '[{"prompt": "3?", "expected": "odd", "type": "parity"}]';
  expect(parseTasks(parity, 'a.json', ['parity'])[0].type).toBe('parity');
  expect(() => parseTasks(parity, 'a.json')).toThrow('type is "parity"; use one of math, logic');
  expect(parseTasks('[{"prompt": "1+1=?", "expected": 2, "type": "math"}]', 'a.json')).toEqual([
    { prompt: '1+1=?', expected: '2', type: 'math' },
  ]);
  expect(parseTasks('{"prompt": "?", "expected": "不一定", "type": "logic"}\n', 'a.jsonl')).toHaveLength(1);
  expectErrors(parseTasks, [
    [[{ prompt: 'q', expected: '1' }], /record 1: the field type is undefined; use one of math, logic/],
    [[{ prompt: 'q', type: 'math' }], /expected is missing/],
    [[{ expected: '1', type: 'math' }], /prompt is missing/],
    [[{ prompt: 'q', expected: true, type: 'logic' }], /expected is not a string/],
  ]);
});

test('whatever the input, an error is one for people', () => {
  const keys = [
    'messages',
    'conversations',
    'instruction',
    'input',
    'output',
    'prompt',
    'chosen',
    'rejected',
    'role',
    'content',
    'text',
    'type',
    'expected',
    'category',
  ];
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4, withCrossShrink: true },
      fc.constantFrom<unknown>('', 'user', 'assistant', 'x', 3, null, true),
      fc.array(tie('value'), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom(...keys), tie('value'), { maxKeys: 5 }),
    ),
  }));
  for (const parse of [parsePretrain, parseConversations, parsePreferences, parseTasks]) {
    fc.assert(
      fc.property(
        fc.oneof(
          value.map((each) => JSON.stringify(each)),
          fc.string(),
        ),
        fc.constantFrom('a.json', 'a.jsonl', 'a'),
        (content, source) => {
          try {
            expect(parse(content, source).length).toBeGreaterThan(0);
          } catch (error) {
            expect(error).toBeInstanceOf(UserError);
          }
        },
      ),
      { numRuns: 400 },
    );
  }
});
