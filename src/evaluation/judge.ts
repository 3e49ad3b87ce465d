/**
 * @file A second opinion. A policy that was trained on one reward model is bound to please it, whether or not its answers
 * became better. So it is judged by another one, which it has never met: trained as the first, but from another seed and
 * on another split of the pairs. What only the first one likes does not win here (Gao et al. 2022, "Scaling Laws for
 * Reward Model Overoptimization").
 */

import { createHash } from 'node:crypto';
import type { Checkpoint } from '../checkpoint.ts';
import type { Split } from '../data/datasets.ts';
import type { PreferencePair } from '../data/formats.ts';
import type { Text } from '../i18n.ts';
import { finishStage, loadFinished, lockRun } from '../run-folder.ts';
import { openStage } from '../stage-run.ts';
import { type RewardOptions, trainRewardModel } from '../stages/reward-model.ts';
import { foldSeed, type Runtime } from '../tensor/index.ts';

export interface JudgeOptions {
  readonly runtime: Runtime;
  /** Where the judge is kept: trained once, it serves later evaluations of the same run. */
  readonly folder: string;
  readonly sft: Checkpoint;
  readonly pairs: Split<PreferencePair>;
  readonly recipe: RewardOptions;
  readonly seed: number;
  readonly say: (message: Text) => void;
}

/** Seconds between saves of the training in progress. */
const SAVE_INTERVAL = 30;

/** The judge, trained now or found where it was kept. */
export async function openJudge(options: JudgeOptions): Promise<Checkpoint> {
  const { folder, pairs, recipe, say } = options;
  const fingerprint = fingerprintOf(options);
  const kept = loadFinished(folder, 'reward', fingerprint);
  if (kept) return kept;
  say({
    zh: `训练第二个奖励模型作为裁判（${pairs.train.length} 对，${recipe.epochs} 遍），保存在 ${folder}，以后不必再训练……`,
    en: `Training a second reward model as the judge (${pairs.train.length} pairs, ${recipe.epochs} passes); it is kept in ${folder} for next time...`,
  });
  const unlock = lockRun(folder);
  try {
    return await trainJudge(options, fingerprint);
  } finally {
    unlock();
  }
}

async function trainJudge(
  { runtime, folder, sft, pairs, recipe, seed, say }: JudgeOptions,
  fingerprint: string,
): Promise<Checkpoint> {
  const { config, tokenizer, params } = sft;
  const { io, close } = openStage(
    { stage: 'reward', fingerprint, out: folder, restart: false, saveInterval: SAVE_INTERVAL },
    { starts: () => {}, step: () => {}, note: say, interrupted: false },
  );
  try {
    const { weights } = await trainRewardModel(
      { runtime, config, tokenizer, seed: foldSeed(seed, 'judge'), io },
      params,
      { pairs: pairs.train, heldOut: pairs.heldOut },
      recipe,
    );
    const judge = { params: weights, config, tokenizer, stage: 'reward', extra: { fingerprint } };
    finishStage(folder, 'reward', judge);
    return judge;
  } finally {
    close();
  }
}

/** Of everything that the judge depends on. */
function fingerprintOf({ sft, pairs, recipe, seed }: JudgeOptions): string {
  const hash = createHash('sha256').update(JSON.stringify(['judge', seed, sft.config, pairs, recipe]));
  hash.update(sft.tokenizer.toJson());
  for (const name of Object.keys(sft.params).sort()) {
    const { data } = sft.params[name];
    hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest('hex');
}
