/** @file What can be asked of a chat itself: a table of commands, each with its help and what it does. */

import { existsSync } from 'node:fs';
import type { Message } from '../chat-format.ts';
import { parseChat } from '../data/prompts.ts';
import { UserError } from '../errors.ts';
import { readTextFile, writeFileAtomic } from '../files.ts';
import { displayWidth, padToWidth, truncateToWidth } from '../format-text.ts';
import { type Text, text } from '../i18n.ts';
import { checkSampling } from '../sampling.ts';
import { STAGE_NAMES } from '../stages/stage.ts';
import type { ChatSession } from './chat-session.ts';
import { integer, number } from './options.ts';
import { WRITERS } from './writer.ts';

interface ChatCommand {
  /** What follows the name, for the help. */
  readonly argument?: Text;
  readonly meaning: Text;
  /** Only for models that converse, not where raw texts are continued. */
  readonly conversing?: boolean;
  /**
   * Carry it out, and say what happened.
   * @throws UserError with one sentence; then nothing has changed
   */
  run(session: ChatSession, argument: string): Text | Promise<Text>;
}

const FILE: Text = { zh: '文件', en: 'FILE' };

/** In the place of an adapter's name: none. */
const NO_ADAPTER = 'off';

const COMMANDS: Readonly<Record<string, ChatCommand>> = {
  '/reset': {
    meaning: {
      zh: '清空对话，重新开始；系统提示保留',
      en: 'forget the conversation, but not the system prompt',
    },
    conversing: true,
    run(session) {
      session.messages = session.messages.filter(({ role }) => role === 'system');
      return { zh: '对话已清空。', en: 'The conversation starts anew.' };
    },
  },
  '/undo': {
    meaning: { zh: '撤回最后一问一答', en: 'take back the last message and its answer' },
    conversing: true,
    run(session) {
      const last = session.messages.findLastIndex(({ role }) => role === 'user');
      if (last < 0)
        throw new UserError({ zh: '还没有可以撤回的话。', en: 'There is nothing to take back yet.' });
      const said = excerpt(session.messages[last].content);
      session.messages = session.messages.slice(0, last);
      return { zh: `已撤回“${said}”和它的回答。`, en: `Took back “${said}” and its answer.` };
    },
  },
  '/system': {
    argument: { zh: '文字', en: 'TEXT' },
    meaning: { zh: '设定系统提示；不写文字则取消', en: 'set the system prompt; without a text, remove it' },
    conversing: true,
    run(session, content) {
      const rest = session.messages.filter(({ role }) => role !== 'system');
      session.messages = content === '' ? rest : [{ role: 'system', content }, ...rest];
      if (content === '') return { zh: '已取消系统提示。', en: 'There is no system prompt any more.' };
      return {
        zh: '系统提示已设定，从下一句起生效。',
        en: 'The system prompt holds from the next message on.',
      };
    },
  },
  '/temp': {
    argument: { zh: '温度', en: 'T' },
    meaning: {
      zh: '设定温度：低稳高活，0 总选最可能的；不写则显示',
      en: 'set the temperature; without T, show it',
    },
    run(session, argument) {
      if (argument !== '') {
        const sampling = {
          ...session.sampling,
          temperature: parseArgument('/temp', argument, number({ min: 0 })),
        };
        checkSampling(sampling);
        session.sampling = sampling;
      }
      const { temperature } = session.sampling;
      return { zh: `温度：${temperature}`, en: `Temperature: ${temperature}` };
    },
  },
  '/best': {
    argument: { zh: 'N', en: 'N' },
    meaning: {
      zh: '每次抽样 N 个回答，留下奖励模型打分最高的；1 关闭',
      en: 'sample N answers and keep the one that the reward model likes best; 1: off',
    },
    conversing: true,
    async run(session, argument) {
      const count = parseArgument('/best', argument, integer({ min: 1, max: 64 }));
      await session.useBest(count);
      if (count === 1) return { zh: '每次只写一个回答。', en: 'One answer is written at a time.' };
      return {
        zh: `每次从 ${count} 个回答中选最好的。`,
        en: `The best of ${count} answers is given from now on.`,
      };
    },
  },
  '/stage': {
    argument: { zh: WRITERS.join('|'), en: WRITERS.join('|') },
    meaning: { zh: '换用另一阶段的模型，对话保留', en: 'go on with the model of another stage' },
    async run(session, argument) {
      const stage = WRITERS.find((each) => each === argument);
      if (stage === undefined)
        throw invalid('/stage', argument, {
          zh: `请从这些值中选择：${WRITERS.join(', ')}`,
          en: `choose one of ${WRITERS.join(', ')}`,
        });
      const { adapter } = session;
      await session.useStage(stage);
      const { zh, en } = STAGE_NAMES[stage];
      if (adapter === undefined)
        return { zh: `现在回答的是${zh}之后的模型。`, en: `The model after ${en} answers now.` };
      return {
        zh: `现在回答的是${zh}之后的模型，不带适配器 ${adapter}：它属于原来的模型。`,
        en: `The model after ${en} answers now, without the adapter ${adapter}, which belongs to the one before.`,
      };
    },
  },
  '/lora': {
    argument: { zh: `名字|${NO_ADAPTER}`, en: `NAME|${NO_ADAPTER}` },
    meaning: {
      zh: '换用适配器，对话保留；不写则列出',
      en: 'go on with an adapter; without a name, list them',
    },
    async run(session, argument) {
      if (argument === '') return describeAdapters(session);
      await session.useAdapter(argument === NO_ADAPTER ? undefined : argument);
      const { adapter } = session;
      if (adapter === undefined)
        return { zh: '现在回答的是没有适配器的模型。', en: 'The model answers without an adapter now.' };
      return { zh: `现在用适配器 ${adapter}。`, en: `The adapter ${adapter} is in use now.` };
    },
  },
  '/save': {
    argument: FILE,
    meaning: {
      zh: '把对话存成 JSON，可以再读入，也可以用作 SFT 数据',
      en: 'write the conversation as JSON, to be loaded again or used as data for SFT',
    },
    conversing: true,
    run(session, path) {
      requireFile('/save', path);
      const messages = answeredTurns(session.messages);
      if (messages.length === 0)
        throw new UserError({
          zh: '对话还是空的，没有可保存的内容。',
          en: 'The conversation is empty: there is nothing to save.',
        });
      if (existsSync(path)) refuseOtherFile(path);
      writeFileAtomic(path, `${JSON.stringify({ messages }, undefined, 2)}\n`);
      return {
        zh: `已把 ${messages.length} 条消息存入 ${path}`,
        en: `Wrote ${messages.length} messages to ${path}`,
      };
    },
  },
  '/load': {
    argument: FILE,
    meaning: { zh: '读入保存的对话，接着聊', en: 'go on with a saved conversation' },
    conversing: true,
    run(session, path) {
      requireFile('/load', path);
      session.messages = parseChat(readTextFile(path), path);
      return {
        zh: `已从 ${path} 读入 ${session.messages.length} 条消息`,
        en: `Read ${session.messages.length} messages from ${path}`,
      };
    },
  },
  '/help': {
    meaning: { zh: '显示这份帮助', en: 'show this help' },
    run: (session) => ({ zh: help(session.raw), en: help(session.raw) }),
  },
};

