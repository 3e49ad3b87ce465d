import { beforeAll, describe, expect, it } from 'vitest';
import { evenParts } from '../src/data/batches.ts';
import { rowBatch } from '../src/data/rows.ts';
import { createAccumulatingTrainer } from '../src/nn/gradient-accumulation.ts';
import { initializeParameters } from '../src/nn/parameters.ts';
import { createTrainState } from '../src/nn/train-step.ts';
import { rewardParameters } from '../src/scorer.ts';
import { createCritic } from '../src/stages/critic.ts';
import {
  type Episode,
  episodeBatchSpec,
  packEpisodes,
  spreadActions,
  tokensOf,
} from '../src/stages/episode-rows.ts';
import { createJudge } from '../src/stages/policy-judge.ts';
import { rlvfLoss } from '../src/stages/rlvf.ts';
import { createRandom, type Runtime } from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { expectClose } from './support/close.ts';
import { fc } from './support/property.ts';
import { CONFIG, freshWeights } from './support/tiny.ts';

function episodeOf(prompt: readonly number[], tokens: readonly number[]): Episode {
  return { prompt, response: { tokens: [...tokens], ended: true } };
}

/** Episodes of random tokens, all of different lengths. */
function someEpisodes(count: number): Episode[] {
  const random = createRandom(3);
  const tokens = (length: number): number[] => Array.from({ length }, () => random.integer(CONFIG.vocabSize));
  return Array.from({ length: count }, (_, i) => episodeOf(tokens(2 + (i % 3)), tokens(1 + i)));
}

describe('rows of episodes', () => {
  it('hold one episode after the other', () => {
    const episodes = [episodeOf([5, 6], [7, 8]), episodeOf([1], [2]), episodeOf([3, 4], [9, 9, 9])];
    const { rows, actions } = packEpisodes(episodes, 7);
    expect(rows).toEqual([
      {
        ids: Int32Array.of(3, 4, 9, 9, 9, 1, 2),
        targets: Int32Array.of(4, 9, 9, 9, 0, 2, 0),
        positions: Int32Array.of(0, 1, 2, 3, 4, 0, 1),
        segments: Int32Array.of(1, 1, 1, 1, 1, 2, 2),
        mask: Float32Array.of(0, 1, 1, 1, 0, 1, 0),
      },
      {
        ids: Int32Array.of(5, 6, 7, 8, 0, 0, 0),
        targets: Int32Array.of(6, 7, 8, 0, 0, 0, 0),
        positions: Int32Array.of(0, 1, 2, 3, 0, 0, 0),
        segments: Int32Array.of(1, 1, 1, 1, 0, 0, 0),
        mask: Float32Array.of(0, 1, 1, 0, 0, 0, 0),
      },
    ]);
    expect(actions).toEqual([
      { row: 1, start: 1, end: 3 },
      { row: 0, start: 5, end: 6 },
      { row: 0, start: 1, end: 4 },
    ]);
    const [first, second] = spreadActions({ rows, actions }, { scores: [[1, 2], [3], [4, 5, 6]] });
    expect([...first.scores]).toEqual([0, 4, 5, 6, 0, 3, 0]);
    expect([...second.scores]).toEqual([0, 1, 2, 0, 0, 0, 0]);
    expect(first).toMatchObject(rows[0]);
  });

  it('hold every episode once, whole, whatever their lengths', () => {
    const lengths = fc.tuple(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 8 }));
    fc.assert(
      fc.property(fc.array(lengths, { maxLength: 30 }), (all) => {
        const episodes = all.map(([prompt, response], i) =>
          episodeOf(Array(prompt).fill(100 + i), Array(response).fill(500 + i)),
        );
        const { rows, actions } = packEpisodes(episodes, 16);
        actions.forEach(({ row, start, end }, i) => {
          const first = start - episodes[i].prompt.length + 1;
          expect([...rows[row].ids.subarray(first, end + 1)]).toEqual(tokensOf(episodes[i]));
          expect([...rows[row].targets.subarray(start, end)]).toEqual(episodes[i].response.tokens);
        });
        const counted = rows.reduce((total, { mask }) => total + mask.reduce((a, b) => a + b, 0), 0);
        expect(counted).toBe(all.reduce((total, [, response]) => total + response, 0));
      }),
    );
  });

  it('are batches of the shapes that are announced, filled up with rows that count nothing', () => {
    const packed = packEpisodes([episodeOf([5, 6], [7, 8])], 4);
    const batch = rowBatch(spreadActions(packed, { scores: [[1, 2]] }), 2);
    const shapes = Object.entries(batch).map(([name, { dtype, shape }]) => [name, { dtype, shape }]);
    expect(episodeBatchSpec(2, 4, ['scores'])).toMatchObject(Object.fromEntries(shapes));
    expect([...batch.mask.data]).toEqual([0, 1, 1, 0, 0, 0, 0, 0]);
    expect([...batch.scores.data]).toEqual([0, 1, 2, 0, 0, 0, 0, 0]);
  });
});

