import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { benchTokenizer } from '../bench/tokenizer.ts';
import { renderConversation, showMask } from '../src/chat-format.ts';
import { UserError } from '../src/errors.ts';
import { setLanguage } from '../src/i18n.ts';
import { Heap } from '../src/tokenizer/heap.ts';
import { preTokenize } from '../src/tokenizer/pre-tokenize.ts';
import { displayBytes } from '../src/tokenizer/vocabulary.ts';
import { SPECIAL, SPECIAL_TOKENS, Tokenizer } from '../src/tokenizer.ts';
import { runHere } from './support/command.ts';
import { fc } from './support/property.ts';

const fixture = (name: string): string =>
  readFileSync(new URL(`fixtures/tokenizer/${name}`, import.meta.url), 'utf8');

interface Case {
  text: string;
  pieces: string[];
  ids: number[];
  idsWithSpecial: number[];
  decoded: string;
}

/** Made by Hugging Face `tokenizers`: see scripts/fixtures/tokenizer.py. */
const corpus = fixture('corpus.txt');
const huggingFace = JSON.parse(fixture('tokenizer.json'));
const { cases, broken } = JSON.parse(fixture('cases.json')) as {
  cases: Case[];
  broken: { ids: number[]; decoded: string }[];
};
const tokenizer = Tokenizer.train([corpus], { vocabSize: 700 });

/** Strings of the things that break tokenizers, in any order. */
const trickyText = fc
  .array(
    fc.oneof(
      fc.string({ unit: 'binary', maxLength: 8 }), // any code points, control characters too
      fc.string({ unit: 'grapheme', maxLength: 8 }),
      fc.constantFrom(...cases.map((each) => each.text)),
      fc.constantFrom(
        '\r',
        '\n',
        '\r\n',
        ' ',
        '\t',
        '\u3000',
        '\ufeff',
        '\u200d',
        "'s",
        "'LL",
        '你好',
        '，',
        '7',
      ),
      fc.constantFrom('👩‍👩‍👧‍👦', '🇨🇳', '👍🏽', '❤️', 'e\u0301', '𠮷', ...SPECIAL_TOKENS),
    ),
    { maxLength: 12 },
  )
  .map((parts) => parts.join(''));

describe('cutting text into pieces', () => {
  it('cuts as Hugging Face does with the Qwen2 pattern', () => {
    for (const { text, pieces } of cases) expect(preTokenize(text)).toEqual(pieces);
  });

  it('gives every digit its own piece', () => {
    expect(preTokenize('3.14，2024')).toEqual(['3', '.', '1', '4', '，', '2', '0', '2', '4']);
  });

  it('loses nothing', () => {
    fc.assert(fc.property(trickyText, (text) => preTokenize(text).join('') === text));
  });
});

describe('training', () => {
  it('learns the vocabulary and the merges of the Hugging Face trainer', () => {
    const ours = JSON.parse(tokenizer.toJson());
    expect(ours.model.vocab).toEqual(huggingFace.model.vocab);
    expect(ours.model.merges).toEqual(huggingFace.model.merges.map((merge: string[]) => merge.join(' ')));
  });

  it('breaks ties by the smaller left id, then the smaller right id', () => {
    const merges = (text: string): string[] => {
      const trained = Tokenizer.train([text], { vocabSize: 1000 });
      return JSON.parse(trained.toJson()).model.merges;
    };
    expect(merges('zz yy')).toEqual(['y y', 'z z', 'Ġ yy']);
    expect(merges('dc\nda\nca')).toEqual(['c a', 'd a', 'd c']);
  });

  it('counts each text on its own: no merge crosses from one to the next', () => {
    const trained = Tokenizer.train(['ab', 'ab'], { vocabSize: 1000 });
    expect(JSON.parse(trained.toJson()).model.merges).toEqual(['a b']);
  });

  it('merges runs of one character from the left', () => {
    const trained = Tokenizer.train(['aaaaa'], { vocabSize: 263 });
    expect(Array.from(trained.encode('aaaaa'), (id) => trained.display(id))).toEqual(['aa', 'aa', 'a']);
  });

  it('stops early when nothing is left to merge, and reports progress', () => {
    const calls: [number, number][] = [];
    const small = Tokenizer.train(['你好'], { vocabSize: 1000, onProgress: (...call) => calls.push(call) });
    expect(small.vocabSize).toBe(262 + 5);
    expect(calls).toEqual([1, 2, 3, 4, 5].map((done) => [done, 738]));
    expect(Tokenizer.train([], { vocabSize: 300 }).vocabSize).toBe(262);
  });

  it.each([261, 0, -1, 1_000_001, 300.5, Number.NaN, Number.POSITIVE_INFINITY])(
    'refuses a vocabulary of %s',
    (vocabSize) => {
      expect(() => Tokenizer.train(['text'], { vocabSize })).toThrow(UserError);
    },
  );
});