const EXIT = '/exit';

/**
 * Carry out a line that begins with `/`.
 * @returns what to say, or undefined to leave
 * @throws UserError with one sentence for an unknown command or a bad argument
 */
export async function obey(session: ChatSession, line: string): Promise<string | undefined> {
  const [, name, argument] = /^(\S+)\s*([\s\S]*)$/.exec(line.trim())!;
  if (name === EXIT) return undefined;
  if (!Object.hasOwn(COMMANDS, name)) {
    throw new UserError({
      zh: `没有 ${name} 这个命令；输入 /help 查看全部命令，想以 / 开头说话就在前面加一个空格。`,
      en: `There is no command ${name}; /help lists them all, and a space before the / makes it a message.`,
    });
  }
  const command = COMMANDS[name];
  if (command.conversing && session.raw) {
    throw new UserError({
      zh: `${name} 需要会对话的模型，而现在是续写文字；请先用 /stage sft 换一个。`,
      en: `${name} needs a model that converses, and this one continues texts; choose another with /stage sft first.`,
    });
  }
  return text(await command.run(session, argument.trim()));
}

/** The commands that mean something now, one a line. */
function help(raw: boolean): string {
  const rows = Object.entries(COMMANDS)
    .filter(([, { conversing }]) => !(conversing && raw))
    .map(([name, { argument, meaning }]) => [argument ? `${name} ${text(argument)}` : name, text(meaning)]);
  rows.push(
    [EXIT, text({ zh: '离开（Ctrl-D 也可以）', en: 'leave (so does Ctrl-D)' })],
    ['Ctrl-C', text({ zh: '停止正在写的回答', en: 'stop the answer that is being written' })],
  );
  const width = Math.max(...rows.map(([usage]) => displayWidth(usage)));
  return rows.map(([usage, meaning]) => `${padToWidth(usage, width)}  ${meaning}`).join('\n');
}

