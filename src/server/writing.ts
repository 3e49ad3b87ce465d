/**
 * @file What `/v1/chat/completions` and `/v1/completions` have in common: from prompts to choices, whole or streamed.
 *
 * Every choice is a text of its own for the engine, so the choices of one request and those of all others are written
 * side by side.
 */

import type { Finish } from '../continuation.ts';
import type { SamplingOptions } from '../sampling.ts';
import { createRandom, foldSeed } from '../tensor/random.ts';
import { SPECIAL } from '../tokenizer.ts';
import { ApiError, badRequest } from './errors.ts';
import { scoreToken, type TokenScore } from './logprobs.ts';
import type { Meters } from './metrics.ts';
import type { ServedModel } from './models.ts';
import { eventStream } from './sse.ts';

/** What is to be written. */
export interface Plan {
  readonly model: ServedModel;
  readonly prompts: readonly Int32Array[];
  /** Choices for each prompt. */
  readonly n: number;
  readonly sampling: SamplingOptions;
  /** The first choice is the same for the same seed; another one each time when not given. */
  readonly seed: number | undefined;
  /** Longest text, in tokens. */
  readonly maxNewTokens: number;
  readonly stop: readonly string[];
  /** How many of the likeliest tokens are told beside each; undefined tells no probabilities. */
  readonly topLogprobs: number | undefined;
}

/** A piece of a choice: the text that a token completed, which may be none. */
export interface Piece {
  readonly text: string;
  /** Undefined where they were not asked for, and for the token that ended the text. */
  readonly score: TokenScore | undefined;
  readonly finish: 'stop' | 'length' | undefined;
}

/** A choice at its end. */
export interface Choice {
  readonly index: number;
  readonly text: string;
  readonly scores: readonly TokenScore[] | undefined;
  readonly finish: 'stop' | 'length';
}

/** How a kind of completion looks on the wire. */
export interface Format {
  /** The body of an answer with all choices. */
  whole(choices: readonly Choice[]): object;
  /** The first event of a choice, if it has one before its first token. */
  opening(index: number): object | undefined;
  /** One event: a piece of a choice. */
  piece(index: number, piece: Piece): object;
  /** The last event, with the usage. */
  closing(): object;
}

export interface WritingContext {
  /** Aborts when the client has gone. */
  readonly signal: AbortSignal;
  readonly meters: Meters;
  readonly onError: (error: unknown) => void;
}

/**
 * Write all choices and answer with them, at once or piece by piece.
 * @param stream undefined for one answer at the end
 * @throws ApiError 429 when there is no room in the queue
 */
export async function answerWith(
  plan: Plan,
  format: Format,
  stream: { readonly includeUsage: boolean } | undefined,
  context: WritingContext,
): Promise<Response> {
  reserve(plan);
  if (stream) {
    return eventStream(
      context.signal,
      async (send) => {
        const promptTokens = countPromptTokens(plan);
        const usage = (value: object | null): object => (stream.includeUsage ? { usage: value } : {});
        for (let index = 0; index < plan.prompts.length * plan.n; index++) {
          const opening = format.opening(index);
          if (opening) send({ ...opening, ...usage(null) });
        }
        const written = await writeChoices(plan, context, (index, { finish, ...piece }) => {
          if (piece.text !== '' || piece.score)
            send({ ...format.piece(index, { ...piece, finish: undefined }), ...usage(null) });
          if (finish)
            send({ ...format.piece(index, { text: '', score: undefined, finish }), ...usage(null) });
        });
        if (stream.includeUsage) send({ ...format.closing(), ...usage(usageOf(promptTokens, written)) });
      },
      context.onError,
    );
  }
  const pieces: Piece[][] = Array.from({ length: plan.prompts.length * plan.n }, () => []);
  const written = await writeChoices(plan, context, (index, piece) => pieces[index].push(piece));
  const choices = pieces.map((parts, index): Choice => {
    const scores = parts.flatMap(({ score }) => score ?? []);
    return {
      index,
      text: parts.map(({ text }) => text).join(''),
      scores: plan.topLogprobs === undefined ? undefined : scores,
      finish: parts.at(-1)!.finish!,
    };
  });
  return Response.json({ ...format.whole(choices), usage: usageOf(countPromptTokens(plan), written) });
}

/** Room for every choice, now: between this and the first of them nothing else runs. */
function reserve({ model: { engine }, prompts, n }: Plan): void {
  const count = prompts.length * n;
  if (engine.hasRoomFor(count)) return;
  const most = engine.capacity;
  if (count > most) {
    throw badRequest('n', {
      zh: `一次请求要 ${count} 个回答，而这里最多同时接受 ${most} 个；请减少 n 或提示的数目`,
      en: `one request asks for ${count} answers, and ${most} can be taken on at a time; ask for fewer, by n or by the number of prompts`,
    });
  }
  throw new ApiError(
    429,
    { zh: '等待的请求已经排满；请稍后再试', en: 'the queue of waiting requests is full; try again later' },
    { code: 'rate_limit_exceeded', headers: { 'retry-after': '1' } },
  );
}

/** Write all choices side by side; the number of tokens written, those that ended texts included. */
async function writeChoices(
  plan: Plan,
  { signal, meters }: WritingContext,
  onPiece: (index: number, piece: Piece) => void,
): Promise<number> {
  const { model, prompts, n, sampling, maxNewTokens, stop, topLogprobs } = plan;
  const seed = plan.seed ?? Math.floor(Math.random() * 2 ** 32);
  let written = 0;
  const tasks = prompts.flatMap((prompt, p) =>
    Array.from({ length: n }, (_, choice) => {
      const index = p * n + choice;
      const clock = meters.startText(model.id, prompt.length);
      return model.engine.write({
        prompt,
        maxNewTokens,
        sampling,
        random: createRandom(index === 0 ? seed : foldSeed(seed, index)),
        stop,
        signal,
        onToken({ token, text, finish, logits }) {
          written++;
          clock.token();
          const ends = finish === 'stop' && (token === SPECIAL.imEnd || token === SPECIAL.eos);
          const scored = topLogprobs !== undefined && !ends;
          onPiece(index, {
            text,
            score: scored ? scoreToken(logits, token, topLogprobs) : undefined,
            finish: finish && reasonOf(finish),
          });
        },
      });
    }),
  );
  await Promise.all(tasks);
  return written;
}

function reasonOf(finish: Finish): 'stop' | 'length' {
  return finish === 'stop' ? 'stop' : 'length';
}

/** A prompt counts once, however many choices it has. */
function countPromptTokens({ prompts }: Plan): number {
  return prompts.reduce((sum, { length }) => sum + length, 0);
}

function usageOf(promptTokens: number, completionTokens: number): object {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  };
}