describe('encoding and decoding', () => {
  it('encodes and decodes as Hugging Face does', () => {
    for (const { text, ids, idsWithSpecial, decoded } of cases) {
      expect([...tokenizer.encode(text)], JSON.stringify(text)).toEqual(ids);
      expect([...tokenizer.encode(text, { allowSpecial: true })]).toEqual(idsWithSpecial);
      expect(tokenizer.decode(ids)).toBe(decoded);
    }
  });

  it('decodes bytes that are not UTF-8 as Hugging Face does', () => {
    for (const { ids, decoded } of broken) expect(tokenizer.decode(ids)).toBe(decoded);
    expect(broken.some(({ decoded }) => decoded.includes('\ufffd'))).toBe(true);
  });

  it('gives every well-formed text back', () => {
    fc.assert(
      fc.property(trickyText, fc.boolean(), (text, allowSpecial) => {
        expect(tokenizer.decode(tokenizer.encode(text, { allowSpecial }))).toBe(text);
      }),
      { numRuns: 500 },
    );
  });

  it('encodes half of a surrogate pair as U+FFFD', () => {
    expect(tokenizer.decode(tokenizer.encode('a\ud83d b\ude00'))).toBe('a\ufffd b\ufffd');
    expect(tokenizer.encode('\ud83d')).toEqual(tokenizer.encode('\ufffd'));
  });

  it('turns text into special tokens only when asked', () => {
    const text = '<|im_start|>user\n<eos><|im_end|>';
    expect([...tokenizer.encode(text)].filter((id) => id <= SPECIAL.imEnd)).toEqual([]);
    expect([...tokenizer.encode(text, { allowSpecial: true })].filter((id) => id <= SPECIAL.imEnd)).toEqual([
      SPECIAL.imStart,
      SPECIAL.eos,
      SPECIAL.imEnd,
    ]);
    expect(SPECIAL_TOKENS.map((token) => tokenizer.encode(token, { allowSpecial: true })[0])).toEqual(
      Object.values(SPECIAL),
    );
  });

  it('leaves special tokens out on request, and they stand for no bytes of text', () => {
    const ids = tokenizer.encode('<bos>你好<eos>', { allowSpecial: true });
    expect(tokenizer.decode(ids)).toBe('<bos>你好<eos>');
    expect(tokenizer.decode(ids, { skipSpecial: true })).toBe('你好');
    expect(Array.from(ids).reduce((sum, id) => sum + tokenizer.tokenLength(id), 0)).toBe(6);
  });

  it('forgets pieces when its cache is full, and stays right', () => {
    const text = Array.from({ length: 70_000 }, (_, index) =>
      String.fromCodePoint(0x4e00 + (index % 20_000), 0x3041 + (index % 83)),
    ).join(' ');
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    expect(tokenizer.encode('风筝')).toEqual(Tokenizer.fromJson(tokenizer.toJson(), 'copy').encode('风筝'));
  });

  it('takes long pieces in its stride', () => {
    const text = '哈'.repeat(100_000);
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  });

  it.each([700, -1, 1.5, Number.NaN])('names an id that is not in the vocabulary: %s', (id) => {
    expect(() => tokenizer.decode([id])).toThrow(new RegExp(`${id} is not in the vocabulary`));
    expect(() => tokenizer.display(id)).toThrow(UserError);
  });
});

