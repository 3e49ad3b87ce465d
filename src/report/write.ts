/** @file Makes the report of a run and writes it into the folder of the run. */

import { join } from 'node:path';
import type { Message } from '../chat-format.ts';
import { conversations, pretrainDocuments, type SourceText, verifiableTasks } from '../data/datasets.ts';
import { writeFileAtomic } from '../files.ts';
import type { StageName } from '../stages/stage.ts';
import type { Runtime } from '../tensor/index.ts';
import type { Tokenizer } from '../tokenizer.ts';
import { renderHtml } from './html.ts';
import { renderMarkdown } from './markdown.ts';
import { type LoadedRun, readPreviousRun, readRun } from './run-record.ts';
import { runReport, type Specimens } from './run-report.ts';
import { answerGreedily, PROMPTS, sampleRollouts } from './samples.ts';

export interface ReportOptions {
  readonly runtime: Runtime;
  /** The folder of the run. */
  readonly out: string;
  /** What it was trained on. */
  readonly data: Readonly<Record<'pretrain' | 'sft' | 'reward' | 'rlvf', SourceText>>;
}

/** Write `report.html` and `report.md`; resolves to the path of the first. @throws UserError where there is no run */
export async function writeReport({ runtime, out, data }: ReportOptions): Promise<string> {
  const run = readRun(out);
  const document = runReport(run, await specimensOf(run, runtime, data), readPreviousRun(out));
  const path = join(out, 'report.html');
  writeFileAtomic(path, renderHtml(document));
  writeFileAtomic(join(out, 'report.md'), renderMarkdown(document));
  return path;
}

async function specimensOf(
  { checkpoints, stages }: LoadedRun,
  runtime: Runtime,
  data: ReportOptions['data'],
): Promise<Specimens> {
  const writers = stages.map(({ stage }) => stage).filter((stage) => stage !== 'reward');
  const answers: { stage: StageName; answers: string[] }[] = [];
  for (const stage of writers) {
    answers.push({ stage, answers: await answerGreedily(runtime, checkpoints[stage]!, PROMPTS) });
  }
  const types = stages.find(({ stage }) => stage === 'rlvf')?.circumstances?.taskTypes;
  // The pretrained model knows no tasks.
  const last = writers.filter((stage) => stage !== 'pretrain').at(-1);
  const rollouts = last && {
    stage: last,
    groups: await sampleRollouts(runtime, checkpoints[last]!, verifiableTasks(data.rlvf, types).heldOut),
  };
  const [{ tokenizer }] = Object.values(checkpoints);
  return {
    prompts: PROMPTS,
    answers,
    rollouts,
    conversation: exampleOf(conversations(data.sft).train),
    bytesPerToken: bytesPerToken(tokenizer, pretrainDocuments(data.pretrain).train),
  };
}

/** A short conversation, of several turns where there is one: there the mask is worth a look. */
function exampleOf(chats: readonly (readonly Message[])[]): readonly Message[] {
  const lengthOf = (messages: readonly Message[]): number =>
    messages.reduce((sum, { content }) => sum + content.length, 0);
  const several = chats.filter(({ length }) => length > 2);
  const candidates = several.length > 0 ? several : chats;
  return candidates.reduce(
    (best, each) => (lengthOf(each) < lengthOf(best) ? each : best),
    candidates[0] ?? [],
  );
}

/** Characters that are enough to know how many bytes a token stands for. */
const ENOUGH = 200_000;

function bytesPerToken(tokenizer: Tokenizer, documents: readonly string[]): number {
  let [bytes, tokens, read] = [0, 0, 0];
  for (const document of documents) {
    const part = document.slice(0, ENOUGH - read);
    bytes += Buffer.byteLength(part);
    tokens += tokenizer.encode(part).length;
    read += part.length;
    if (read >= ENOUGH) break;
  }
  return bytes / Math.max(1, tokens);
}
