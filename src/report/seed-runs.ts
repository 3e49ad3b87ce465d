/** @file Runs that differ in nothing but their seeds, with their evaluations: what can be averaged. */

import { UserError } from '../errors.ts';
import { overSeeds, type SeedEvaluation } from '../evaluation/seeds.ts';
import { text } from '../i18n.ts';
import { type RunRecord, readRun } from './run-record.ts';
import { settingsOf } from './settings.ts';

/** @throws UserError where runs cannot be put together: not evaluated, of other settings, or of the same seed */
export function readSeedRuns(folders: readonly string[]): SeedEvaluation {
  if (folders.length < 2) {
    throw new UserError({
      zh: '--runs 需要至少两个文件夹，例如 --runs seed-1 seed-2 seed-3；只看一次训练，请用 --out',
      en: '--runs needs two folders at least, such as --runs seed-1 seed-2 seed-3; for a single run use --out',
    });
  }
  // The weights are not needed any more: one run after the other.
  const runs = folders.map((folder) => {
    const { checkpoints: _, ...record } = readRun(folder);
    return { folder, record, seed: seedOf(record), evaluation: evaluationOf(record) };
  });
  const [first, ...others] = runs;
  for (const other of others) requireSameSettings(first.record, other.record);
  const bySeed = new Map<number, string>();
  for (const { seed, folder } of runs) {
    const same = bySeed.get(seed);
    if (same !== undefined) refuseSameSeed(same, folder, seed);
    bySeed.set(seed, folder);
  }
  return overSeeds(runs);
}

function evaluationOf({ folder, evaluation }: RunRecord) {
  if (evaluation) return evaluation;
  throw new UserError({
    zh: `${folder} 没有可用的 evaluation.json：还没有评测过，或评测之后检查点又变了；请先运行 npm run eval -- --out ${folder}`,
    en: `${folder} has no evaluation.json that holds: it has not been evaluated, or its checkpoints have changed since; run npm run eval -- --out ${folder} first`,
  });
}

function seedOf({ folder, stages }: RunRecord): number {
  const seeds = [...new Set(stages.map(({ seed }) => seed))];
  if (seeds.length === 1 && seeds[0] !== undefined) return seeds[0];
  const shown = seeds.map((each) => each ?? '?').join(', ');
  throw new UserError({
    zh: `${folder} 的各个阶段不是用同一个种子训练的（${shown}）；请用一个种子重新训练`,
    en: `the stages of ${folder} were not trained with one seed (${shown}); train it again with a single one`,
  });
}

function requireSameSettings(a: RunRecord, b: RunRecord): void {
  const [ofA, ofB] = [a, b].map((run) => {
    const stages = run.stages.map(({ stage }) => stage).join(', ');
    const own = settingsOf(run, { without: ['seed', 'place'] });
    return own.set(text({ zh: '训练好的阶段', en: 'finished stages' }), stages);
  });
  // What only one of them says is not known to differ: earlier versions recorded less.
  const different = [...ofA.keys()].find((name) => ofB.has(name) && ofA.get(name) !== ofB.get(name));
  if (different === undefined) return;
  const [one, other] = [ofA, ofB].map((settings) => settings.get(different));
  throw new UserError({
    zh: `${a.folder} 和 ${b.folder} 的设置不同（${different}：${one} 与 ${other}），不能当作同一个配方的几个种子；要比较它们，请用 npm run compare -- ${a.folder} ${b.folder}`,
    en: `${a.folder} and ${b.folder} differ in their settings (${different}: ${one} and ${other}), so they are not seeds of one recipe; to compare them run npm run compare -- ${a.folder} ${b.folder}`,
  });
}

function refuseSameSeed(a: string, b: string, seed: number): never {
  throw new UserError({
    zh: `${a} 和 ${b} 的种子都是 ${seed}，同样的训练算两次会使区间窄得不真实；请去掉一个，或用别的 --seed 再训练一次`,
    en: `${a} and ${b} were both trained with seed ${seed}: counting one training twice makes the interval too narrow; leave one out, or train again with another --seed`,
  });
}