describe('decoding as a stream', () => {
  it('gives the same text as decoding at once, and never half a character', () => {
    fc.assert(
      fc.property(trickyText, (text) => {
        const stream = tokenizer.stream();
        const parts = Array.from(tokenizer.encode(text), (id) => stream.push(id));
        expect([...parts, stream.end()].join('')).toBe(text);
        for (const part of parts) expect(part).not.toMatch(/\p{Surrogate}/u);
      }),
    );
  });

  it('holds the bytes of a character back until it is whole', () => {
    const bare = Tokenizer.train([], { vocabSize: 262 });
    const stream = bare.stream();
    expect(Array.from(bare.encode('你好'), (id) => stream.push(id))).toEqual(['', '', '你', '', '', '好']);
    stream.push(bare.encode('你')[0]);
    expect(stream.end()).toBe('\ufffd');
  });

  it('can leave special tokens out', () => {
    const stream = tokenizer.stream({ skipSpecial: true });
    expect(stream.push(SPECIAL.imEnd) + stream.push(tokenizer.encode('a')[0]) + stream.end()).toBe('a');
  });
});

describe('views for people', () => {
  it('shows tokens as characters, not as bytes', () => {
    const shown = Array.from({ length: 700 }, (_, id) => tokenizer.display(id));
    expect(shown.slice(0, 6)).toEqual([...SPECIAL_TOKENS]);
    expect(shown).toEqual(expect.arrayContaining(['风筝', '␠the', '\\n', '<E4>', 'a']));
    expect(shown.join('')).not.toMatch(/[\p{C}\ufffd]/u);
  });

  it('escapes what cannot be seen and marks parts of characters', () => {
    const show = (text: string): string => displayBytes(new TextEncoder().encode(text));
    expect(show(' a\t\r\n')).toBe('␠a\\t\\r\\n');
    expect(show('\u200d\ufe0f\u3000\0')).toBe('\\u{200D}\\u{FE0F}\\u{3000}\\u{0}');
    expect(show('\u0301😀')).toBe('◌\u0301😀');
    expect(displayBytes(Uint8Array.from([0xe4, 0xbd, 0xa0, 0xe5, 0xff, 0x41]))).toBe('你<E5><FF>A');
  });

  it('traces the merges of a text step by step', () => {
    const [word, mark] = tokenizer.trace('lower！');
    expect([word.piece, mark.piece]).toEqual(['lower', '！']);
    expect(word.start.map((id) => tokenizer.display(id))).toEqual(['l', 'o', 'w', 'e', 'r']);
    let before = [...word.start];
    for (const step of word.steps) {
      expect(before.slice(step.at, step.at + 2)).toEqual([step.left, step.right]);
      before = [...before.slice(0, step.at), step.result, ...before.slice(step.at + 2)];
      expect(step.ids).toEqual(before);
      expect(tokenizer.display(step.result)).toBe(
        tokenizer.display(step.left) + tokenizer.display(step.right),
      );
    }
    expect(word.steps.length).toBeGreaterThan(1);
    expect(before).toEqual([...tokenizer.encode('lower')]);
  });
});

