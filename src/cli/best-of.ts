/** @file `--best-of N`: the answer that the reward model likes best, and the scores of all. */

import { createBestOf } from '../best-of.ts';
import type { Checkpoint } from '../checkpoint.ts';
import { UserError } from '../errors.ts';
import { text } from '../i18n.ts';
import { type AnswerOptions, printCandidates } from './answer.ts';
import { anySeed } from './sampling-options.ts';

/** Write the best of `count` answers to stdout, and all of them with their scores to stderr. */
export async function answerBestOf(
  message: string,
  options: AnswerOptions & { readonly count: number; readonly rewardModel: Checkpoint },
): Promise<void> {
  const { runtime, checkpoint: writer, rewardModel, count, raw, seed = anySeed() } = options;
  if (raw) {
    throw new UserError({
      zh: '--best-of 用奖励模型给对话打分，而这里是续写文字；请换用经过 SFT 的检查点，并去掉 --raw',
      en: '--best-of scores conversations with the reward model, but this continues a raw text; use a checkpoint after SFT, without --raw',
    });
  }
  const bestOf = await createBestOf({ runtime, writer, rewardModel, count });
  const answers = await bestOf.answer([{ role: 'user', content: message }], { ...options, seed });
  process.stdout.write(`${answers[0].text}\n`);
  printCandidates(
    [text({ zh: '奖励', en: 'reward' })],
    answers.map(({ reward, text: written }) => [reward.toFixed(2).padStart(6), written]),
  );
  await bestOf.release();
}
