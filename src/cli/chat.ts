/**
 * @file A conversation with a model: in a terminal with line editing, or line by line through a pipe.
 *
 *     npm run generate                                              # in a terminal
 *     echo 你好 | npm run --silent generate -- --interactive        # the answers alone
 */

import type { Readable, Writable } from 'node:stream';
import { type Message, renderPrompt, truncateHistory } from '../chat-format.ts';
import type { Checkpoint } from '../checkpoint.ts';
import { createDecoder } from '../decoder.ts';
import { UserError } from '../errors.ts';
import { DEFAULT_MAX_NEW_TOKENS, DEFAULT_SAMPLING, type Finish, generate, rawPrompt } from '../generate.ts';
import { text } from '../i18n.ts';
import type { SamplingOptions } from '../sampling.ts';
import { createRandom, type Runtime } from '../tensor/index.ts';
import type { Tokenizer } from '../tokenizer.ts';
import { openLines } from './lines.ts';
import { formatCount } from './progress.ts';
import { anySeed } from './sampling-options.ts';
import { writesRawText } from './writer.ts';

/** Where a conversation takes place; the process's own streams when not given. */
export interface ChatStreams {
  readonly input: Readable & { readonly isTTY?: boolean };
  readonly output: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  /** For what is not an answer, where the output is a pipe. */
  readonly errors: { write(chunk: string): unknown };
}

export interface ChatOptions {
  readonly runtime: Runtime;
  /** A loaded or just trained model. */
  readonly checkpoint: Pick<Checkpoint, 'params' | 'config' | 'tokenizer' | 'stage'>;
  readonly sampling?: SamplingOptions;
  /** Longest answer, in tokens. */
  readonly maxNewTokens?: number;
  /** Strings that end an answer. */
  readonly stop?: readonly string[];
  /** The same seed and messages give the same answers; another one each time when not given. */
  readonly seed?: number;
  /** The first message, as if it had been typed. */
  readonly prompt?: string;
  /** Continue each message as raw text, without template and memory; always so for a model that was only pretrained. */
  readonly raw?: boolean;
  readonly streams?: ChatStreams;
}

/**
 * Talk until the person leaves (`/exit`, Ctrl-D, Ctrl-C twice) or the pipe ends.
 *
 * The model is given as much of the conversation as fits the context beside its answer. Through a pipe only answers are
 * written to the output.
 *
 * @throws UserError for sampling options out of range; through a pipe also for a message longer than the context, which
 *   in a terminal is told and forgotten
 */