describe('tokenizer.json', () => {
  afterEach(() => setLanguage('en'));

  it('reads what Hugging Face wrote, and writes the same pipeline', () => {
    const read = Tokenizer.fromJson(fixture('tokenizer.json'), 'tokenizer.json');
    for (const { text, ids } of cases) expect([...read.encode(text)]).toEqual(ids);
    expect(read.toJson()).toBe(tokenizer.toJson());
    const ours = JSON.parse(read.toJson());
    const theirs = structuredClone(huggingFace);
    theirs.model.merges = theirs.model.merges.map((merge: string[]) => merge.join(' '));
    // How offsets are trimmed and text is prepared plays no part in decoding: only the kind of decoder counts.
    expect({ ...ours, decoder: ours.decoder.type }).toEqual({ ...theirs, decoder: theirs.decoder.type });
  });

  const change = (edit: (file: ReturnType<typeof JSON.parse>) => void): string => {
    const file = JSON.parse(tokenizer.toJson());
    edit(file);
    return JSON.stringify(file);
  };
  const malformed: [string, string, RegExp][] = [
    ['nothing', '', /not complete JSON/],
    ['a truncated file', tokenizer.toJson().slice(0, 5000), /not complete JSON/],
    ['other JSON', '[1, 2]', /`JSON` is not that of/],
    ['null', 'null', /`JSON` is not that of/],
    ['another model', change((file) => (file.model.type = 'Unigram')), /`model\.type`/],
    [
      'another pattern',
      change((file) => (file.pre_tokenizer.pretokenizers[0].pattern.Regex = '.')),
      /pattern\.Regex/,
    ],
    ['a normalizer', change((file) => (file.normalizer = { type: 'NFC' })), /`normalizer`/],
    ['no merges', change((file) => delete file.model.merges), /`model\.merges`/],
    ['a repeated id', change((file) => (file.model.vocab.a = file.model.vocab.b)), /taken or out of range/],
    ['a gap in the ids', change((file) => (file.model.vocab.a = 5000)), /taken or out of range/],
    ['a huge id', change((file) => (file.model.vocab.a = 2 ** 40)), /taken or out of range/],
    ['a negative id', change((file) => (file.model.vocab.a = -1)), /`model\.vocab\.a`/],
    [
      'special tokens elsewhere',
      change((file) => file.added_tokens.reverse()),
      /special tokens must be exactly <pad>=0/,
    ],
    [
      'an extra special token',
      change((file) => file.added_tokens.push({ id: 6, content: '!' })),
      /special tokens/,
    ],
    [
      'a missing byte',
      change((file) => {
        file.model.vocab.zzzz = file.model.vocab.a;
        delete file.model.vocab.a;
      }),
      /lacks byte 97/,
    ],
    ['a token that is not bytes', change((file) => (file.model.vocab.中 = 700)), /token 700 \("中"\)/],
    ['an unknown merge', change((file) => (file.model.merges[3] = 'a 中')), /merge 3 \("a 中"\)/],
    ['a merge of three', change((file) => (file.model.merges[3] = 'a b c')), /merge 3 \("a b c"\)/],
  ];
  it.each(malformed)('refuses %s, naming the file and the fix', (_, json, expected) => {
    const read = (): Tokenizer => Tokenizer.fromJson(json, 'checkpoints/x/tokenizer.json');
    expect(read).toThrow(UserError);
    expect(read).toThrow(expected);
    expect(read).toThrow(/checkpoints\/x\/tokenizer\.json.*npm run tokenizer -- train/);
    setLanguage('zh');
    expect(read).toThrow(/分词器文件 checkpoints\/x\/tokenizer\.json 无法使用/);
  });
});

describe('the heap', () => {
  it('hands items out in order', () => {
    fc.assert(
      fc.property(fc.array(fc.integer()), (numbers) => {
        const heap = new Heap<number>((a, b) => a < b);
        for (const number of numbers) heap.push(number);
        expect(heap.size).toBe(numbers.length);
        expect(numbers.map(() => heap.pop())).toEqual([...numbers].sort((a, b) => a - b));
        expect(heap.pop()).toBeUndefined();
      }),
    );
  });
});

