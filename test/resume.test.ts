import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { renderPrompt } from '../src/chat-format.ts';
import { loadCheckpoint, loadTrainingState, STAGE_FOLDERS, saveTrainingState } from '../src/checkpoint.ts';
import type { OptimizerName } from '../src/nn/optimizer.ts';
import { initializeParameters } from '../src/nn/parameters.ts';
import { rewardParameters } from '../src/scorer.ts';
import { trainBestOfN } from '../src/stages/best-of-n.ts';
import { trainDpo } from '../src/stages/dpo.ts';
import { trainGrpo } from '../src/stages/grpo.ts';
import { pretrain } from '../src/stages/pretrain.ts';
import { trainRewardModel } from '../src/stages/reward-model.ts';
import { trainRlhf } from '../src/stages/rlhf.ts';
import { trainRlvf } from '../src/stages/rlvf.ts';
import { createScoredPractice } from '../src/stages/scored-responses.ts';
import { supervisedFineTune } from '../src/stages/sft.ts';
import {
  type SavedState,
  STAGES,
  type StageContext,
  type StageName,
  type StageResult,
} from '../src/stages/stage.ts';
import { createVerifiedPractice } from '../src/stages/verified-answers.ts';
import { createRandom, type NdArray, type Runtime } from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import {
  BEST_OF_N,
  CHATS,
  CONFIG,
  chattingWeights,
  contextFor,
  DOCUMENTS,
  DPO,
  freshWeights,
  GRPO,
  HELD_OUT_DOCUMENTS,
  PAIRS,
  RLHF,
  RLVF,
  RLVF_DATA,
  recordingIo,
  Stopped,
  sameBits,
  TASKS,
  tokenizer,
  withFolder,
} from './support/tiny.ts';

let runtime: Runtime;
let chatWeights: Record<string, NdArray>;
const DROPPING = { ...CONFIG, dropout: 0.1 };
const SFT_DATA = { conversations: CHATS.slice(0, 40), heldOut: CHATS.slice(40) };

beforeAll(async () => {
  runtime = await createNodeRuntime({ threads: 1 });
  chatWeights = await chattingWeights(runtime, { epochs: 6 });
});

const prompts = TASKS.map(({ prompt }) => renderPrompt(tokenizer, [{ role: 'user', content: prompt }]));
const REHEARSAL = { conversations: CHATS, heldOut: [] };
const PROMPTS = { prompts: prompts.slice(4), heldOut: prompts.slice(0, 4), rehearsal: REHEARSAL };
const VERIFIED = { ...RLVF_DATA, rehearsal: REHEARSAL };
const PAIR_DATA = { pairs: PAIRS.slice(0, 32), heldOut: PAIRS.slice(32) };
const WRITING = { ...BEST_OF_N, batchSize: 8 };

type Run = (context: StageContext) => Promise<StageResult>;

const pretrainWith =
  (optimizer: OptimizerName): Run =>
  (context) =>
    pretrain(
      context,
      {
        documents: DOCUMENTS,
        heldOut: HELD_OUT_DOCUMENTS,
        generate: (epoch) => [`日月${'盈昃'.repeat(30 + epoch)}`],
      },
      { epochs: 2, batchSize: 8, learningRate: 1e-2, warmupSteps: 2, optimizer },
    );

const fineTuneWith =
  (optimizer: OptimizerName): Run =>
  (context) =>
    supervisedFineTune(
      context,
      freshWeights(),
      { ...SFT_DATA, generate: (epoch) => CHATS.slice(epoch, epoch + 4) },
      { epochs: 2, batchSize: 4, learningRate: 1e-2, optimizer },
    );

/** Each method as a short run of several steps, over more than one epoch where it has epochs. */
const RUNS: Readonly<Record<string, Run>> = {
  pretrain: pretrainWith('adamw'),
  'pretrain with Muon': pretrainWith('muon'),
  sft: fineTuneWith('adamw'),
  'sft with Muon': fineTuneWith('muon'),
  reward: (context) =>
    trainRewardModel(context, freshWeights(), PAIR_DATA, {
      epochs: 2,
      batchSize: 8,
      learningRate: 1e-2,
      rehearsalCoefficient: 0.5,
    }),
  'rlhf by ppo': (context) =>
    trainRlhf(context, chatWeights, rewardWeights(), PROMPTS, { ...RLHF, episodes: 40, rehearsalRows: 1 }),
  'rlhf by dpo': (context) => trainDpo(context, chatWeights, PAIR_DATA, DPO),
  'rlhf by best-of-n': async (context) => {
    const practice = await createScoredPractice(context, rewardWeights(), PROMPTS, WRITING);
    return trainBestOfN(context, chatWeights, practice, BEST_OF_N);
  },
  'rlvf by reinforce': (context) => trainRlvf(context, chatWeights, VERIFIED, { ...RLVF, rehearsalRows: 1 }),
  'rlvf by grpo': (context) =>
    trainGrpo(context, chatWeights, VERIFIED, { ...GRPO, learningRate: 1e-2, rehearsalRows: 1 }),
  'rlvf by best-of-n': async (context) => {
    const practice = await createVerifiedPractice(context, RLVF_DATA, WRITING);
    return trainBestOfN(context, chatWeights, practice, BEST_OF_N);
  },
};

function rewardWeights(): Record<string, NdArray> {
  return initializeParameters(rewardParameters(CONFIG), 7);
}

