/** @file A conversation and the model that takes part in it, without the terminal around them. */

import { join } from 'node:path';
import { fingerprintOf, loadLora, readAdapter } from '../adapter.ts';
import { type BestOf, createBestOf } from '../best-of.ts';
import { fitHistory, type Message, renderPrompt } from '../chat-format.ts';
import { type Checkpoint, STAGE_FOLDERS } from '../checkpoint.ts';
import { createDecoder, type Decoder } from '../decoder.ts';
import { UserError } from '../errors.ts';
import { type Finish, generate, rawPrompt } from '../generate.ts';
import type { SamplingOptions } from '../sampling.ts';
import { mergeLora } from '../stages/lora.ts';
import type { StageName } from '../stages/stage.ts';
import { createRandom, type Runtime } from '../tensor/index.ts';
import {
  adapterFolder,
  adaptersFolder,
  fits,
  listAdapters,
  type NamedAdapter,
  shortName,
} from './adapters.ts';
import type { WritingOptions } from './sampling-options.ts';
import { loadRewardModel, loadWriter, writesRawText } from './writer.ts';

/** A loaded or just trained model. */
export type ChatModel = Pick<Checkpoint, 'params' | 'config' | 'tokenizer' | 'stage'>;

/** A part of an answer as it comes. */
export interface AnswerPiece {
  readonly text: string;
  /** Tokens in this part. */
  readonly tokens: number;
  readonly finish?: Finish;
  /** Where several answers were sampled: what the reward model thinks of each, the best first. */
  readonly rewards?: readonly number[];
}

/** An answer about to be written. */
export interface Turn {
  /** How many of the oldest messages no longer fit the context; the model does not see them any more. */
  readonly forgotten: number;
  /** The answer, piece by piece. The turn becomes part of the conversation, as far as it was read. */
  readonly pieces: AsyncGenerator<AnswerPiece, void, undefined>;
}

export interface ChatSession {
  /** Whether messages are continued as raw texts, without template and memory. */
  readonly raw: boolean;
  readonly stage: string;
  /** The adapter in use: its name in the folder of adapters, or its path where it lies elsewhere. */
  readonly adapter: string | undefined;
  /** How many answers are sampled, of which the best is given; 1 is the ordinary way. */
  readonly candidates: number;
  /** The conversation so far; a system message comes first. */
  messages: readonly Message[];
  sampling: SamplingOptions;
  /**
   * Say something to the model.
   * @throws UserError if the message is longer than the context
   */
  say(message: string, signal: AbortSignal): Turn;
  /** Use the time until the next message to compile what it will need. */
  prepare(): void;
  /**
   * Go on with the model of another stage, and without an adapter: each belongs to one model.
   * @throws UserError if it cannot be found; then nothing changes
   */
  useStage(stage: StageName): Promise<void>;
  /** The adapters that can be had by their names alone, and whether they belong to the present model. */
  listAdapters(): { readonly name: string; readonly fits: boolean }[];
  /**
   * Go on with an adapter beside the same model, given by name or path; undefined: with the model as it is.
   * @throws UserError if there is no such adapter, or it is damaged or of another model; then nothing changes
   */
  useAdapter(given: string | undefined): Promise<void>;
  /** Answer with the best of so many candidates. @throws UserError if there is no reward model */
  useBest(candidates: number): Promise<void>;
  release(): Promise<void>;
}

/** Tokens that a message is expected to have, with the template around it. */
const TYPICAL_MESSAGE = 24;

export interface ChatSessionOptions extends WritingOptions {
  readonly runtime: Runtime;
  readonly checkpoint: ChatModel;
  /** An adapter to begin with. */
  readonly adapter?: NamedAdapter;
  /** Where the checkpoints of the other stages, the reward model and the adapters are; undefined: there are none. */
  readonly folder?: string;
  /** The reward model, where it is not in `folder`. */
  readonly rewardModel?: string;
  readonly raw?: boolean;
  readonly seed: number;
}