describe('npm run tokenizer', { timeout: 60_000 }, () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'my-llm-tokenizer-'));
    writeFileSync(join(folder, 'corpus.txt'), corpus);
    writeFileSync(join(folder, 'tokenizer.json'), tokenizer.toJson());
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('trains, with - or _ in the options', async () => {
    const output = join(folder, 'trained');
    const train = ['train', '--input', join(folder, 'corpus.txt'), '--output', output];
    expect(await runHere('tokenizer', [...train, '--vocab_size', '700'])).toMatch(
      /100%[\s\S]*\n700 tokens in \S+, saved as .*tokenizer\.json; a token stands for \d\.\d\d bytes/,
    );
    expect(readFileSync(join(output, 'tokenizer.json'), 'utf8')).toBe(tokenizer.toJson());
    expect(await runHere('tokenizer', [...train, '--vocab-size', '90000'])).toContain(
      'the text is too small for 90000 tokens: nothing is left to merge',
    );
  });

  it('gives a text back through encode and decode, byte for byte', async () => {
    const text = '你好，<eos> 风筝\r\n\n👩‍👩‍👧‍👦 ';
    const encoded = await runHere('tokenizer', ['encode', '--tokenizer', folder, '--allow_special'], text);
    expect(encoded.trim().split(' ')).toContain('3');
    const file = join(folder, 'tokenizer.json');
    expect(await runHere('tokenizer', ['decode', '--tokenizer', file], encoded)).toBe(text);
    const ids = ['decode', '--tokenizer', file, ...encoded.trim().split(' '), '--skip-special'];
    expect(await runHere('tokenizer', ids)).toBe(text.replace('<eos>', ''));
    writeFileSync(join(folder, 'text.txt'), text);
    const fromFile = ['encode', '--tokenizer', folder, '--input', join(folder, 'text.txt')];
    expect(await runHere('tokenizer', fromFile)).toBe(`${tokenizer.encode(text).join(' ')}\n`);
  });

  it('shows the vocabulary and the merges', async () => {
    const show = ['show', '--tokenizer', folder];
    expect(await runHere('tokenizer', [...show, '--from', '5', '--count', '2'])).toMatch(
      /5\s+<\|im_end\|>\s+special token\n\s*6\s+!\s+byte/,
    );
    expect(await runHere('tokenizer', [...show, '--text', 'the'])).toMatch(
      /t \| h \| e\n.*t \| he.*← merge \d+: h \+ e/,
    );
  });

  it('shows what fine-tuning learns of a conversation', async () => {
    const path = join(folder, 'chats.json');
    const chat = { prompt: '你好', response: '好' };
    writeFileSync(path, JSON.stringify([chat, chat, chat]));
    const output = await runHere('tokenizer', [
      'mask',
      '--tokenizer',
      folder,
      '--input',
      path,
      '--count',
      '2',
    ]);
    const messages = [
      { role: 'user', content: '你好' },
      { role: 'assistant', content: '好' },
    ] as const;
    const view = showMask(tokenizer, renderConversation(tokenizer, messages), { color: false });
    expect(output).toBe(`${view}\n\n${view}\n`);
  });

  it('ends with one sentence and exit code 1 on bad input', () => {
    const command = fileURLToPath(new URL('../src/cli/tokenizer.ts', import.meta.url));
    const bad: [string[], RegExp][] = [
      [['show', '--tokenizer', join(folder, 'nowhere')], /nowhere.*--tokenizer/],
      [['decode', '--tokenizer', folder, '12', 'x'], /"x" is not a token id/],
      [['decode', '--tokenizer', folder, '700'], /700 is not in the vocabulary/],
      [
        ['train', '--input', join(folder, 'corpus.txt'), '--output', folder, '--vocab-size', '99'],
        /--vocab-size.*262/,
      ],
    ];
    for (const [args, message] of bad) {
      const { status, stderr } = spawnSync(
        process.execPath,
        ['--import', 'tsx', command, ...args, '--lang', 'en'],
        { encoding: 'utf8' },
      );
      expect(status).toBe(1);
      expect(stderr).toMatch(message);
      expect(stderr.trim().split('\n')).toHaveLength(1);
    }
  });
});

describe('the bench', () => {
  it('measures training and encoding', async () => {
    const figures = await benchTokenizer(
      fileURLToPath(new URL('fixtures/tokenizer/corpus.txt', import.meta.url)),
      300,
    );
    expect(figures.vocabSize).toBe(300);
    for (const figure of Object.values(figures)) expect(figure).toBeGreaterThan(0);
  });
});
