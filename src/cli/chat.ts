/**
 * @file A conversation with a model: in a terminal with line editing, or line by line through a pipe.
 *
 *     npm run generate                                              # in a terminal
 *     echo 你好 | npm run --silent generate -- --interactive        # the answers alone
 */

import type { Readable, Writable } from 'node:stream';
import { UserError } from '../errors.ts';
import { formatCount } from '../format-text.ts';
import { DEFAULT_MAX_NEW_TOKENS, DEFAULT_SAMPLING, type Finish } from '../generate.ts';
import { text } from '../i18n.ts';
import type { SamplingOptions } from '../sampling.ts';
import type { Runtime } from '../tensor/index.ts';
import type { NamedAdapter } from './adapters.ts';
import { obey } from './chat-commands.ts';
import { type ChatModel, createChatSession } from './chat-session.ts';
import { openLines } from './lines.ts';
import { anySeed } from './sampling-options.ts';
import { dim, hasColor, withoutControls } from './terminal.ts';

/** Where a conversation takes place; the process's own streams when not given. */
export interface ChatStreams {
  readonly input: Readable & { readonly isTTY?: boolean };
  readonly output: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  /** For what is not an answer, where the output is a pipe. */
  readonly errors: { write(chunk: string): unknown };
}

export interface ChatOptions {
  readonly runtime: Runtime;
  readonly checkpoint: ChatModel;
  /** An adapter to begin with. */
  readonly adapter?: NamedAdapter;
  /** The folder of the checkpoints of the other stages, for `/stage`, `/best` and `/lora`. */
  readonly folder?: string;
  /** The reward model for `/best`, where it is not in `folder`. */
  readonly rewardModel?: string;
  readonly sampling?: SamplingOptions;
  /** Longest answer, in tokens. */
  readonly maxNewTokens?: number;
  /** Strings that end an answer. */
  readonly stop?: readonly string[];
  /** How many answers to sample, of which the best is given; as `/best` sets it. */
  readonly candidates?: number;
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
  const { maxNewTokens = DEFAULT_MAX_NEW_TOKENS, seed = anySeed() } = options;
  const { input, output, errors } = options.streams ?? {
    input: process.stdin,
    output: process.stdout,
    errors: process.stderr,
  };
  const terminal = Boolean(input.isTTY && output.isTTY);
  const session = await createChatSession({
    ...options,
    sampling: options.sampling ?? DEFAULT_SAMPLING,
    maxNewTokens,
    stop: options.stop ?? [],
    seed,
  });
  const remark = (line: string): unknown =>
    terminal ? output.write(`${hasColor(output) ? dim(line) : line}\n`) : errors.write(`${line}\n`);

  /** The answer that is being written. */
  let answering: AbortController | undefined;
  let leaveNext = false;

  const answer = async (message: string, { signal }: AbortController): Promise<void> => {
    const { forgotten, pieces } = session.say(message, signal);
    if (forgotten > 0 && terminal) {
      remark(
        text({
          zh: `（最早的 ${forgotten} 条消息已放不进上下文，模型不再看得到）`,
          en: `(the oldest ${forgotten} messages no longer fit the context; the model does not see them any more)`,
        }),
      );
    }
    const startedAt = performance.now();
    let firstAt = startedAt;
    let count = 0;
    let rewards: readonly number[] | undefined;
    let finish: Finish | undefined;
    for await (const piece of pieces) {
      output.write(terminal ? withoutControls(piece.text) : piece.text);
      if (count === 0) firstAt = performance.now();
      count += piece.tokens;
      ({ finish, rewards } = piece);
    }
    output.write('\n');
    if (!terminal) return;
    // The first token waits for the prompt; how fast the model writes shows from the second on.
    const seconds = (performance.now() - (rewards ? startedAt : firstAt)) / 1000;
    const rate = (rewards ? count : count - 1) / seconds;
    const parts = [
      describeFinish(finish, maxNewTokens),
      rewards ? describeRewards(rewards) : '',
      `${count} ${text({ zh: '个词元', en: 'tokens' })}`,
      count > 1 ? `${formatCount(rate)} ${text({ zh: '词元/秒', en: 'tokens/s' })}` : '',
    ];
    remark(parts.filter((part) => part !== '').join(' · '));
  };

  const lines = openLines(input, output, terminal, {
    onInterrupt() {
      if (answering) {
        answering.abort();
        return 'ignore';
      }
      if (leaveNext) return 'leave';
      leaveNext = true;
      output.write('\n');
      remark(text({ zh: '再按一次 Ctrl-C 离开。', en: 'Press Ctrl-C again to leave.' }));
      return 'prompt';
    },
    onEnd: () => answering?.abort(),
  });
  if (terminal) remark(greeting(session.raw));
  try {
    if (options.candidates !== undefined) await session.useBest(options.candidates);
    let first = options.prompt;
    for (;;) {
      if (terminal && first === undefined) session.prepare();
      const line = first ?? (await lines.next());
      if (line === undefined) break;
      if (first !== undefined) lines.echo(first);
      first = undefined;
      leaveNext = false;
      if (line.trim() === '') continue;
      const isCommand = line.startsWith('/');
      try {
        if (isCommand) {
          const outcome = await obey(session, line);
          if (outcome === undefined) break;
          remark(outcome);
        } else {
          answering = new AbortController();
          await answer(line.trim(), answering);
        }
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        if (isCommand) remark(error.message);
        else if (terminal) output.write(`${error.message}\n`);
        else throw error;
      } finally {
        // After an answer was stopped, another Ctrl-C leaves.
        leaveNext = answering?.signal.aborted ?? false;
        answering = undefined;
      }
    }
  } finally {
    lines.close();
    await session.release();
  }
}

function greeting(raw: boolean): string {
  return raw
    ? text({
        zh: '输入开头，模型会接着写。/help 查看命令，Ctrl-D 离开。',
        en: 'Type a beginning, and the model goes on. /help lists the commands, Ctrl-D leaves.',
      })
    : text({
        zh: '和模型聊聊吧。/help 查看命令，Ctrl-D 离开。',
        en: 'Talk to the model. /help lists the commands, Ctrl-D leaves.',
      });
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

function describeRewards(rewards: readonly number[]): string {
  const [best, ...others] = rewards.map((reward) => reward.toFixed(2));
  return text({
    zh: `奖励 ${best}（其余 ${others.join('，')}）`,
    en: `reward ${best} (others ${others.join(', ')})`,
  });
}