describe('episodes that share a row', () => {
  const T = 16;
  const episodes = someEpisodes(9);
  const close = { absolute: 1e-5, relative: 1e-5 };
  let runtime: Runtime;

  beforeAll(async () => {
    runtime = await createNodeRuntime({ threads: 1 });
  });

  it('are judged as each is by itself', async () => {
    const weights = freshWeights();
    const judge = await createJudge({
      runtime,
      config: CONFIG,
      weights,
      length: T,
      temperature: 0.8,
    });
    const packed = packEpisodes(episodes, T);
    expect(packed.rows.length).toBeLessThan(episodes.length - 2);
    const together = await judge.judge(weights, packed);
    for (const [i, episode] of episodes.entries()) {
      const [alone] = await judge.judge(weights, packEpisodes([episode], T));
      expect(together[i].logProbs.length).toBe(episode.response.tokens.length);
      expectClose(together[i].logProbs, alone.logProbs, close);
      expectClose(together[i].entropies, alone.entropies, close);
    }
    expect(await judge.judge(weights, packEpisodes([], T))).toEqual([]);
    await judge.release();
  });

  it('are worth to the critic what each is by itself', async () => {
    const state = createTrainState(initializeParameters(rewardParameters(CONFIG), 1));
    const critic = await createCritic({ runtime, config: CONFIG, state, batchSize: 2, length: T });
    const together = await critic.values(packEpisodes(episodes, T));
    for (const [i, episode] of episodes.entries()) {
      const [alone] = await critic.values(packEpisodes([episode], T));
      expectClose(together[i], alone, close);
    }
    await critic.release();
  });

  it('teach what each teaches by itself, all at once or a few rows at a time', async () => {
    const lengths = episodes.map(({ response }) => response.tokens.length);
    const advantages = lengths.map((length, i) => Array<number>(length).fill((i % 5) - 2));
    const referenceLogProbs = lengths.map((length, i) =>
      Array.from({ length }, (_, t) => -6 - ((i + t) % 3)),
    );
    const together = spreadActions(packEpisodes(episodes, T), { advantages, referenceLogProbs });
    const apart = episodes.flatMap((episode, i) =>
      spreadActions(packEpisodes([episode], T), {
        advantages: [advantages[i]],
        referenceLogProbs: [referenceLogProbs[i]],
      }),
    );
    const stepOn = async (rows: typeof together, B: number) => {
      const parts = evenParts(rows, B).map((part) => rowBatch(part, B));
      const trainer = await createAccumulatingTrainer({
        runtime,
        loss: rlvfLoss(CONFIG, 1, 0.1),
        batch: episodeBatchSpec(B, T, ['advantages', 'referenceLogProbs']),
        parts: parts.length,
        state: createTrainState(freshWeights()),
        // A step as long as its gradient.
        optimizer: { epsilon: 1, maxGradientNorm: Number.POSITIVE_INFINITY },
      });
      const { loss, gradientNorm, metrics } = await trainer.step(parts, 1);
      await trainer.release();
      const moved = trainer.state.weights['blocks.0.attention.c_attn.weight'].data as Float32Array;
      return { figures: [loss, gradientNorm, metrics['kl']], moved, parts: parts.length };
    };
    const expected = await stepOn(apart, apart.length);
    expect(expected.parts).toBe(1);
    for (const B of [together.length, together.length + 2, 2]) {
      const { figures, moved } = await stepOn(together, B);
      expectClose(figures, expected.figures, close);
      expectClose(moved, expected.moved, { absolute: 1e-6, relative: 1e-4 });
    }
  });
});
