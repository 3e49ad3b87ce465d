/** @file The last evaluation of a run, kept in its folder, and what of it still holds. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Checkpoint } from '../checkpoint.ts';
import { readTextFile, writeFileAtomic } from '../files.ts';
import type { StageName } from '../stages/stage.ts';
import type { RunEvaluation } from './run.ts';

const FILE = 'evaluation.json';

type Checkpoints = Readonly<Partial<Record<StageName, Pick<Checkpoint, 'extra'>>>>;

/** An evaluation, with the fingerprints of the checkpoints that it is of. */
interface Kept extends RunEvaluation {
  readonly fingerprints: Readonly<Partial<Record<StageName, unknown>>>;
}

export function keepEvaluation(out: string, evaluation: RunEvaluation, checkpoints: Checkpoints): void {
  const fingerprints = Object.fromEntries(
    Object.entries(checkpoints).map(([stage, { extra }]) => [stage, extra['fingerprint']]),
  );
  const kept: Kept = { fingerprints, ...evaluation };
  writeFileAtomic(join(out, FILE), `${JSON.stringify(kept)}\n`);
}

/** The kept evaluation, if there is one and the checkpoints are those that it was made with. */
export function findEvaluation(out: string, checkpoints: Checkpoints): RunEvaluation | undefined {
  const file = join(out, FILE);
  if (!existsSync(file)) return undefined;
  let kept: Partial<Kept>;
  try {
    kept = JSON.parse(readTextFile(file)) as Partial<Kept>;
  } catch {
    return undefined;
  }
  const { fingerprints = {}, seed, sets, stages } = kept;
  if (seed === undefined || !Array.isArray(sets) || !Array.isArray(stages)) return undefined;
  const present = Object.entries(checkpoints);
  const same = present.every(
    ([stage, { extra }]) => fingerprints[stage as StageName] === extra['fingerprint'],
  );
  return same && present.length === Object.keys(fingerprints).length ? { seed, sets, stages } : undefined;
}
