import { beforeAll, describe, expect, it } from 'vitest';
import { renderPrompt } from '../src/chat-format.ts';
import { largestWeight } from '../src/nn/breakdown.ts';
import { createAccumulatingTrainer } from '../src/nn/gradient-accumulation.ts';
import { copyArrays } from '../src/nn/train-state.ts';
import { createTrainer, createTrainState } from '../src/nn/train-step.ts';
import { loadProgress } from '../src/run-folder.ts';
import { openStage } from '../src/stage-run.ts';
import { trainBestOfN } from '../src/stages/best-of-n.ts';
import { trainDpo } from '../src/stages/dpo.ts';
import { trainGrpo } from '../src/stages/grpo.ts';
import { applyLora, trainLora } from '../src/stages/lora.ts';
import { createLossWatch } from '../src/stages/loss-watch.ts';
import { keyOf, pretrain, pretrainBatchSpec, pretrainLoss } from '../src/stages/pretrain.ts';
import { trainRewardModel } from '../src/stages/reward-model.ts';
import { trainRlhf } from '../src/stages/rlhf.ts';
import { trainRlvf } from '../src/stages/rlvf.ts';
import { createScoredPractice } from '../src/stages/scored-responses.ts';
import { supervisedFineTune } from '../src/stages/sft.ts';
import {
  checkStep,
  loadTrainState,
  type SavedState,
  type StageContext,
  type StageResult,
  saveTrainState,
} from '../src/stages/stage.ts';
import type { NdArray, Runtime } from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import {
  BEST_OF_N,
  CHATS,
  CONFIG,
  chattingWeights,
  contextFor,
  DOCUMENTS,
  DPO,
  RLVF_DATA as EASY,
  figures,
  freshWeights,
  GRPO,
  PAIRS,
  type RecordedIo,
  RLHF,
  RLVF,
  recordingIo,
  rewardForToken,
  Stopped,
  sameBits,
  tokenizer,
  withFolder,
} from './support/tiny.ts';

let runtime: Runtime;
/** A model that has learned to answer with a digit. */
let chatWeights: Record<string, NdArray>;
beforeAll(async () => {
  runtime = await createNodeRuntime({ threads: 1 });
  chatWeights = await chattingWeights(runtime, { epochs: 6 });
});

const SPEC = pretrainBatchSpec(2, 8);
const BATCH = {
  ids: { ...SPEC.ids, data: Int32Array.from({ length: 16 }, (_, i) => 20 + i) },
  targets: { ...SPEC.targets, data: Int32Array.from({ length: 16 }, (_, i) => 21 + i) },
  dropoutKey: keyOf(1, 1),
};

/** Fresh weights with one number in one of them replaced. */
function spoilt(name: string, value: number): Record<string, NdArray> {
  const weights = freshWeights();
  const data = (weights[name].data as Float32Array).slice();
  data[3] = value;
  return { ...weights, [name]: { ...weights[name], data } };
}

describe('a step that breaks', () => {
  const name = 'blocks.0.feed_forward.linear1.weight';

  it.each([1, 2])('in %d parts is not taken, and is named by stage, step and tensor', async (parts) => {
    const weights = spoilt(name, Number.NaN);
    const state = createTrainState(weights);
    const options = { runtime, loss: pretrainLoss(CONFIG), batch: SPEC, state, parts };
    const trainer = await createAccumulatingTrainer(options);
    const result = await trainer.step(Array(parts).fill(BATCH), 1e-3);
    expect(Number.isFinite(result.loss)).toBe(false);
    expect(result.breakdown).toMatchObject({ largest: { name, size: Number.NaN } });
    expect(Object.keys(weights)).toContain(result.breakdown?.gradient);
    expect(() => checkStep('pretrain', 7, result)).toThrow(
      /^In step 7 of stage pretrain the loss became NaN \(first in the gradient of \S+; the largest weight, NaN, is in blocks\.0\.feed_forward\.linear1\.weight\); lower --lr/,
    );
    expect(trainer.state.step).toBe(0);
    expect(sameBits(trainer.state.weights, weights)).toBe(true);
    await trainer.release();
  });

  it('leaves the last good state, from which training can go on', async () => {
    const weights = freshWeights();
    const state = createTrainState(weights);
    const bad: NdArray = { dtype: 'float32', shape: [], data: Float32Array.of(Number.NaN) };
    const good: NdArray = { ...bad, data: Float32Array.of(1) };
    const factor = { dtype: 'float32', shape: [] } as const;
    const trainer = await createTrainer({
      runtime,
      // The factor reaches the gradient of one weight alone.
      loss: (parameters, { factor, ...batch }) => {
        const { loss } = pretrainLoss(CONFIG)(parameters, batch);
        return { loss: loss.add(parameters[name].mul(factor).sum()) };
      },
      batch: { ...SPEC, factor },
      state,
    });
    await trainer.step({ ...BATCH, factor: good }, 1e-3);
    const after = Object.fromEntries(
      Object.entries(trainer.state.weights).map(([each, array]) => [
        each,
        { ...array, data: array.data.slice() } as NdArray,
      ]),
    );
    const { breakdown } = await trainer.step({ ...BATCH, factor: bad }, 1e-3);
    expect(breakdown?.gradient).toBe(name);
    expect(sameBits(trainer.state.weights, after)).toBe(true);
    const next = await trainer.step({ ...BATCH, factor: good }, 1e-3);
    expect(next.breakdown).toBeUndefined();
    expect(trainer.state.step).toBe(2);
    await trainer.release();
  });
});

