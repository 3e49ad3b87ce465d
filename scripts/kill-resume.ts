/**
 * @file `npm run kill-resume`: kills a training at random moments and compares what it ends with, bit by bit, with a
 * training that was left alone.
 *
 *     npm run --silent kill-resume -- --kills 50 --seed 1
 *
 * The training is the five-stage pipeline of the tests, which takes seconds. It is killed with SIGKILL, as by a power cut,
 * some lines after its start and some milliseconds after that line, and started again until it ends; then the next one
 * begins, until there were as many kills as asked for. A run that makes no progress is counted as a failure. Exit code 1
 * says that a file differed.
 */

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { createCommand, integer, parseCommand, runCommand } from '../src/cli/options.ts';
import { text } from '../src/i18n.ts';
import { createRandom } from '../src/tensor/random.ts';

const TRAINING = fileURLToPath(new URL('../test/support/pipeline-run.ts', import.meta.url));
/** Starts after which a training must have ended: it has about fifty steps. */
const MOST_STARTS = 200;

interface Run {
  readonly killed: boolean;
  /** The line after which it was killed, or its last one. */
  readonly line: string;
}

/** Start or resume the training; kill it `delay` milliseconds after its line number `patience`. */
async function train(folder: string, patience: number, delay: number): Promise<Run> {
  const child = spawn(process.execPath, ['--import', 'tsx', TRAINING, folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let seen = 0;
  let last = '';
  createInterface({ input: child.stdout }).on('line', (line) => {
    last = line;
    if (++seen === patience) setTimeout(() => child.kill('SIGKILL'), delay);
  });
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (...ended) => resolve(ended));
  });
  if (signal === null && code !== 0) throw new Error(`the training failed with code ${code} after: ${last}`);
  return { killed: signal === 'SIGKILL', line: last };
}

/** A digest of every file of a run, but for what tells the time. */
function digests(folder: string): Map<string, string> {
  const files = readdirSync(folder, { recursive: true })
    .map(String)
    .filter((name) => statSync(join(folder, name)).isFile());
  return new Map(
    files
      .sort()
      // Events for TensorBoard are named after, and hold, the time and the process.
      .filter((name) => !name.includes('tfevents'))
      .map((name) => [name, createHash('sha256').update(withoutTime(folder, name)).digest('hex')]),
  );
}

/** The bytes of a file; weights, records and the lines of metrics without the seconds that they took. */
function withoutTime(folder: string, name: string): Uint8Array | string {
  const bytes = readFileSync(join(folder, name));
  if (name.endsWith('.jsonl')) {
    const lines = bytes.toString().trimEnd().split('\n');
    return lines
      .map((line) => JSON.stringify({ ...JSON.parse(line), time: 0, tokensPerSecond: 0 }))
      .join('\n');
  }
  if (name.endsWith('.json')) {
    return JSON.stringify(JSON.parse(bytes.toString()), (key, value) =>
      key === 'seconds' || key === 'peakBytes' ? 0 : value,
    );
  }
  if (!name.endsWith('.safetensors')) return bytes;
  // The header is JSON after eight bytes of length; the rest are the numbers.
  const length = Number(bytes.readBigUInt64LE(0));
  const header = bytes.subarray(8, 8 + length).toString();
  const timeless = header.replace(/\\"(seconds|peakBytes)\\":[-\d.e]+/g, '\\"$1\\":0').trimEnd();
  return Buffer.concat([Buffer.from(timeless), bytes.subarray(8 + length)]);
}

await runCommand(async () => {
  const command = createCommand('kill-resume', {
    zh: '在随机时刻杀死训练，再接着训练，逐位比较最后的每个文件。',
    en: 'Kill a training at random moments, resume it, and compare every file at the end bit by bit.',
  })
    .option(
      '--kills <n>',
      text({ zh: '杀死多少次', en: 'how often to kill' }),
      integer({ min: 1, max: 10_000 }),
      50,
    )
    .option('--seed <n>', text({ zh: '随机种子', en: 'random seed' }), integer({ min: 0 }), 1);
  const { kills, seed } = await parseCommand<{ kills: number; seed: number }>(command);
  const random = createRandom(seed);
  const root = mkdtempSync(join(tmpdir(), 'my-llm-kills-'));
  try {
    const whole = join(root, 'whole');
    await train(whole, Number.POSITIVE_INFINITY, 0);
    const expected = digests(whole);
    console.log(
      text({ zh: `未中断的训练：${expected.size} 个文件`, en: `left alone: ${expected.size} files` }),
    );

    const killsOf = new Map<string, number>();
    let killed = 0;
    let differing = 0;
    for (let training = 1; killed < kills; training++) {
      const folder = join(root, `killed-${training}`);
      let starts = 0;
      for (;;) {
        if (++starts > MOST_STARTS)
          throw new Error(`training ${training} has not ended after ${MOST_STARTS} starts`);
        const patience = killed < kills ? 1 + random.integer(12) : Number.POSITIVE_INFINITY;
        const run = await train(folder, patience, random.uniform() * 60);
        if (!run.killed) break;
        killed++;
        const [, stage] = run.line.split(' ');
        killsOf.set(stage, (killsOf.get(stage) ?? 0) + 1);
        console.log(
          text({ zh: `第 ${killed} 次，在“${run.line}”之后`, en: `kill ${killed}, after "${run.line}"` }),
        );
      }
      const found = digests(folder);
      const names = [...new Set([...expected.keys(), ...found.keys()])];
      const different = names.filter((name) => found.get(name) !== expected.get(name));
      differing += different.length;
      console.log(
        different.length === 0
          ? text({
              zh: `训练 ${training}：启动 ${starts} 次，${found.size} 个文件逐位相同`,
              en: `training ${training}: ${starts} starts, ${found.size} files bit-identical`,
            })
          : text({
              zh: `训练 ${training}：启动 ${starts} 次，不同的文件：${different.join('、')}`,
              en: `training ${training}: ${starts} starts, files that differ: ${different.join(', ')}`,
            }),
      );
      rmSync(folder, { recursive: true, force: true });
    }
    const byStage = [...killsOf].map(([stage, count]) => `${stage} ${count}`).join(', ');
    console.log(
      text({
        zh: `共杀死 ${killed} 次（${byStage}），${differing} 个文件不同`,
        en: `${killed} kills (${byStage}), ${differing} files differ`,
      }),
    );
    if (differing > 0) process.exitCode = 1;
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
