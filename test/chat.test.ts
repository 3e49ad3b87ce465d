import { PassThrough, Writable } from 'node:stream';
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { type ChatOptions, chat } from '../src/cli/chat.ts';
import { UserError } from '../src/errors.ts';
import { DEFAULT_MAX_NEW_TOKENS } from '../src/generate.ts';
import { setLanguage } from '../src/i18n.ts';
import { GREEDY } from '../src/sampling.ts';
import type { Runtime } from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { tinyCheckpoint } from './support/writer.ts';

let runtime: Runtime;
beforeAll(async () => {
  runtime = await createNodeRuntime({ threads: 1 });
});
afterEach(() => {
  setLanguage('en');
  vi.unstubAllEnvs();
});

// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with a control character.
const ESCAPES = /\u001b\[[0-9;?]*[A-Za-z]/g;

/** A person at a keyboard, or a pipe, and what they see. */
function openStreams({ terminal }: { terminal: boolean }) {
  const seen = { output: '', errors: '' };
  const input = Object.assign(new PassThrough(), { isTTY: terminal });
  const output = Object.assign(
    new Writable({
      write(chunk, _, done) {
        seen.output += String(chunk);
        done();
      },
    }),
    { isTTY: terminal, columns: 80 },
  );
  const plain = (): string => seen.output.replace(ESCAPES, '').replaceAll('\r', '');
  /** Wait until the screen shows `what` after its first `from` characters. */
  const see = async (what: string | RegExp, from = 0): Promise<void> => {
    for (let i = 0; i < 2000; i++) {
      const shown = plain().slice(from);
      if (typeof what === 'string' ? shown.includes(what) : what.test(shown)) return;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect.fail(`never saw ${what} in ${JSON.stringify(plain().slice(from))}`);
  };
  const errors = {
    write(chunk: string) {
      seen.errors += chunk;
    },
  };
  return { streams: { input, output, errors }, input, seen, plain, see };
}

const DIM = '\u001b[2m';
const CTRL_C = '\u0003';
const CTRL_D = '\u0004';

function start(
  person: ReturnType<typeof openStreams>,
  options: Partial<ChatOptions> = {},
): Promise<{ error?: unknown }> {
  return chat({
    runtime,
    checkpoint: tinyCheckpoint(),
    maxNewTokens: 8,
    seed: 1,
    streams: person.streams,
    ...options,
  }).then(
    () => ({}),
    (error: unknown) => ({ error }),
  );
}

describe('through a pipe', () => {
  async function pipe(given: string, options: Partial<ChatOptions> = {}) {
    const person = openStreams({ terminal: false });
    person.input.end(given);
    return { ...(await start(person, options)), ...person.seen };
  }

  test('the output holds the answers and nothing else', async () => {
    const { output, errors, error } = await pipe('你好\n\n再见');
    expect(error).toBeUndefined();
    expect(errors).toBe('');
    expect(output.endsWith('\n')).toBe(true);
    expect(output).not.toContain('> ');
    expect(output).not.toContain(DIM);
    // The same seed answers the same, and the first answer does not depend on what is asked later.
    expect((await pipe('你好\n\n再见')).output).toBe(output);
    expect(output.startsWith((await pipe('你好\n')).output)).toBe(true);
  });

  test('commands are obeyed, and what they say goes to the errors', async () => {
    const { output, errors } = await pipe('/help\n/nonsense and more\n/exit\n你好\n');
    expect(output).toBe('');
    expect(errors).toContain('/reset');
    expect(errors).toMatch(/There is no command \/nonsense;.*\/help/);
  });

  test('the conversation is remembered until /reset', async () => {
    const first = (await pipe('你好\n')).output;
    const second = (await pipe('天气\n你好\n')).output.slice((await pipe('天气\n')).output.length);
    expect(second).not.toBe(first);
    // The random numbers go on, so only a greedy model can show that nothing of the conversation is left.
    const greedyFirst = (await pipe('你好\n', { sampling: GREEDY })).output;
    const both = (await pipe('天气\n/reset\n你好\n', { sampling: GREEDY })).output;
    expect(both.endsWith(greedyFirst)).toBe(true);
  });

  test('a message longer than the context ends with an error', async () => {
    const { error } = await pipe(`${'长'.repeat(200)}\n`);
    expect(error).toBeInstanceOf(UserError);
    expect(String(error)).toContain('63');
  });

  test('a long conversation goes on: the oldest turns are forgotten', async () => {
    const { output, error, errors } = await pipe('你好\n'.repeat(12), {
      maxNewTokens: DEFAULT_MAX_NEW_TOKENS,
    });
    expect(error).toBeUndefined();
    expect(errors).toBe('');
    expect(output.length).toBeGreaterThan(12);
  });
});

describe('in a terminal', () => {
  test('greets, answers, shows the speed, and leaves with /exit', async () => {
    vi.stubEnv('NO_COLOR', '');
    const person = openStreams({ terminal: true });
    const done = start(person);
    await person.see('Talk to the model.');
    await person.see(/> $/);
    person.input.write('你好\r');
    await person.see(/\d tokens/);
    expect(person.plain()).toContain('> 你好\n');
    expect(person.seen.output).toContain(`${DIM}--max-length 8 reached · 8 tokens · `);
    person.input.write('/exit\r');
    expect(await done).toEqual({});
    expect(person.plain()).not.toContain('Press Ctrl-C');
  });

  test('speaks Chinese', async () => {
    setLanguage('zh');
    const person = openStreams({ terminal: true });
    const done = start(person);
    await person.see('和模型聊聊吧');
    person.input.write('/什么\r');
    await person.see('没有 /什么 这个命令');
    person.input.write('/help\r');
    await person.see('清空对话');
    person.input.write('/reset\r');
    await person.see('对话已清空');
    person.input.write(CTRL_D);
    expect(await done).toEqual({});
  });

  test('Ctrl-C stops the answer, a second one at the empty prompt leaves', async () => {
    const person = openStreams({ terminal: true });
    const done = start(person, { checkpoint: tinyCheckpoint('sft', 4096), maxNewTokens: 4000 });
    await person.see(/> $/);
    person.input.write('你好\r');
    await person.see(/> 你好\n[\s\S]+/);
    person.input.write(CTRL_C);
    await person.see('stopped');
    const shown = person.plain().length;
    person.input.write('x');
    await person.see('> x', shown - 2);
    // A line that was begun is given up first.
    person.input.write(CTRL_C);
    await person.see(/> $/, shown - 2);
    person.input.write(CTRL_C);
    expect(await done).toEqual({});
  });

  test('at an empty prompt the first Ctrl-C says what a second would do', async () => {
    const person = openStreams({ terminal: true });
    const done = start(person);
    await person.see(/> $/);
    person.input.write(CTRL_C);
    await person.see('Press Ctrl-C again');
    person.input.write(CTRL_C);
    expect(await done).toEqual({});
  });

  test('what is typed during an answer does not run into it and is not lost', async () => {
    const person = openStreams({ terminal: true });
    const done = start(person, { checkpoint: tinyCheckpoint('sft', 1024), maxNewTokens: 300 });
    await person.see(/> $/);
    person.input.write('你好\r');
    await person.see(/> 你好\n[\s\S]+/);
    person.input.write('/nonsense\r/ex');
    await person.see('There is no command /nonsense');
    const lines = person.plain().split('\n');
    expect(lines).toContain('> /nonsense');
    expect(lines.filter((line) => line.includes('/nonsense'))).toHaveLength(2);
    await person.see(/> \/ex$/);
    person.input.write('it\r');
    expect(await done).toEqual({});
  });

  test('a message that is too long is told and forgotten', async () => {
    const person = openStreams({ terminal: true });
    const done = start(person);
    await person.see(/> $/);
    person.input.write(`${'长'.repeat(200)}\r`);
    await person.see(/too long/);
    person.input.write('你好\r');
    await person.see(/\d tokens/);
    person.input.write(CTRL_D);
    expect(await done).toEqual({});
  });

  test('a first message can be given, and turns that no longer fit are mentioned', async () => {
    const person = openStreams({ terminal: true });
    const done = start(person, { prompt: '你好', maxNewTokens: 40 });
    await person.see(/> 你好\n[\s\S]*tokens/);
    person.input.write('再见\r');
    await person.see('the oldest 2 messages no longer fit');
    person.input.write(CTRL_D);
    expect(await done).toEqual({});
  });

  test('a model that was only pretrained continues texts', async () => {
    const person = openStreams({ terminal: true });
    const done = start(person, { checkpoint: tinyCheckpoint('pretrain') });
    await person.see('Type a beginning');
    person.input.write('/help\r');
    await person.see('/exit');
    expect(person.plain()).not.toContain('/reset');
    person.input.write(CTRL_D);
    expect(await done).toEqual({});
  });
});