/** Every way in which a stage is trained, at a learning rate. */
const RUNS: Readonly<Record<string, (context: StageContext, learningRate: number) => Promise<StageResult>>> =
  {
    pretrain: (context, learningRate) =>
      pretrain(
        context,
        { documents: DOCUMENTS, heldOut: [] },
        { epochs: 3, batchSize: 4, learningRate, warmupSteps: 0 },
      ),
    sft: (context, learningRate) =>
      supervisedFineTune(
        context,
        freshWeights(),
        { conversations: CHATS, heldOut: [] },
        { epochs: 3, batchSize: 4, learningRate },
      ),
    reward: (context, learningRate) =>
      trainRewardModel(
        context,
        freshWeights(),
        { pairs: PAIRS, heldOut: [] },
        { epochs: 2, batchSize: 8, learningRate, rehearsalCoefficient: 0.5 },
      ),
    'rlhf by ppo': (context, learningRate) =>
      trainRlhf(context, chatWeights, likesOne(), PROMPTS, { ...RLHF, learningRate }),
    'rlhf by dpo': (context, learningRate) =>
      trainDpo(context, freshWeights(), { pairs: PAIRS, heldOut: [] }, { ...DPO, learningRate }),
    'rlvf by reinforce': (context, learningRate) =>
      trainRlvf(context, chatWeights, EASY, { ...RLVF, learningRate }),
    'rlvf by grpo': (context, learningRate) =>
      trainGrpo(context, chatWeights, EASY, { ...GRPO, learningRate }),
    'rlhf by best-of-n': async (context, learningRate) => {
      const writing = { ...BEST_OF_N, batchSize: 8 };
      const practice = await createScoredPractice(context, likesOne(), PROMPTS, writing);
      return trainBestOfN(context, chatWeights, practice, { ...BEST_OF_N, learningRate });
    },
    lora: (context, learningRate) => {
      const options = { r: 2, alpha: 4, dropout: 0, targetModules: ['c_attn'] } as const;
      const lora = applyLora({ config: CONFIG }, options);
      const settings = { epochs: 3, batchSize: 4, learningRate, quantizeBase: false };
      return trainLora(context, freshWeights(), lora, { conversations: CHATS, heldOut: [] }, settings);
    },
  };

const PROMPTS = { prompts: CHATS.map(([question]) => renderPrompt(tokenizer, [question])), heldOut: [] };

function likesOne(): Record<string, NdArray> {
  return rewardForToken(tokenizer.encode('1')[0]);
}

describe.each(Object.entries(RUNS))('%s', (stage, run) => {
  it('ends in the step that breaks, and offers nothing of it for saving', async () => {
    const io = recordingIo();
    let offers = 0;
    const offer = (make: () => SavedState): void => {
      offers++;
      expect(largestWeight(make().tensors).size).toBeLessThan(Number.POSITIVE_INFINITY);
    };
    const name = stage.split(' ')[0];
    await expect(run(contextFor(runtime, { io: { ...io, offer } }), 1e25)).rejects.toThrow(
      new RegExp(`^In step \\d+ of stage ${name} the (loss|gradientNorm) became \\S+ \\(.* is in \\S+\\); `),
    );
    expect(offers).toBe(io.records.length);
  });
});