export async function createChatSession(options: ChatSessionOptions): Promise<ChatSession> {
  const { runtime, folder, rewardModel, maxNewTokens, stop } = options;
  const random = createRandom(options.seed);
  const decoderOf = ({ config, params: weights }: ChatModel): Promise<Decoder> =>
    createDecoder({ runtime, config, weights, batchSize: 1 });
  const requireFolder = (): string => {
    if (folder !== undefined) return folder;
    throw new UserError({
      zh: '不知道其他检查点在哪里；请用 npm run generate 打开聊天',
      en: 'it is not known where the other checkpoints are; open the chat with npm run generate',
    });
  };

  let base = options.checkpoint;
  let adapter = options.adapter;
  let model = adapter ? mergeLora(base, adapter.lora) : base;
  let decoder = await decoderOf(model);
  let bestOf: BestOf | undefined;
  let prepared = Promise.resolve();

  /** The tokens that the model goes on from, and how much of the conversation they hold. */
  const promptFor = (
    message: string,
  ): { prompt: Int32Array; kept: readonly Message[]; forgotten: number } => {
    const { tokenizer } = model;
    if (session.raw) return { prompt: rawPrompt(tokenizer, message), kept: [], forgotten: 0 };
    const said: Message = { role: 'user', content: message };
    const kept = fitHistory(tokenizer, [...session.messages, said], {
      maxLength: decoder.maxLength,
      maxNewTokens,
    });
    const forgotten = session.messages.length + 1 - kept.length;
    return { prompt: renderPrompt(tokenizer, kept), kept, forgotten };
  };

  async function* writeOne(prompt: Int32Array): AsyncGenerator<AnswerPiece> {
    const { tokenizer } = model;
    const { sampling } = session;
    for await (const piece of generate({ decoder, tokenizer, prompt, maxNewTokens, sampling, stop, random }))
      yield { text: piece.text, tokens: 1, finish: piece.finish };
  }

  async function* writeBest(
    of: BestOf,
    messages: readonly Message[],
    signal: AbortSignal,
  ): AsyncGenerator<AnswerPiece> {
    const { sampling } = session;
    const seed = random.integer(2 ** 32);
    const answers = await of.answer(messages, { sampling, maxNewTokens, stop, seed, signal });
    const [best] = answers;
    const tokens = answers.reduce((sum, each) => sum + each.tokens.length, 0);
    yield { text: best.text, tokens, finish: best.finish, rewards: answers.map(({ reward }) => reward) };
  }

  /** Let another model answer. The present one goes when that is ready, and stays where it fails. */
  const change = async (nextBase: ChatModel, nextAdapter?: NamedAdapter): Promise<void> => {
    const next = nextAdapter ? mergeLora(nextBase, nextAdapter.lora) : nextBase;
    const nextDecoder = await decoderOf(next);
    await prepared;
    await decoder.release();
    [base, adapter, model, decoder] = [nextBase, nextAdapter, next, nextDecoder];
    await session.useBest(session.raw ? 1 : session.candidates);
  };

  const session: ChatSession = {
    get raw() {
      return options.raw ?? writesRawText(model);
    },
    get stage() {
      return model.stage;
    },
    get adapter() {
      return adapter && (folder === undefined ? adapter.name : shortName(adapter.name, folder));
    },
    get candidates() {
      return bestOf?.count ?? 1;
    },
    messages: [],
    sampling: options.sampling,
    say(message, signal) {
      const { prompt, kept, forgotten } = promptFor(message);
      async function* pieces(): AsyncGenerator<AnswerPiece, void, undefined> {
        const source = bestOf && !session.raw ? writeBest(bestOf, kept, signal) : writeOne(prompt);
        let written = '';
        let failed = false;
        try {
          await prepared;
          for await (const piece of source) {
            if (signal.aborted) return;
            written += piece.text;
            yield piece;
          }
        } catch (error) {
          failed = !signal.aborted;
          if (failed) throw error;
        } finally {
          // Also where the reader left. What was stopped before it began was not said.
          const isVoid = failed || (signal.aborted && written === '');
          if (!session.raw && !isVoid) session.messages = [...kept, { role: 'assistant', content: written }];
        }
      }
      return { forgotten, pieces: pieces() };
    },
    prepare() {
      const { messages, raw } = session;
      const length = raw ? 0 : renderPrompt(model.tokenizer, messages).length;
      // A failure shows where the graph is needed.
      prepared = decoder.prepare(length + TYPICAL_MESSAGE).catch(() => {});
    },
    async useStage(stage) {
      await change(loadWriter(join(requireFolder(), STAGE_FOLDERS[stage])));
    },
    listAdapters() {
      const parent = requireFolder();
      return listAdapters(parent).map((name) => ({
        name,
        fits: fits(join(adaptersFolder(parent), name), base),
      }));
    },
    async useAdapter(given) {
      if (given === undefined) return change(base);
      const name = adapterFolder(given, requireFolder());
      const stored = readAdapter(name);
      if (stored.base !== undefined && stored.base !== fingerprintOf(base.params)) {
        throw new UserError({
          zh: `适配器 ${name} 属于另一个模型（${stored.baseName}）；请先用 /stage 换到那个模型`,
          en: `the adapter ${name} belongs to another model (${stored.baseName}); go to that one with /stage first`,
        });
      }
      await change(base, { name, lora: loadLora(stored, base, base.stage) });
    },
    async useBest(count) {
      const next =
        count === 1
          ? undefined
          : await createBestOf({
              runtime,
              writer: model,
              rewardModel: loadRewardModel(rewardModel, rewardModel ?? requireFolder()),
              count,
            });
      await bestOf?.release();
      bestOf = next;
    },
    async release() {
      await prepared;
      await decoder.release();
      await bestOf?.release();
    },
  };
  return session;
}
