/** @file What fine-tuning is for: answering, in the right form, and with what the training conversations say. */

import { type Message, renderConversation } from '../chat-format.ts';
import type { Checkpoint } from '../checkpoint.ts';
import { exchangesOf } from '../data/corruptions.ts';
import type { Text } from '../i18n.ts';
import { nextTokenNats } from '../perplexity.ts';
import { GREEDY } from '../sampling.ts';
import type { Episode } from '../stages/episode-rows.ts';
import type { Runtime } from '../tensor/index.ts';
import { SPECIAL, SPECIAL_TOKENS } from '../tokenizer.ts';
import { type Figure, figure } from './figures.ts';
import { ratioOf, shareOf } from './intervals.ts';
import { type EvaluationQuestions, isRight, type JudgedQuestion } from './judging.ts';
import { createNearest, type KnownAnswer } from './nearest-question.ts';
import { answerLength, fittingPrompts, respond, textOf } from './responses.ts';

type Messages = readonly Message[];

/** Longest answer in tokens: the answers of the training data are shorter. */
const MAX_NEW_TOKENS = 64;

/** An answer with its verdict. */
export interface JudgedAnswer {
  readonly prompt: string;
  readonly answer: string;
  readonly right: boolean;
}

export interface ConversationOptions {
  readonly runtime: Runtime;
  readonly checkpoint: Checkpoint;
  /** Held-out conversations. */
  readonly chats: readonly Messages[];
  /** Left out where the model was not trained on the bundled conversations. */
  readonly questions?: EvaluationQuestions;
  readonly known: readonly KnownAnswer[];
  readonly seed: number;
}

/** Loss on the assistant's tokens, form of greedy answers, and what they say. */
export async function evaluateConversations(
  options: ConversationOptions,
): Promise<{ figures: Figure[]; answers: JudgedAnswer[] }> {
  const { runtime, checkpoint, chats, questions, known, seed } = options;
  const maxNewTokens = answerLength(checkpoint, MAX_NEW_TOKENS);
  const fits = ({ prompt }: JudgedQuestion): boolean =>
    fittingPrompts(checkpoint, [[{ role: 'user', content: prompt }]], maxNewTokens).length > 0;
  const identity = questions?.identity.filter(fits) ?? [];
  const paraphrases = questions?.paraphrases.filter(fits) ?? [];
  const asked = [...identity, ...paraphrases];
  const prompts = [
    ...asked.map(({ prompt }): Messages => [{ role: 'user', content: prompt }]),
    ...fittingPrompts(
      checkpoint,
      exchangesOf(chats).map(({ prompt }) => prompt),
      maxNewTokens,
    ),
  ];
  const episodes = await respond({ runtime, checkpoint, prompts, sampling: GREEDY, maxNewTokens, seed });
  const judge = (question: JudgedQuestion, answer: string): boolean =>
    isRight(answer, question.must, identity.includes(question) ? questions?.identityMustNot : []);
  const answers = asked.map((question, i): JudgedAnswer => {
    const answer = textOf(checkpoint, episodes[i]);
    return { prompt: question.prompt, answer, right: judge(question, answer) };
  });

  const figures: Figure[] = [];
  if (chats.length > 0) figures.push(await answerLoss(options));
  if (episodes.length > 0) {
    const name = { zh: '回答格式正确', en: 'answers in the right form' };
    figures.push(figure('format', name, 'share', shareOf(episodes.map(isWellFormed)), { better: 'higher' }));
  }
  const nearest = createNearest(known);
  const add = (id: string, name: Text, part: readonly JudgedQuestion[], first: number): void => {
    if (part.length === 0) return;
    const verdicts = part.map((_, i) => answers[first + i].right);
    const copied = shareOf(part.map((question) => judge(question, nearest(question.prompt))));
    const baseline = { zh: '照抄最像的已知问题的回答', en: 'answer of the most similar known question' };
    figures.push(
      figure(id, name, 'share', shareOf(verdicts), {
        better: 'higher',
        baselines: [{ name: baseline, value: copied.value, low: copied.low, high: copied.high }],
      }),
    );
  };
  add('identity', { zh: '换种问法问它是谁', en: 'who it is, asked anew' }, identity, 0);
  add(
    'paraphrases',
    { zh: '换种问法的已知问题', en: 'known questions, asked anew' },
    paraphrases,
    identity.length,
  );
  return { figures, answers };
}

/** Cross entropy in nats a token of what the assistant says; conversations are what is resampled. */
async function answerLoss({ runtime, checkpoint, chats, seed }: ConversationOptions): Promise<Figure> {
  const { config, params: weights, tokenizer } = checkpoint;
  const rendered = chats.map((messages) => {
    const { ids, mask } = renderConversation(tokenizer, messages);
    const end = Math.min(ids.length, config.contextLength + 1);
    return {
      ids: ids.subarray(0, end - 1),
      targets: ids.subarray(1, end),
      mask: mask.subarray(1, end),
    };
  });
  const nats = await nextTokenNats({ runtime, config, weights }, rendered);
  const sums = rendered.map(({ mask }, i): [number, number] => [
    nats[i].reduce((sum, each, at) => sum + each * mask[at], 0),
    mask.reduce((sum, each) => sum + each, 0),
  ]);
  const name = { zh: '回答词元的损失', en: 'loss on answer tokens' };
  return figure('answer-loss', name, 'nats', ratioOf(sums, seed), { better: 'lower' });
}

/** Something was said, `<|im_end|>` ends it, and there is no other special token in it. */
export function isWellFormed({ response: { tokens } }: Episode): boolean {
  const said = tokens.slice(0, -1);
  return (
    tokens.at(-1) === SPECIAL.imEnd &&
    said.length > 0 &&
    said.every((token) => token >= SPECIAL_TOKENS.length)
  );
}