export async function chat(options: ChatOptions): Promise<void> {
  const {
    runtime,
    checkpoint,
    sampling = DEFAULT_SAMPLING,
    maxNewTokens = DEFAULT_MAX_NEW_TOKENS,
    stop,
  } = options;
  const { config, params: weights, tokenizer } = checkpoint;
  const { input, output, errors } = options.streams ?? {
    input: process.stdin,
    output: process.stdout,
    errors: process.stderr,
  };
  const raw = options.raw ?? writesRawText(checkpoint);
  const terminal = Boolean(input.isTTY && output.isTTY);
  const random = createRandom(options.seed ?? anySeed());
  const remark = (line: string): unknown =>
    terminal ? output.write(`${dim(line)}\n`) : errors.write(`${line}\n`);

  const decoder = await createDecoder({ runtime, config, weights, batchSize: 1 });
  let history: Message[] = [];
  let interrupted = false;
  let answering = false;

  /** The tokens that the model goes on from, after as much of the conversation as fits. */
  const nextPrompt = (message: string): Int32Array => {
    if (raw) return rawPrompt(tokenizer, message);
    const said: Message = { role: 'user', content: message };
    const kept = fitHistory(tokenizer, [...history, said], decoder.maxLength, maxNewTokens);
    const forgotten = history.length + 1 - kept.length;
    history = kept;
    if (forgotten > 0 && terminal) {
      remark(
        text({
          zh: `（最早的 ${forgotten} 条消息已放不进上下文，模型不再看得到）`,
          en: `(the oldest ${forgotten} messages no longer fit the context; the model does not see them any more)`,
        }),
      );
    }
    return renderPrompt(tokenizer, kept);
  };

  const answer = async (message: string): Promise<void> => {
    const prompt = nextPrompt(message);
    let written = '';
    let count = 0;
    let finish: Finish | undefined;
    let firstAt = 0;
    interrupted = false;
    for await (const piece of generate({
      decoder,
      tokenizer,
      prompt,
      maxNewTokens,
      sampling,
      stop,
      random,
    })) {
      if (interrupted) break;
      output.write(terminal ? withoutControls(piece.text) : piece.text);
      written += piece.text;
      if (++count === 1) firstAt = performance.now();
      finish = piece.finish;
    }
    output.write('\n');
    if (!raw) history = [...history, { role: 'assistant', content: written }];
    if (!terminal) return;
    // The first token waits for the prompt; how fast the model writes shows from the second on.
    const rate = (1000 * (count - 1)) / (performance.now() - firstAt);
    remark(
      [
        describeFinish(finish, maxNewTokens),
        `${count} ${text({ zh: '个词元', en: 'tokens' })}`,
        count > 1 ? `${formatCount(rate)} ${text({ zh: '词元/秒', en: 'tokens/s' })}` : '',
      ]
        .filter((part) => part !== '')
        .join(' · '),
    );
  };

  /** Carry out a command. False to leave. */
  const obey = (command: string): boolean => {
    if (command === '/exit') return false;
    if (command === '/help') remark(helpText(raw));
    else if (command === '/reset') {
      history = [];
      remark(text({ zh: '对话已清空。', en: 'The conversation starts anew.' }));
    } else {
      remark(
        text({
          zh: `没有 ${command} 这个命令；输入 /help 查看全部命令，想以 / 开头说话就在前面加一个空格。`,
          en: `There is no command ${command}; /help lists them all, and a space before the / makes it a message.`,
        }),
      );
    }
    return true;
  };

  const lines = openLines(input, output, terminal, {
    onInterrupt() {
      if (answering) {
        interrupted = true;
        return 'ignore';
      }
      if (interrupted) return 'leave';
      interrupted = true;
      output.write('\n');
      remark(text({ zh: '再按一次 Ctrl-C 离开。', en: 'Press Ctrl-C again to leave.' }));
      return 'prompt';
    },
    onEnd() {
      interrupted = true;
    },
  });
  if (terminal) {
    remark(
      raw
        ? text({
            zh: '输入开头，模型会接着写。/help 查看命令，Ctrl-D 离开。',
            en: 'Type a beginning, and the model goes on. /help lists the commands, Ctrl-D leaves.',
          })
        : text({
            zh: '和模型聊聊吧。/help 查看命令，Ctrl-D 离开。',
            en: 'Talk to the model. /help lists the commands, Ctrl-D leaves.',
          }),
    );
  }
  try {
    let first = options.prompt;
    for (;;) {
      const line = first ?? (await lines.next());
      if (line === undefined) break;
      if (first !== undefined) lines.echo(first);
      first = undefined;
      interrupted = false;
      if (line.trim() === '') continue;
      if (line.startsWith('/')) {
        if (!obey(line.trim().split(/\s/)[0])) break;
        continue;
      }
      answering = true;
      const before = history;
      try {
        await answer(line.trim());
      } catch (error) {
        if (!terminal || !(error instanceof UserError)) throw error;
        history = before;
        output.write(`${error.message}\n`);
      } finally {
        answering = false;
      }
    }
  } finally {
    lines.close();
    await decoder.release();
  }
}

/**
 * As much of the conversation as leaves room for an answer (half of the context at most is kept free for it). A last
 * message that is longer than that may use what there is.
 */
function fitHistory(
  tokenizer: Tokenizer,
  messages: readonly Message[],
  maxLength: number,
  maxNewTokens: number,
): Message[] {
  const reserved = Math.min(maxNewTokens, Math.floor(maxLength / 2));
  const last = renderPrompt(tokenizer, messages.slice(-1)).length;
  return truncateHistory(tokenizer, messages, Math.max(maxLength - reserved, Math.min(last, maxLength - 1)));
}

function describeFinish(finish: Finish | undefined, maxNewTokens: number): string {
  switch (finish) {
    case 'stop':
      return '';
    case 'length':
      return text({ zh: `到了 --max-length ${maxNewTokens}`, en: `--max-length ${maxNewTokens} reached` });
    case 'context':
      return text({ zh: '上下文已满', en: 'the context is full' });
    case undefined:
      return text({ zh: '已停止', en: 'stopped' });
  }
}

function helpText(raw: boolean): string {
  const rows = raw
    ? []
    : [['/reset', text({ zh: '清空对话，重新开始', en: 'forget the conversation and start anew' })]];
  rows.push(
    ['/help', text({ zh: '显示这份帮助', en: 'show this help' })],
    ['/exit', text({ zh: '离开（Ctrl-D 也可以）', en: 'leave (so does Ctrl-D)' })],
    ['Ctrl-C', text({ zh: '停止正在写的回答', en: 'stop the answer that is being written' })],
  );
  return rows.map(([name, meaning]) => `${name.padEnd(8)}${meaning}`).join('\n');
}

/** Text that cannot command the terminal: only line breaks and tabs are left of the control characters. */
function withoutControls(value: string): string {
  return value.replace(/[^\P{Cc}\n\t]/gu, '');
}

function dim(value: string): string {
  return process.env['NO_COLOR'] ? value : `\u001b[2m${value}\u001b[22m`;
}
