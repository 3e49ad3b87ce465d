/** @file What each stage reads: the bundled data or the user's own, split into training and held-out parts. */

import type { Message } from '../chat-format.ts';
import { UserError } from '../errors.ts';
import { createRandom, foldSeed, type Random } from '../tensor/random.ts';
import { verifierFor } from '../verifiers.ts';
import { corruptedPairs, exchangesOf } from './corruptions.ts';
import {
  type PreferencePair,
  parseConversations,
  parsePreferences,
  parsePretrain,
  parseTasks,
  type Task,
} from './formats.ts';
import {
  DEFAULT_TASK_TYPES,
  generateDrills,
  generatePretrainDocuments,
  generateTasks,
  type TaskType,
} from './generators.ts';
import { PUZZLE_WORDS } from './puzzles.ts';
import { splitHeldOut } from './split.ts';

/** A file's text and its name for messages. */
export interface SourceText {
  readonly name: string;
  readonly text: string;
  /** Whether it is the user's own. Exercises are generated beside bundled data only. */
  readonly own: boolean;
}

export interface Split<T> {
  readonly train: readonly T[];
  readonly heldOut: readonly T[];
}

/** Share of the records of a file that is held out. */
const HELD_OUT = { pretrain: 0.05, sft: 0.06, reward: 0.12, rlvf: 0.3 };
/** Generated questions of each type in the examination. */
const EXAMINATION_SIZE = 100;
const EXAMINATION_SEED = 1;

/** Documents. A single document (a book, a file without separators) is cut: its end is held out. */
export function pretrainDocuments({ name, text }: SourceText): Split<string> {
  const documents = parsePretrain(text, name);
  if (documents.length > 1)
    return splitHeldOut(documents, { fraction: HELD_OUT.pretrain, key: (document) => document });
  const [book] = documents;
  const edge = Math.floor(book.length * (1 - HELD_OUT.pretrain));
  return { train: [book.slice(0, edge)], heldOut: [book.slice(edge)] };
}

/** Conversations, by their first question: the same question is never on both sides. */
export function conversations({ name, text }: SourceText): Split<readonly Message[]> {
  const all = parseConversations(text, name).map(({ messages }) => messages);
  return splitHeldOut(all, { fraction: HELD_OUT.sft, key: firstQuestion });
}

/** Preference pairs, by their prompt. */
export function preferences({ name, text }: SourceText): Split<PreferencePair> {
  return splitHeldOut(parsePreferences(text, name), {
    fraction: HELD_OUT.reward,
    key: ({ prompt }) => firstQuestion(prompt),
  });
}

/** `count` pairs of a good answer and a spoilt one for one epoch; no question is among the held-out pairs. */
export function spoiltPairs(
  chats: Split<readonly Message[]>,
  pairs: Split<PreferencePair>,
  count: number,
  seed: number,
  epoch: number,
): PreferencePair[] {
  const hidden = new Set(pairs.heldOut.map(({ prompt }) => firstQuestion(prompt)));
  const usable = chats.train.filter((messages) => !hidden.has(firstQuestion(messages)));
  return corruptedPairs(exchangesOf(usable), count, foldSeed(foldSeed(seed, 'spoilt pairs'), epoch));
}

/** Tasks that a program can check; `draw` mixes those of the file with fresh ones of the given types. */
export function verifiableTasks(
  source: SourceText,
  types: readonly TaskType[] = DEFAULT_TASK_TYPES,
): Split<Task> & { draw(count: number, random: Random): Task[] } {
  const tasks = parseTasks(source.text, source.name);
  // A verifier refuses an expected value that it cannot understand: now rather than in the middle of training.
  for (const { prompt, expected, type } of tasks) {
    try {
      verifierFor(type).isCorrect('', expected);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      const { message } = error;
      throw new UserError({
        zh: `${source.name} 的题目“${prompt}”：${message}`,
        en: `${source.name}, task "${prompt}": ${message}`,
      });
    }
  }
  const { train, heldOut } = splitHeldOut(tasks, {
    fraction: HELD_OUT.rlvf,
    key: ({ prompt }) => prompt,
  });
  if (source.own) {
    return {
      train,
      heldOut,
      draw: (count, random) => Array.from({ length: count }, () => random.pick(train)),
    };
  }
  const isAsked = ({ type }: Task): boolean => types.some((each) => each === type);
  const bundled = train.filter(isAsked);
  const examination = generateTasks({
    count: EXAMINATION_SIZE * types.length,
    seed: EXAMINATION_SEED,
    split: 'heldOut',
    types,
  });
  const oneOfEach = (seed: number): Task[] =>
    generateTasks({ count: types.length, seed, split: 'train', types });
  return {
    train: bundled,
    heldOut: [...heldOut.filter(isAsked), ...examination],
    // Three of four questions are fresh ones, where the file has others.
    draw: (count, random) =>
      Array.from({ length: count }, () => {
        if (bundled.length > 0 && random.uniform() < 0.25) return random.pick(bundled);
        return random.pick(oneOfEach(random.integer(2 ** 31)));
      }),
  };
}

/** Texts of arithmetic and logic for one epoch of pretraining. */
export function exerciseDocuments(count: number, seed: number, epoch: number): string[] {
  return generatePretrainDocuments({ count, seed: foldSeed(foldSeed(seed, 'documents'), epoch) });
}

/** Drills beside so many exercises. */
const DRILLS_PER_EXERCISE = 0.6;

/** `count` exercises with model answers for one epoch of fine-tuning, and drills of the small steps in them. */
export function exerciseConversations(
  count: number,
  seed: number,
  epoch: number,
  types: readonly TaskType[] = DEFAULT_TASK_TYPES,
): (readonly Message[])[] {
  const epochSeed = foldSeed(foldSeed(seed, 'exercises'), epoch);
  return [
    ...generateTasks({ count, seed: epochSeed, split: 'train', types }),
    ...generateDrills({ count: Math.round(count * DRILLS_PER_EXERCISE), seed: epochSeed }),
  ].map(toConversation);
}

/** A fixed sample of exercises from the held-out facts. */
export function heldOutExercises(
  count: number,
  types: readonly TaskType[] = DEFAULT_TASK_TYPES,
): (readonly Message[])[] {
  return generateTasks({ count, seed: EXAMINATION_SEED + 1, split: 'heldOut', types }).map(toConversation);
}

/** Often enough to become one token before a comma has joined the first character, as it does where many clauses begin so. */
const WORD_REPEATS = 300;

/** What the tokenizer is trained on: the training text of all stages. */
export function tokenizerTexts(
  documents: readonly string[],
  chats: readonly (readonly Message[])[],
  seed: number,
): string[] {
  const random = createRandom(seed);
  return [
    ...documents,
    ...chats.flatMap((messages) => messages.map(({ role, content }) => `${role}\n${content}`)),
    ...exerciseDocuments(40, random.integer(2 ** 31), 0),
    ...PUZZLE_WORDS.flatMap((word) => Array<string>(WORD_REPEATS).fill(word)),
  ];
}

function toConversation({ prompt, answer }: { readonly prompt: string; readonly answer: string }): Message[] {
  return [
    { role: 'user', content: prompt },
    { role: 'assistant', content: answer },
  ];
}

function firstQuestion(messages: readonly Message[]): string {
  return messages.find(({ role }) => role === 'user')?.content ?? '';
}
