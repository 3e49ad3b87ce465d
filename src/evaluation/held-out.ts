/**
 * @file What a model is examined on: records that no stage trains on. Each stage holds a part of its own data out; but a
 * question held out of one may be asked in another's training. Such records are left out here, and counted.
 */

import type { Message } from '../chat-format.ts';
import {
  conversations,
  preferences,
  pretrainDocuments,
  type SourceText,
  type Split,
  verifiableTasks,
} from '../data/datasets.ts';
import type { PreferencePair } from '../data/formats.ts';
import { distinctPrompts, firstTurn } from '../data/practice-prompts.ts';
import { splitHeldOut } from '../data/split.ts';
import { chainOfThoughtTasks, type SumTask } from './chain-of-thought.ts';
import { type ExaminationTask, generatedExamination, mentionedFacts, taskFacts } from './examination.ts';
import type { KnownAnswer } from './nearest-question.ts';
import { heldOutPages } from './text.ts';

type Messages = readonly Message[];

export interface HeldOutData {
  /** The held-out documents, and those that baselines may read. */
  readonly documents: Split<string>;
  readonly chats: readonly Messages[];
  readonly pairs: readonly PreferencePair[];
  /** Questions of the held-out conversations and pairs. */
  readonly prompts: readonly Messages[];
  readonly tasks: readonly ExaminationTask[];
  /** Sums to answer with and without working; none where fine-tuning did not teach the two forms. */
  readonly sums: readonly SumTask[];
  /** What the training conversations ask first, and how it is answered. */
  readonly known: readonly KnownAnswer[];
  /** Another split of all pairs, for a second reward model. */
  readonly judgePairs: Split<PreferencePair>;
  /** Held-out records that another stage trains on. */
  readonly leftOut: { readonly chats: number; readonly pairs: number; readonly tasks: number };
}

/** Share of the pairs that the second reward model does not see. */
const JUDGE_HELD_OUT = 0.12;

/**
 * @param options.tasks how many questions to generate where the tasks are the bundled ones
 */
export function heldOutData(
  data: Readonly<Record<'pretrain' | 'sft' | 'reward' | 'rlvf', SourceText>>,
  { tasks: taskCount, seed }: { readonly tasks: number; readonly seed: number },
): HeldOutData {
  const documents = pretrainDocuments(data.pretrain);
  const chats = conversations(data.sft);
  const pairs = preferences(data.reward);
  const tasks = verifiableTasks(data.rlvf);

  const trainedOn = new Set([
    ...chats.train.flatMap(questionsOf),
    ...pairs.train.flatMap(({ prompt }) => questionsOf(prompt)),
    ...tasks.train.map(({ prompt }) => prompt),
  ]);
  const isUnseen = (messages: Messages): boolean => !trainedOn.has(questionsOf(messages)[0]);
  const unseenChats = chats.heldOut.filter(isUnseen);
  const unseenPairs = pairs.heldOut.filter(({ prompt }) => isUnseen(prompt));

  const told = new Set([
    ...[...documents.train, ...chats.train.flatMap(contentsOf), ...pairs.train.flatMap(textsOf)].flatMap(
      mentionedFacts,
    ),
    ...tasks.train.flatMap(({ prompt }) => taskFacts(prompt)),
  ]);
  const examination: ExaminationTask[] = data.rlvf.own
    ? tasks.heldOut.filter(({ prompt }) => !trainedOn.has(prompt))
    : generatedExamination(taskCount, seed);
  const unseenTasks = examination.filter(({ key }) => key === undefined || !told.has(key));

  return {
    documents: { train: documents.train, heldOut: heldOutPages(documents.heldOut) },
    chats: unseenChats,
    pairs: unseenPairs,
    prompts: distinctPrompts([...unseenChats.map(firstTurn), ...unseenPairs.map(({ prompt }) => prompt)]),
    tasks: unseenTasks,
    sums: data.sft.own ? [] : chainOfThoughtTasks(seed, told),
    known: chats.train.map(knownAnswer),
    judgePairs: splitHeldOut([...pairs.train, ...pairs.heldOut], {
      fraction: JUDGE_HELD_OUT,
      key: ({ prompt }) => `judge: ${questionsOf(prompt)[0]}`,
    }),
    leftOut: {
      chats: chats.heldOut.length - unseenChats.length,
      pairs: pairs.heldOut.length - unseenPairs.length,
      tasks: examination.length - unseenTasks.length,
    },
  };
}

function questionsOf(messages: Messages): string[] {
  return messages.filter(({ role }) => role === 'user').map(({ content }) => content);
}

function contentsOf(messages: Messages): string[] {
  return messages.map(({ content }) => content);
}

function textsOf({ prompt, chosen, rejected }: PreferencePair): string[] {
  return [...contentsOf(prompt), chosen, rejected];
}

function knownAnswer(messages: Messages): KnownAnswer {
  const at = messages.findIndex(({ role }) => role === 'user');
  return { question: messages[at].content, answer: messages[at + 1]?.content ?? '' };
}