describe('a loss that explodes', () => {
  const watchAll = (
    losses: readonly number[],
  ): { told: [number, string][]; diverged: number | undefined } => {
    const watch = createLossWatch();
    const verdicts = losses.map((loss, i) => watch.see(i + 1, loss));
    return {
      told: verdicts.flatMap(({ note }, i) => (note ? [[i + 1, note.en] as [number, string]] : [])),
      diverged: verdicts.find(({ diverged }) => diverged)?.diverged?.step,
    };
  };
  const repeat = (value: number, count: number): number[] => Array(count).fill(value);

  it('is told once, when it has stayed far above the median for 20 steps', () => {
    expect(watchAll([...repeat(2, 60), ...repeat(8.1, 50)])).toEqual({
      told: [
        [
          80,
          expect.stringMatching(/^Since step 61 the loss .*\(8\.10 now, a median of 2\.00 before\).*--lr/),
        ],
      ],
      diverged: undefined,
    });
    expect(watchAll([...repeat(2, 60), ...repeat(9, 25), 2, ...repeat(9, 25)]).told).toHaveLength(2);
  });

  it('is not told of a few bad batches, of a loss near the limit, or of a beginning', () => {
    const nothing = { told: [], diverged: undefined };
    expect(watchAll([...repeat(2, 60), ...repeat(15, 19), 2, ...repeat(15, 19)])).toEqual(nothing);
    expect(watchAll([...repeat(2, 60), ...repeat(8, 50)])).toEqual(nothing);
    expect(watchAll([...repeat(-0.1, 60), ...repeat(2.2, 50)])).toEqual(nothing);
    expect(watchAll([9, 8, 7, 6, ...repeat(5, 50)])).toEqual(nothing);
  });

  it('has diverged in the first step that is far beyond all others', () => {
    expect(watchAll([8, 41]).diverged).toBe(2);
    expect(watchAll([8, 39]).diverged).toBeUndefined();
    expect(watchAll([...repeat(2, 200), 17]).diverged).toBe(201);
    expect(watchAll([0.01, -0.02, -9]).diverged).toBeUndefined();
  });

  it('ends the stage before anything is saved over the last good state, also in a resumed run', async () => {
    await withFolder((out) => {
      const options = { stage: 'sft', fingerprint: 'x', out, restart: false, saveInterval: 0 };
      const ui = { starts: () => {}, step: () => {}, note: () => {}, interrupted: false };
      const state = createTrainState(freshWeights());
      const train = (step: number, loss: number): void => {
        const { io, close } = openStage(options, ui);
        try {
          io.log({ step, total: 9, tokens: 1, lr: 1, loss, gradientNorm: 1 });
          io.offer(() => saveTrainState({ ...state, step }));
        } finally {
          close();
        }
      };
      train(1, 5);
      train(2, 4);
      expect(() => train(3, 64)).toThrow(
        /^In step 3 of stage sft the loss jumped to 64\.0 from a median of 5\.00 \(the largest weight, 1\.0, is in \S+\); lower --lr/,
      );
      expect(loadProgress(out, 'sft', 'x')?.state['step']).toBe(2);
    });
  });
});

describe('PPO whose policy runs away from the reference', () => {
  const train = (io: RecordedIo, maxKl?: number): Promise<StageResult> =>
    trainRlhf(contextFor(runtime, { io }), chatWeights, likesOne(), PROMPTS, {
      ...RLHF,
      episodes: 80,
      learningRate: 3e-3,
      maxKl,
    });

  it('ends early with the last policy that was near enough, and says why', async () => {
    // First without a bound, to know which iteration goes further than all before it.
    const free = recordingIo();
    const policies: Record<string, NdArray>[] = [];
    const offer = (make: () => SavedState): void => {
      policies.push(copyArrays(loadTrainState(make()).weights));
    };
    expect((await train({ ...free, offer }, 1000)).stoppedEarly).toBeUndefined();
    const kls = figures({ io: free }, 'kl');
    const furthest = kls.indexOf(Math.max(...kls));
    expect(furthest).toBeGreaterThan(1);
    const bound = Math.max(...kls.slice(0, furthest));

    const io = recordingIo();
    const result = await train(io, bound);
    expect(io.records).toEqual(free.records.slice(0, furthest));
    expect(result.stoppedEarly?.en).toMatch(
      new RegExp(
        `^RLHF ended early after iteration ${furthest}: the KL .* nats a response, above ${bound}; `,
      ),
    );
    expect(sameBits(result.weights, policies[furthest - 2])).toBe(true);

    // Interrupted right before the iteration in which it shows.
    let saved: SavedState | undefined;
    const keep = ({ tensors, state }: SavedState): void => {
      saved = { tensors: copyArrays(tensors), state };
    };
    await expect(train(recordingIo({ stopAfter: furthest, keep }), bound)).rejects.toThrow(Stopped);
    expect(await train(recordingIo({ resumed: saved }), bound)).toEqual(result);
  });
});
