/**
 * @file From a teacher to a student in a folder, as `lora-run.ts` does it for adapters: what is finished is not trained
 * again, and what was interrupted goes on.
 *
 *     <out>/model.safetensors, config.json, tokenizer.json    the student, a checkpoint like any other
 *     <out>/metrics.jsonl, events.out.tfevents.*              its figures
 *     <out>/.progress/                                        while it is being trained
 */

import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fingerprintOf } from './adapter.ts';
import { type Rendered, renderConversation } from './chat-format.ts';
import { type Checkpoint, loadCheckpoint, saveCheckpoint } from './checkpoint.ts';
import {
  conversations,
  exerciseConversations,
  heldOutExercises,
  pretrainDocuments,
  type SourceText,
} from './data/datasets.ts';
import { UserError } from './errors.ts';
import { recoverFolder } from './files.ts';
import { dropProgress, lockRun } from './run-folder.ts';
import { openStage, type StageUi } from './stage-run.ts';
import { type DistillData, type DistillOptions, distill } from './stages/distill.ts';
import { checkEvaluations, type Evaluation } from './stages/stage.ts';
import type { Runtime } from './tensor/index.ts';
import { SPECIAL, type Tokenizer } from './tokenizer.ts';

const STAGE = 'distill';
/** What the checkpoints say of themselves. */
const METHOD = 'distillation';

export interface DistillRunOptions {
  readonly runtime: Runtime;
  readonly teacher: Checkpoint;
  /** Where the student starts from: its shape and first weights; the tokenizer is the teacher's. */
  readonly student: Pick<Checkpoint, 'config' | 'params'>;
  readonly settings: DistillOptions;
  readonly seed: number;
  /** The folder of the student. */
  readonly out: string;
  readonly data: SourceText;
  /** Whether the data is text to read, and not conversations. */
  readonly isText: boolean;
  /** Exercises made anew for each epoch beside the bundled conversations. */
  readonly exercises: number;
  readonly restart: boolean;
  /** Seconds between saves of the state in progress. */
  readonly saveInterval: number;
}

/** What a distillation is remembered by. */
export interface DistillFigures {
  /** Seconds of training, over all runs that it took. */
  readonly seconds: number;
  readonly evaluations: readonly Evaluation[];
  /** Held-out loss of the teacher, in nats; undefined where nothing is held out. */
  readonly teacherLoss?: number;
}

export interface DistillRun extends DistillFigures {
  readonly student: Checkpoint;
  readonly outcome: 'trained' | 'finished before';
}

/**
 * Train a student, or take up the one that is in the folder.
 * @throws UserError where the folder holds a checkpoint that no distillation made
 */
export async function runDistill(options: DistillRunOptions, ui: StageUi): Promise<DistillRun> {
  const { runtime, teacher, student, settings, seed, out, restart, saveInterval } = options;
  const { data, isText, exercises } = options;
  const { tokenizer } = teacher;
  const { config } = student;
  const weights = [fingerprintOf(teacher.params), fingerprintOf(student.params)];
  const dependsOn = [weights, teacher.config, config, settings, seed, data, exercises];
  const fingerprint = createHash('sha256').update(JSON.stringify(dependsOn)).digest('hex');
  const unlock = lockRun(out);
  try {
    const finished = findStudent(out);
    if (!restart && finished?.extra['fingerprint'] === fingerprint) {
      // A kill after the checkpoint was written leaves the progress.
      dropProgress(out, STAGE);
      const { seconds = 0, evaluations = [], teacherLoss } = finished.extra as Partial<DistillFigures>;
      return { student: finished, outcome: 'finished before', seconds, evaluations, teacherLoss };
    }
    const sequences = isText
      ? textSequences(tokenizer, data, config.contextLength)
      : chatSequences(tokenizer, data, { exercises, seed });
    const { io, cost, close } = openStage({ stage: STAGE, fingerprint, out, restart, saveInterval }, ui);
    const context = { runtime, config, tokenizer, seed, io };
    const result = await distill(context, student.params, teacher, sequences, settings).finally(close);
    const { evaluations, teacherLoss } = result;
    checkEvaluations(STAGE, evaluations);
    const figures = { ...cost(), evaluations, teacherLoss };
    const checkpoint: Checkpoint = {
      params: result.weights,
      config,
      tokenizer,
      // What the student can do, so that other commands know whether to converse with it.
      stage: isText ? 'pretrain' : 'sft',
      extra: { method: METHOD, fingerprint, seed, settings, ...figures },
    };
    saveCheckpoint(out, checkpoint);
    dropProgress(out, STAGE);
    return { student: checkpoint, outcome: 'trained', ...figures };
  } finally {
    unlock();
  }
}

/** The student in a folder; undefined where there is none, or a damaged one. */
function findStudent(out: string): Checkpoint | undefined {
  recoverFolder(out);
  if (!existsSync(join(out, 'model.safetensors'))) return undefined;
  let found: Checkpoint;
  try {
    found = loadCheckpoint(out);
  } catch (error) {
    if (error instanceof UserError) return undefined;
    throw error;
  }
  if (found.extra['method'] === METHOD) return found;
  throw new UserError({
    zh: `${out} 里是别的训练得到的检查点，蒸馏会覆盖它；请用 --out 指定别的文件夹`,
    en: `${out} holds a checkpoint of another training, which the student would replace; name another folder with --out`,
  });
}

/** Conversations, of which the assistant's tokens are learned; beside the bundled ones exercises, as in fine-tuning. */
function chatSequences(
  tokenizer: Tokenizer,
  data: SourceText,
  { exercises, seed }: { readonly exercises: number; readonly seed: number },
): DistillData {
  const { train, heldOut } = conversations(data);
  const render = (chats: Parameters<typeof renderConversation>[1][]): Rendered[] =>
    chats.map((messages) => renderConversation(tokenizer, messages));
  const fixed = render([...train]);
  return {
    train: (epoch) => [...fixed, ...(data.own ? [] : render(exerciseConversations(exercises, seed, epoch)))],
    heldOut: render(data.own ? [...heldOut] : [...heldOut, ...heldOutExercises(60)]),
  };
}

/** Documents, of which every token is learned, in pieces of the context length. */
function textSequences(tokenizer: Tokenizer, data: SourceText, contextLength: number): DistillData {
  const { train, heldOut } = pretrainDocuments(data);
  const cut = (documents: readonly string[]): Rendered[] =>
    documents.flatMap((document) => {
      const tokens = Int32Array.from([...tokenizer.encode(document), SPECIAL.eos]);
      const pieces: Rendered[] = [];
      // A piece begins with the last target of the one before.
      for (let start = 0; start < tokens.length - 1; start += contextLength) {
        const ids = tokens.slice(start, start + contextLength + 1);
        pieces.push({ ids, mask: new Uint8Array(ids.length).fill(1) });
      }
      return pieces;
    });
  const fixed = cut(train);
  return { train: () => fixed, heldOut: cut(heldOut) };
}