describe.each(Object.entries(RUNS))('an interrupted %s', (stage, run) => {
  // Dropout must go on too, where there is any: other reinforcement has none.
  const drops = /^(pretrain|sft)|best-of-n$/.test(stage);
  const config = drops ? DROPPING : CONFIG;

  it('ends bit-identical to an uninterrupted one, wherever it was stopped', async () => {
    const whole = contextFor(runtime, { config });
    const expected = await run(whole);
    const steps = whole.io.records.length;
    expect(steps).toBeGreaterThan(3);

    for (const stopAfter of [1, Math.ceil(steps / 2), steps - 1, steps]) {
      await withFolder(async (folder) => {
        const file = join(folder, 'state.safetensors');
        const keep = (state: SavedState) => saveTrainingState(file, state);
        const first = contextFor(runtime, { config, io: recordingIo({ stopAfter, keep }) });
        await expect(run(first), `stop after ${stopAfter}`).rejects.toThrow(Stopped);

        const resumed = loadTrainingState(file) as SavedState;
        const second = contextFor(runtime, { config, io: recordingIo({ resumed }) });
        const result = await run(second);
        expect(sameBits(result.weights, expected.weights), `weights, stopped after ${stopAfter}`).toBe(true);
        expect(result.evaluations).toEqual(expected.evaluations);
        expect([...first.io.records, ...second.io.records]).toEqual(whole.io.records);
      });
    }
  });
});

const SCRIPT = fileURLToPath(new URL('support/pipeline-run.ts', import.meta.url));

/** Run the pipeline; `onLine` sees every line that it prints. */
async function runProcess(
  folder: string,
  onLine: (line: string, child: ChildProcess) => void = () => {},
): Promise<{ code: number | null; lines: string[] }> {
  const child = spawn(process.execPath, ['--import', 'tsx', SCRIPT, folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: string[] = [];
  const reader = createInterface({ input: child.stdout! });
  reader.on('line', (line) => {
    lines.push(line);
    onLine(line, child);
  });
  const code = await new Promise<number | null>((done) => {
    child.once('close', done);
  });
  return { code, lines };
}

interface Line {
  readonly stage: string;
  readonly step: number;
  readonly loss: number;
}

function readMetrics(folder: string): Line[] {
  const lines = readFileSync(join(folder, 'metrics.jsonl'), 'utf8').trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line) as Line);
}

describe('a pipeline that is killed', () => {
  it('keeps what is finished and ends bit-identical', { timeout: 240_000 }, async () => {
    await withFolder(async (root) => {
      const [whole, killed] = [join(root, 'whole'), join(root, 'killed')];
      const uninterrupted = await runProcess(whole);
      expect(uninterrupted.code).toBe(0);

      // Each run is killed some lines after its start and, to hit a write as well, some time after that line. Every
      // other run is killed right after a stage's last step, when its checkpoint is being written.
      const random = createRandom(Number(process.env['KILL_SEED'] ?? 3));
      const finished = new Map<string, Buffer>();
      let kills = 0;
      for (let run = 0; run < 7; run++) {
        const atLastStep = run % 2 === 1;
        const patience = 1 + random.integer(6);
        const delay = random.uniform() * 30;
        let seen = 0;
        let isAimed = false;
        const { code, lines } = await runProcess(killed, (line, child) => {
          const [, step, total] = /^step \S+ (\d+) (\d+)$/.exec(line) ?? [];
          const aim = atLastStep ? step !== undefined && step === total : ++seen >= patience;
          if (!aim || isAimed) return;
          isAimed = true;
          setTimeout(() => child.kill('SIGKILL'), delay);
        });
        kills += Number(code === null);
        for (const line of lines) {
          const stage = /^end (\S+)/.exec(line)?.[1] as StageName | undefined;
          if (stage && !finished.has(stage)) {
            finished.set(stage, readFileSync(join(killed, STAGE_FOLDERS[stage], 'model.safetensors')));
          }
        }
        // What was finished has not been touched since; what exists can be read.
        for (const [stage, bytes] of finished) {
          const path = join(killed, STAGE_FOLDERS[stage as StageName], 'model.safetensors');
          expect(readFileSync(path).equals(bytes), `${stage} after kill ${run}`).toBe(true);
        }
        for (const directory of Object.values(STAGE_FOLDERS)) {
          if (existsSync(join(killed, directory))) loadCheckpoint(join(killed, directory));
        }
      }
      expect(kills).toBeGreaterThan(3);
      const last = await runProcess(killed);
      expect(last.code).toBe(0);

      for (const stage of STAGES) {
        const [a, b] = [whole, killed].map((folder) => loadCheckpoint(join(folder, STAGE_FOLDERS[stage])));
        expect(sameBits(a.params, b.params), stage).toBe(true);
        expect(b.config).toEqual(a.config);
        expect(b.tokenizer.toJson()).toBe(a.tokenizer.toJson());
        const { seconds: _a, peakBytes: _c, ...extraA } = a.extra;
        const { seconds: _b, peakBytes: _d, ...extraB } = b.extra;
        expect(extraB).toEqual(extraA);
      }
      // Every step is there once, in order, with the figures of the uninterrupted run.
      const figures = (folder: string) =>
        readMetrics(folder).map((line) => ({ ...line, time: 0, tokensPerSecond: 0 }));
      expect(figures(killed)).toEqual(figures(whole));
      const keys = readMetrics(killed).map(({ stage, step }) => `${stage} ${step}`);
      expect(new Set(keys).size).toBe(keys.length);
      // Nothing is left over.
      expect(readdirSync(join(killed, '.progress'))).toEqual([]);
      expect(readdirSync(killed).filter((name) => /tmp|\.new$|\.old$/.test(name))).toEqual([]);

      // Once more: all is finished, nothing is trained.
      const again = await runProcess(killed);
      expect(again.lines).toEqual(STAGES.map((stage) => `end ${stage} finished before`));
    });
  });
});