/** The adapters that there are, and which is in use. */
function describeAdapters(session: ChatSession): Text {
  const current = session.adapter;
  const all = session.listAdapters();
  const names = (fits: boolean): string[] => all.filter((each) => each.fits === fits).map(({ name }) => name);
  const fitting = [...new Set([...names(true), ...(current === undefined ? [] : [current])])];
  const others = names(false);
  const list = (separator: string, mark: string): string =>
    fitting.map((name) => (name === current ? name + mark : name)).join(separator);
  return {
    zh:
      (fitting.length > 0 ? `适配器：${list('、', '（正在使用）')}。` : '这个模型还没有适配器。') +
      (others.length > 0 ? `属于别的模型，或已损坏：${others.join('、')}。` : '') +
      `/lora 名字 换用，/lora ${NO_ADAPTER} 不用。`,
    en:
      (fitting.length > 0 ? `Adapters: ${list(', ', ' (in use)')}. ` : 'This model has no adapters yet. ') +
      (others.length > 0 ? `Of another model, or damaged: ${others.join(', ')}. ` : '') +
      `/lora NAME takes one, /lora ${NO_ADAPTER} none.`,
  };
}

/** The beginning of a message, to remind of it. */
function excerpt(content: string): string {
  return truncateToWidth(content.replace(/\s+/g, ' '), 30);
}

function invalid(command: string, argument: string, fix: Text): UserError {
  return argument === ''
    ? new UserError({ zh: `${command} 后面缺少值：${fix.zh}。`, en: `${command} needs a value: ${fix.en}.` })
    : new UserError({
        zh: `${command} 的值 "${argument}" 无效：${fix.zh}。`,
        en: `${command} "${argument}" is not valid: ${fix.en}.`,
      });
}

/** A number as the options of a command line read it. */
function parseArgument(command: string, argument: string, parse: (value: string) => number): number {
  try {
    return parse(argument);
  } catch (error) {
    // The parsers of options say in the chosen language what to give.
    const fix = error instanceof Error ? error.message : String(error);
    throw invalid(command, argument, { zh: fix, en: fix });
  }
}

function requireFile(command: string, path: string): void {
  if (path === '')
    throw invalid(command, path, {
      zh: '请写上文件名，例如 chat.json',
      en: 'name a file, such as chat.json',
    });
}

/** The conversation without questions that got no answer: files of conversations have no empty messages. */
function answeredTurns(messages: readonly Message[]): Message[] {
  const isEmpty = (message: Message | undefined): boolean => message?.content.trim() === '';
  return messages.filter((message, i) => !isEmpty(message) && !isEmpty(messages[i + 1]));
}

/** @throws UserError if a file is anything but a saved conversation, which alone may be replaced */
function refuseOtherFile(path: string): void {
  try {
    parseChat(readTextFile(path), path);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError({
      zh: `${path} 已存在，而且不是保存的对话；请换一个文件名。`,
      en: `${path} exists and is not a saved conversation; choose another name.`,
    });
  }
}
