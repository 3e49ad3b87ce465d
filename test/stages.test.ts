import { beforeAll, describe, expect, it } from 'vitest';
import { renderConversation, renderPrompt } from '../src/chat-format.ts';
import { packConversations } from '../src/data/pack.ts';
import { rowBatch, stackRows } from '../src/data/rows.ts';
import { UserError } from '../src/errors.ts';
import { GPT } from '../src/model.ts';
import { bindParameters, initializeParameters } from '../src/nn/parameters.ts';
import { createTrainer, createTrainState } from '../src/nn/train-step.ts';
import { GREEDY } from '../src/sampling.ts';
import { createScorer, RewardModel, rewardParameters } from '../src/scorer.ts';
import { createCritic, criticWeights } from '../src/stages/critic.ts';
import { packEpisodes, spreadActions } from '../src/stages/episode-rows.ts';
import { renderPairs } from '../src/stages/pairs.ts';
import { createJudge } from '../src/stages/policy-judge.ts';
import { evaluatePretrain, keyOf, pretrain } from '../src/stages/pretrain.ts';
import { evaluateRewardModel, trainRewardModel } from '../src/stages/reward-model.ts';
import { trainRlhf } from '../src/stages/rlhf.ts';
import { trainRlvf } from '../src/stages/rlvf.ts';
import type { RlhfData } from '../src/stages/scored-responses.ts';
import { evaluateSft, sftLoss, supervisedFineTune } from '../src/stages/sft.ts';
import { checkEvaluations } from '../src/stages/stage.ts';
import { answerTasks } from '../src/stages/verified-answers.ts';
import {
  createRandom,
  gradients,
  type NdArray,
  type Runtime,
  type Spec,
  tensor,
  trace,
} from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { SPECIAL } from '../src/tokenizer.ts';
import { expectClose } from './support/close.ts';
import {
  CHATS,
  CONFIG,
  contextFor,
  DIGITS,
  DOCUMENTS,
  figures,
  freshWeights,
  HELD_OUT_DOCUMENTS,
  PAIRS,
  RLHF,
  RLVF,
  RLVF_DATA,
  rewardForToken,
  sameBits,
  TASKS,
  tokenizer,
} from './support/tiny.ts';

let runtime: Runtime;
/** A model that answers each question with one of four digits. */
let chatWeights: Record<string, NdArray>;

const PRETRAIN_DATA = { documents: DOCUMENTS, heldOut: HELD_OUT_DOCUMENTS };
const PRETRAIN = { epochs: 4, batchSize: 4, learningRate: 1e-2, warmupSteps: 2 };
const SFT_DATA = { conversations: CHATS.slice(0, 40), heldOut: CHATS.slice(40) };
const SFT = { epochs: 12, batchSize: 4, learningRate: 2e-2 };

beforeAll(async () => {
  runtime = await createNodeRuntime({ threads: 1 });
  chatWeights = (await supervisedFineTune(contextFor(runtime), freshWeights(), SFT_DATA, SFT)).weights;
});

const lossesOf = ({ io }: ReturnType<typeof contextFor>): number[] => io.records.map(({ loss }) => loss);
const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

describe('pretraining', () => {
  it('learns a text: the held-out bits per byte fall far', async () => {
    const context = contextFor(runtime);
    const { evaluations } = await pretrain(context, PRETRAIN_DATA, PRETRAIN);
    const [{ before, after, unit }] = evaluations;
    expect(unit).toBe('bits/byte');
    expect(after).toBeLessThan(0.5 * before!);
    const steps = context.io.records.map(({ step }) => step);
    expect(steps).toEqual(steps.map((_, i) => i + 1));
    expect(context.io.records.every(({ total }) => total === steps.length)).toBe(true);
  });

  it('counts bits per byte on the raw bytes, as one does by hand', async () => {
    // 龘 and 𠮷 are in no training text: their bytes are tokens of their own, half characters.
    const documents = ['天地玄黄，龘𠮷!', 'a b\n宇宙洪荒'.repeat(6)];
    const weights = freshWeights(CONFIG, 3);
    const evaluated = await evaluatePretrain({ runtime, config: CONFIG, tokenizer, weights, documents });

    const stream = documents.flatMap((document) => [...tokenizer.encode(document), SPECIAL.eos]);
    const model = new GPT(bindParameters(weights), CONFIG);
    let nats = 0;
    for (let start = 0; start < stream.length - 1; start += CONFIG.contextLength) {
      const ids = stream.slice(start, Math.min(start + CONFIG.contextLength, stream.length - 1));
      const logits = model.logits(model.forward(tensor(ids, [1, ids.length], 'int32')).hidden);
      ids.forEach((_, i) => {
        const row = [...logits.data.slice(i * CONFIG.vocabSize, (i + 1) * CONFIG.vocabSize)].map(Number);
        const target = stream[start + i + 1];
        nats += Math.log(row.reduce((sum, logit) => sum + Math.exp(logit), 0)) - row[target];
      });
    }
    // The first token is given, not predicted.
    const bytes = new TextEncoder().encode(documents.join('')).length - tokenizer.tokenLength(stream[0]);
    expect(evaluated?.bitsPerByte).toBeCloseTo(nats / Math.LN2 / bytes, 4);
    expect(evaluated?.loss).toBeCloseTo(nats / (stream.length - 1), 4);
  });

  it('evaluates held-out text that is shorter than a row', async () => {
    const weights = freshWeights();
    const short = await evaluatePretrain({ runtime, config: CONFIG, tokenizer, weights, documents: ['天'] });
    expect(short?.bitsPerByte).toBeGreaterThan(0);
  });

  it('reports nothing where no text is held out', async () => {
    const { evaluations } = await pretrain(
      contextFor(runtime),
      { documents: DOCUMENTS, heldOut: [] },
      { ...PRETRAIN, epochs: 1 },
    );
    expect(evaluations).toEqual([]);
  });

  it('makes the same model from the same seed, another from another', async () => {
    const run = async (seed: number) =>
      (await pretrain(contextFor(runtime, { seed }), PRETRAIN_DATA, { ...PRETRAIN, epochs: 1 })).weights;
    const [first, second, other] = [await run(1), await run(1), await run(2)];
    expect(sameBits(first, second)).toBe(true);
    expect(sameBits(first, other)).toBe(false);
  });

  it('drops out reproducibly', async () => {
    const config = { ...CONFIG, dropout: 0.2 };
    const run = async (given: typeof config) => {
      const context = contextFor(runtime, { config: given });
      const { weights } = await pretrain(context, PRETRAIN_DATA, { ...PRETRAIN, epochs: 1 });
      return { weights, losses: lossesOf(context) };
    };
    const [first, second, without] = [await run(config), await run(config), await run(CONFIG)];
    expect(sameBits(first.weights, second.weights)).toBe(true);
    expect(first.losses).toEqual(second.losses);
    expect(first.losses[0]).not.toBe(without.losses[0]);
  });

  it('reads generated documents anew in each epoch', async () => {
    const epochs: number[] = [];
    const generate = (epoch: number): string[] => {
      epochs.push(epoch);
      return [`日月${epoch}`.repeat(10)];
    };
    await pretrain(contextFor(runtime), { ...PRETRAIN_DATA, generate }, { ...PRETRAIN, epochs: 3 });
    expect([...new Set(epochs)]).toEqual([0, 1, 2]);
  });
});

/** Conversations as one packed batch, and the loss, per-weight gradients on it. */
async function sftLossOf(
  weights: Record<string, NdArray>,
  batch: Record<string, NdArray>,
): Promise<{ loss: number; gradients: Record<string, NdArray> }> {
  const names = Object.keys(weights);
  const executable = await runtime.compile(
    trace<string>({ ...(weights as Record<string, Spec>), ...batch }, (symbolic) => {
      const { loss } = sftLoss(CONFIG)(symbolic, symbolic);
      const parts = gradients(
        loss,
        names.map((name) => symbolic[name]),
      );
      return { loss, ...Object.fromEntries(names.map((name, i) => [`gradient:${name}`, parts[i]])) };
    }),
  );
  const { loss, ...rest } = await executable.run({ ...weights, ...batch });
  await executable.release();
  return { loss: Number(loss.data[0]), gradients: rest };
}

function sftBatch(conversations: readonly (typeof CHATS)[number][]): Record<string, NdArray> {
  const rendered = conversations.map((messages) => renderConversation(tokenizer, messages));
  const { rows } = packConversations(rendered, { contextLength: CONFIG.contextLength });
  const shape = [rows.length, CONFIG.contextLength];
  return {
    ...Object.fromEntries(
      Object.entries(stackRows(rows)).map(([name, data]) => [
        name,
        { dtype: data instanceof Float32Array ? 'float32' : 'int32', shape, data } as NdArray,
      ]),
    ),
    dropoutKey: keyOf(0, 0),
  };
}

/** The same array with one function applied to its numbers. */
function changed(array: NdArray, change: (value: number, index: number) => number): NdArray {
  const data = array.data.slice();
  for (let i = 0; i < data.length; i++) (data as Int32Array)[i] = change(Number(array.data[i]), i);
  return { ...array, data };
}

describe('supervised fine-tuning', () => {
  const chat = (question: string, answer: string) =>
    [
      { role: 'user', content: question },
      { role: 'assistant', content: answer },
    ] as const;
  const TWO = [chat('问天', '12'), chat('问地', '3')];

  it('lowers the loss on held-out answers to that of four equal choices', async () => {
    const context = contextFor(runtime);
    const { evaluations } = await supervisedFineTune(context, freshWeights(), SFT_DATA, SFT);
    const [{ before, after }] = evaluations;
    expect(before).toBeGreaterThan(5);
    // Half of the tokens to learn are digits drawn from four, the others the certain end.
    expect(after).toBeLessThan(Math.log(4) / 2 + 0.3);
    expect(after).toBeGreaterThan(Math.log(4) / 2 - 0.3);
  });

  it('learns only the tokens of the assistant', async () => {
    const batch = sftBatch(TWO);
    const learned = batch['lossMask'].data;
    const base = await sftLossOf(chatWeights, batch);
    const otherTargets = (where: number): Record<string, NdArray> => ({
      ...batch,
      targets: changed(batch['targets'], (target, i) => (learned[i] === where ? (target + 7) % 300 : target)),
    });
    const unlearned = await sftLossOf(chatWeights, otherTargets(0));
    expect(unlearned.loss).toBe(base.loss);
    expect(sameBits(unlearned.gradients, base.gradients)).toBe(true);
    expect((await sftLossOf(chatWeights, otherTargets(1))).loss).not.toBe(base.loss);
  });

  it('counts the end of an answer among its tokens', () => {
    const { targets, lossMask } = sftBatch([TWO[1]]);
    const learned = [...targets.data].filter((_, i) => lossMask.data[i] === 1).map(Number);
    expect(learned).toEqual([...tokenizer.encode('3'), SPECIAL.imEnd]);
  });

  it('has loss 0 and gradients 0 for a fully masked batch, and trains on without harm', async () => {
    const batch = { ...sftBatch(TWO), lossMask: changed(sftBatch(TWO)['lossMask'], () => 0) };
    const { loss, gradients: parts } = await sftLossOf(chatWeights, batch);
    expect(loss).toBe(0);
    for (const [name, { data }] of Object.entries(parts))
      expect(
        [...data].every((value) => Number(value) === 0),
        name,
      ).toBe(true);
    const trainer = await createTrainer({
      runtime,
      loss: sftLoss(CONFIG),
      batch,
      state: createTrainState(chatWeights),
    });
    const result = await trainer.step(batch, 1e-3);
    expect([result.loss, result.gradientNorm]).toEqual([0, 0]);
    for (const { data } of Object.values(trainer.state.weights))
      expect([...data].every((value) => Number.isFinite(Number(value)))).toBe(true);
    await trainer.release();
  });

  it('does not attend from one conversation to another in its row', async () => {
    const batch = sftBatch(TWO);
    expect(batch['ids'].shape[0]).toBe(1);
    const segments = batch['segments'].data;
    const ids = changed(batch['ids'], (id, i) => (segments[i] === 1 ? 20 + ((id + i) % 200) : id));
    for (const segment of [1, 2]) {
      const only = changed(batch['lossMask'], (learned, i) => (segments[i] === segment ? learned : 0));
      const base = await sftLossOf(chatWeights, { ...batch, lossMask: only });
      const other = await sftLossOf(chatWeights, { ...batch, lossMask: only, ids });
      if (segment === 2) {
        expect(other.loss).toBe(base.loss);
        // Of the embeddings, those that only the other conversation uses differ in being untouched: all are zero.
        const { 'gradient:embedding.weight': _a, ...restBase } = base.gradients;
        const { 'gradient:embedding.weight': _b, ...restOther } = other.gradients;
        expect(sameBits(restBase, restOther)).toBe(true);
      } else expect(other.loss).not.toBe(base.loss);
    }
  });

  it('has the same loss packed as unpacked', async () => {
    const packed = await sftLossOf(chatWeights, sftBatch(TWO));
    const [first, second] = [
      await sftLossOf(chatWeights, sftBatch([TWO[0]])),
      await sftLossOf(chatWeights, sftBatch([TWO[1]])),
    ];
    // Three learned tokens (1, 2, end) and two (3, end).
    expect(packed.loss).toBeCloseTo((3 * first.loss + 2 * second.loss) / 5, 5);
  });

  it('reports a conversation that is longer than the context, and trains on', async () => {
    const context = contextFor(runtime);
    const long = chat('问'.repeat(50), '1');
    const { weights } = await supervisedFineTune(
      context,
      freshWeights(),
      { conversations: [...CHATS.slice(0, 8), long], heldOut: CHATS.slice(40) },
      { ...SFT, epochs: 1 },
    );
    expect(context.io.notes.join()).toMatch(/1 conversations? .*longer than the context/);
    expect(lossesOf(context).every(Number.isFinite)).toBe(true);
    expect(weights['embedding.weight'].data.every((value) => Number.isFinite(Number(value)))).toBe(true);
  });

  it('says so where not one conversation fits into the context', async () => {
    const data = { conversations: [chat('问'.repeat(50), '1')], heldOut: [] };
    await expect(supervisedFineTune(contextFor(runtime), freshWeights(), data, SFT)).rejects.toThrow(
      UserError,
    );
  });

  it('reports nothing where no conversation is held out', async () => {
    const { evaluations } = await supervisedFineTune(
      contextFor(runtime),
      freshWeights(),
      { conversations: [CHATS[0]], heldOut: [] },
      { ...SFT, epochs: 1 },
    );
    expect(evaluations).toEqual([]);
  });
});

describe('the reward model', () => {
  const OPTIONS = { epochs: 6, batchSize: 8, learningRate: 1e-2, rehearsalCoefficient: 0 };

  it('learns which answers are better: loss down, held-out accuracy and margin up', async () => {
    const context = contextFor(runtime);
    const data = { pairs: PAIRS.slice(0, 32), heldOut: PAIRS.slice(32) };
    const { evaluations } = await trainRewardModel(context, freshWeights(), data, OPTIONS);
    const losses = lossesOf(context);
    expect(mean(losses.slice(-4))).toBeLessThan(0.5 * mean(losses.slice(0, 2)));
    expect(losses[0]).toBeCloseTo(Math.log(2), 0);
    const [accuracy, margin] = evaluations;
    expect(accuracy.after).toBe(1);
    expect(margin.after).toBeGreaterThan(margin.before! + 1);
    expect(figures(context, 'accuracy').at(-1)).toBe(1);
  });

  it('rehearses the chosen answers, and only them', async () => {
    const data = { pairs: PAIRS.slice(0, 32), heldOut: [] };
    const languageLoss = async (
      weights: Record<string, NdArray>,
      side: 'chosen' | 'rejected',
    ): Promise<number> => {
      const parameters = bindParameters(weights);
      const conversations = data.pairs.map((pair) => [
        ...pair.prompt,
        { role: 'assistant' as const, content: pair[side] },
      ]);
      return (await evaluateSft({ runtime, config: CONFIG, tokenizer, parameters, conversations }))!;
    };
    const context = contextFor(runtime);
    const { weights } = await trainRewardModel(context, freshWeights(), data, {
      ...OPTIONS,
      epochs: 80,
      batchSize: 32,
      rehearsalCoefficient: 0.5,
    });
    const [first] = figures(context, 'rehearsalLoss');
    // All pairs are in the batch, and all answers are equally long: it is the loss of fine-tuning.
    expect(first).toBeCloseTo(await languageLoss(freshWeights(), 'chosen'), 4);
    expect(await languageLoss(weights, 'chosen')).toBeLessThan(first / 2);
    expect(await languageLoss(weights, 'rejected')).toBeGreaterThan(first / 2);
    expect(figures(context, 'accuracy').at(-1)).toBe(1);
  });

  it('reads the reward at the last real token, whatever the padding holds', async () => {
    const weights = initializeParameters(rewardParameters(CONFIG), 4);
    const [{ chosen }] = renderPairs(tokenizer, PAIRS, CONFIG.contextLength).rendered;
    const model = new RewardModel(bindParameters(weights), CONFIG);
    const rewardOf = (padding: number, shift = 0): number => {
      const ids = new Int32Array(CONFIG.contextLength).fill(padding);
      ids.set(chosen);
      const { data } = model.forward(tensor(ids, [1, ids.length], 'int32')).value;
      return Number(data[chosen.length - 1 - shift]);
    };
    expect(chosen.at(-1)).toBe(SPECIAL.imEnd);
    expect(rewardOf(200)).toBe(rewardOf(0));
    expect(rewardOf(0, 1)).not.toBe(rewardOf(0));

    // The scorer, which pads by itself, agrees at every length.
    for (const length of [chosen.length, CONFIG.contextLength]) {
      const scorer = await createScorer({ runtime, config: CONFIG, weights, length });
      const rewards = await scorer.score([chosen, chosen.subarray(0, 5), chosen, chosen]);
      expect(rewards).toHaveLength(4);
      expectClose([rewards[0], rewards[2], rewards[3]], [rewardOf(0), rewardOf(0), rewardOf(0)], {
        absolute: 1e-5,
      });
      await scorer.release();
    }
  });

  it('leaves out pairs that are too long and says so', async () => {
    const long = { ...PAIRS[0], chosen: '日'.repeat(60) };
    const { rendered, skipped } = renderPairs(tokenizer, [PAIRS[0], long], CONFIG.contextLength);
    expect([rendered.length, skipped]).toEqual([1, 1]);
    const context = contextFor(runtime);
    await trainRewardModel(
      context,
      freshWeights(),
      { pairs: [...PAIRS.slice(0, 8), long], heldOut: PAIRS.slice(32) },
      { ...OPTIONS, epochs: 1 },
    );
    expect(context.io.notes.join()).toMatch(/1 preference pairs? .*longer than the context/);
    await expect(
      trainRewardModel(contextFor(runtime), freshWeights(), { pairs: [long], heldOut: [] }, OPTIONS),
    ).rejects.toThrow(UserError);
  });

  it('reports nothing where no pair is held out', async () => {
    const { evaluations } = await trainRewardModel(
      contextFor(runtime),
      freshWeights(),
      { pairs: [PAIRS[0]], heldOut: [] },
      { ...OPTIONS, epochs: 1 },
    );
    expect(evaluations).toEqual([]);
  });

  it('does not call equal rewards a right order', async () => {
    const weights = initializeParameters(rewardParameters(CONFIG), 4);
    const head = { ...weights['reward_head.weight'], data: new Float32Array(CONFIG.hiddenSize) };
    const { rendered } = renderPairs(tokenizer, PAIRS.slice(0, 4), CONFIG.contextLength);
    const blind = { ...weights, 'reward_head.weight': head };
    expect(await evaluateRewardModel({ runtime, config: CONFIG, weights: blind, pairs: rendered })).toEqual({
      accuracy: 0,
      margin: 0,
    });
  });
});

/** A reward model to which all is the same. */
function indifferentReward(): Record<string, NdArray> {
  const weights = initializeParameters(rewardParameters(CONFIG), 1);
  weights['reward_head.weight'].data.fill(0 as never);
  return weights;
}

describe('RLHF', () => {
  const prompts = TASKS.map(({ prompt }) => renderPrompt(tokenizer, [{ role: 'user', content: prompt }]));
  const data: RlhfData = { prompts: prompts.slice(0, 12), heldOut: prompts.slice(12) };
  const liked = tokenizer.encode(DIGITS[1])[0];

  it('starts where the reference stands: every ratio is 1, KL 0', async () => {
    const context = contextFor(runtime);
    await trainRlhf(context, chatWeights, rewardForToken(liked), data, { ...RLHF, episodes: 16 });
    expect(figures(context, 'firstRatioDeviation')[0]).toBeLessThan(1e-6);
    // In every later iteration too, since the old policy is the one that sampled.
    for (const deviation of figures(context, 'firstRatioDeviation')) expect(deviation).toBeLessThan(1e-6);
    expect(figures(context, 'kl')[0]).toBe(0);
    expect(figures(context, 'klK3')[0]).toBe(0);
    expect(figures(context, 'klCoefficient')[0]).toBe(RLHF.klCoefficient);
    expect(figures(context, 'kl')[1]).not.toBe(0);
    expect(figures(context, 'klK3')[1]).toBeGreaterThan(0);
    expect(figures(context, 'klCoefficient')[1]).toBeLessThan(RLHF.klCoefficient);
  });

  it('logs what tells whether it works', async () => {
    const context = contextFor(runtime);
    await trainRlhf(context, chatWeights, rewardForToken(liked), data, { ...RLHF, episodes: 8 });
    const [{ figures: logged = {} }] = context.io.records;
    for (const name of [
      'reward',
      'kl',
      'entropy',
      'clipFraction',
      'approxKl',
      'endRate',
      'responseLength',
      'explainedVariance',
      'klCoefficient',
      'valueLoss',
    ])
      expect(Number.isFinite(logged[name]), name).toBe(true);
    expect(logged['entropy']).toBeGreaterThan(0);
    expect(logged['responseLength']).toBeLessThanOrEqual(RLHF.maxNewTokens);
  });

  it('has a critic that begins as the reward model, and leaves nothing of it in the weights', async () => {
    const reward = initializeParameters(rewardParameters(CONFIG), 1);
    const normalizer = { mean: 0.3, deviation: 2 };
    const critic = await createCritic({
      runtime,
      config: CONFIG,
      state: createTrainState(criticWeights(reward, normalizer)),
      batchSize: 2,
      length: 24,
    });
    const episodes = [
      { prompt: prompts[0], response: { tokens: [liked, SPECIAL.imEnd], ended: true } },
      { prompt: prompts[1], response: { tokens: [liked], ended: false } },
    ];
    const values = await critic.values(packEpisodes(episodes, 24));
    expect(values.map(({ length }) => length)).toEqual([2, 1]);
    // The value before a token is what the reward model would give to the text up to there.
    const scorer = await createScorer({ runtime, config: CONFIG, weights: reward, length: 24 });
    const begun = [prompts[0], [...prompts[0], liked], prompts[1]];
    const scores = await scorer.score(begun);
    expectClose(
      values.flatMap((each) => [...each]),
      scores.map((score) => (score - normalizer.mean) / normalizer.deviation),
      { absolute: 1e-5, relative: 1e-5 },
    );
    await scorer.release();
    await critic.release();

    const result = await trainRlhf(contextFor(runtime), chatWeights, indifferentReward(), data, {
      ...RLHF,
      episodes: 8,
    });
    expect(Object.keys(result.weights).sort()).toEqual(Object.keys(chatWeights).sort());
  });

  it('has a critic that learns what will be earned', async () => {
    const state = createTrainState(criticWeights(rewardForToken(liked), { mean: 0, deviation: 1 }));
    const shape = { batchSize: 2, length: 24 };
    const critic = await createCritic({ runtime, config: CONFIG, state, ...shape });
    const episodes = [0, 1].map((i) => ({
      prompt: prompts[i],
      response: { tokens: [liked, SPECIAL.imEnd], ended: true },
    }));
    const returns = [
      [1, 1],
      [-1, -1],
    ];
    const packed = packEpisodes(episodes, 24);
    const batch = rowBatch(spreadActions(packed, { oldValues: returns, returns }), 2);
    const errorNow = async (): Promise<number> =>
      mean(
        (await critic.values(packed)).flatMap((row, i) => [...row].map((v, t) => (v - returns[i][t]) ** 2)),
      );
    const before = await errorNow();
    for (let step = 0; step < 30; step++) await critic.step(batch, 1e-2);
    expect(await errorNow()).toBeLessThan(before / 4);
    await critic.release();
  });

  it('judges each token by the probability that the model gives it', async () => {
    const weights = chatWeights;
    const temperature = 0.7;
    const options = { runtime, config: CONFIG, weights, length: 24, temperature };
    const judge = await createJudge(options);
    const tokens = [liked, SPECIAL.imEnd];
    const episode = { prompt: prompts[0], response: { tokens, ended: true } };
    const [judged] = await judge.judge(weights, packEpisodes([episode], 24));
    await judge.release();

    const ids = [...prompts[0], ...tokens];
    const model = new GPT(bindParameters(chatWeights), CONFIG);
    const { data: logits } = model.logits(model.forward(tensor(ids, [1, ids.length], 'int32')).hidden);
    const expected = tokens.map((token, t) => {
      const position = prompts[0].length - 1 + t;
      const row = [...logits.slice(position * CONFIG.vocabSize, (position + 1) * CONFIG.vocabSize)].map(
        (logit) => Number(logit) / temperature,
      );
      const total = row.reduce((sum, logit) => sum + Math.exp(logit), 0);
      const entropy = row.reduce(
        (sum, logit) => sum - (Math.exp(logit) / total) * (logit - Math.log(total)),
        0,
      );
      return { logProb: row[token] - Math.log(total), entropy };
    });
    const close = { absolute: 1e-4, relative: 1e-4 };
    expectClose(
      judged.logProbs,
      expected.map(({ logProb }) => logProb),
      close,
    );
    expectClose(
      judged.entropies,
      expected.map(({ entropy }) => entropy),
      close,
    );
  });

  it('raises the reward of a model that likes one token', async () => {
    const context = contextFor(runtime);
    const { evaluations } = await trainRlhf(context, chatWeights, rewardForToken(liked), data, {
      ...RLHF,
      episodes: 480,
      batchSize: 16,
      miniBatchSize: 8,
      learningRate: 1e-2,
    });
    const rewards = figures(context, 'reward');
    expect(mean(rewards.slice(-3))).toBeGreaterThan(mean(rewards.slice(0, 3)) + 0.1);
    const [{ before, after }] = evaluations;
    expect(after).toBeGreaterThan(before!);
  });

  it('teaches to end: answers that differ in nothing else are worth less without an end', async () => {
    // Answers of 1 to 8 digits: about half of them are not at their end after 4 tokens.
    const long = CHATS.map(([question], i) => [
      question,
      { role: 'assistant' as const, content: '1234123412341234'.slice(i % 4, (i % 4) + 1 + ((5 * i) % 8)) },
    ]);
    const start = await supervisedFineTune(
      contextFor(runtime),
      freshWeights(),
      {
        conversations: long,
        heldOut: [],
      },
      SFT,
    );
    const context = contextFor(runtime);
    await trainRlhf(context, start.weights, indifferentReward(), data, {
      ...RLHF,
      episodes: 12 * 16,
      batchSize: 16,
      miniBatchSize: 8,
      learningRate: 1e-2,
    });
    const endRate = figures(context, 'endRate');
    expect(mean(endRate.slice(0, 2))).toBeLessThan(0.75);
    expect(mean(endRate.slice(-3))).toBeGreaterThan(mean(endRate.slice(0, 2)) + 0.2);
  });

  it('says so where there is no prompt to practise on', async () => {
    const none = { prompts: [], heldOut: [] };
    await expect(
      trainRlhf(contextFor(runtime), chatWeights, indifferentReward(), none, RLHF),
    ).rejects.toThrow(UserError);
  });

  it('reports nothing where no prompt is held out', async () => {
    const { evaluations } = await trainRlhf(
      contextFor(runtime),
      chatWeights,
      indifferentReward(),
      { ...data, heldOut: [] },
      { ...RLHF, episodes: 8 },
    );
    expect(evaluations).toEqual([]);
  });
});

describe('RLVF', () => {
  it('raises the accuracy on a task that is easy to learn', async () => {
    const context = contextFor(runtime);
    const { evaluations } = await trainRlvf(context, chatWeights, RLVF_DATA, {
      ...RLVF,
      iterations: 25,
      learningRate: 1e-2,
    });
    const accuracy = figures(context, 'accuracy');
    expect(mean(accuracy.slice(0, 2))).toBeLessThan(0.6);
    expect(mean(accuracy.slice(-3))).toBeGreaterThan(0.9);
    expect(evaluations.map(({ name }) => name.en)).toEqual([
      'held-out accuracy (math)',
      'the same when sampled (math)',
    ]);
    expect(evaluations[0]).toMatchObject({ after: 1, unit: 'share' });
    expect(evaluations[1].after).toBeGreaterThan(evaluations[1].before! + 0.3);
  });

  it('learns nothing from answers that were cut off', async () => {
    const { weights } = await trainRlvf(contextFor(runtime), chatWeights, RLVF_DATA, {
      ...RLVF,
      maxNewTokens: 1, // no room for `<|im_end|>` after the digit
      klCoefficient: 0,
    });
    expect(sameBits(weights, chatWeights)).toBe(true);
  });

  it('does not move where every group agrees', async () => {
    // No answer is ever right: all rewards are equal, all advantages zero, and without KL there is no gradient.
    const context = contextFor(runtime);
    const impossible = TASKS.map((task) => ({ ...task, expected: '99999' }));
    const { weights } = await trainRlvf(
      context,
      chatWeights,
      { draw: (count, random) => Array.from({ length: count }, () => random.pick(impossible)), heldOut: [] },
      { ...RLVF, klCoefficient: 0 },
    );
    expect(figures(context, 'groupsWithoutVariance')).toEqual([1, 1, 1, 1]);
    expect(context.io.records.map(({ gradientNorm }) => gradientNorm)).toEqual([0, 0, 0, 0]);
    expect(sameBits(weights, chatWeights)).toBe(true);
  });

  it('answers every task once, in order, however many there are', async () => {
    const answers = await answerTasks({
      runtime,
      config: CONFIG,
      tokenizer,
      weights: chatWeights,
      tasks: TASKS.slice(0, 7),
      sampling: GREEDY,
      random: createRandom(1),
      maxNewTokens: 4,
      batchSize: 3,
      length: 24,
    });
    expect(answers.map(({ task }) => task)).toEqual(TASKS.slice(0, 7));
    for (const { text, correct, reward } of answers) {
      expect(correct).toBe(text === '3');
      expect(reward).toBe(correct ? 1 : -0.5);
    }
  });

  it('leaves out held-out questions that do not fit, and says so where none to practise on does', async () => {
    const long = { prompt: '问'.repeat(60), expected: '3', type: 'math' };
    const { evaluations } = await trainRlvf(
      contextFor(runtime),
      chatWeights,
      { ...RLVF_DATA, heldOut: [...RLVF_DATA.heldOut, long] },
      { ...RLVF, iterations: 1 },
    );
    expect(evaluations).toHaveLength(2);
    const draw = (count: number) => Array.from({ length: count }, () => long);
    await expect(
      trainRlvf(contextFor(runtime), chatWeights, { draw, heldOut: [] }, { ...RLVF, iterations: 1 }),
    ).rejects.toThrow(UserError);
  });
});

describe('a loss that is no number', () => {
  const huge = (weights: Record<string, NdArray>): Record<string, NdArray> => ({
    ...weights,
    'embedding.weight': changed(weights['embedding.weight'], (value) => value * 1e30),
    'blocks.0.feed_forward.linear1.weight': changed(
      weights['blocks.0.feed_forward.linear1.weight'],
      (value) => value * 1e38,
    ),
  });

  it('ends pretraining with stage, step and figure', async () => {
    const run = pretrain(contextFor(runtime), PRETRAIN_DATA, { ...PRETRAIN, learningRate: 1e30 });
    await expect(run).rejects.toThrow(UserError);
    await expect(run).rejects.toThrow(
      /step \d+ of stage pretrain.*(loss|gradientNorm).*(NaN|Infinity).*--lr/,
    );
  });

  it('ends fine-tuning', async () => {
    const run = supervisedFineTune(contextFor(runtime), huge(chatWeights), SFT_DATA, SFT);
    await expect(run).rejects.toThrow(/step 1 of stage sft.*(loss|gradientNorm).*(NaN|Infinity).*--lr/);
  });

  it('ends the reward model', async () => {
    const data = { pairs: PAIRS, heldOut: PAIRS.slice(0, 2) };
    const options = { epochs: 3, batchSize: 8, learningRate: 1e30, rehearsalCoefficient: 0 };
    const run = trainRewardModel(contextFor(runtime), freshWeights(), data, options);
    await expect(run).rejects.toThrow(/step \d+ of stage reward.*(loss|gradientNorm).*(NaN|Infinity).*--lr/);
  });

  it('ends RLHF and RLVF', async () => {
    const prompts = TASKS.map(({ prompt }) => renderPrompt(tokenizer, [{ role: 'user', content: prompt }]));
    const rlhf = trainRlhf(
      contextFor(runtime),
      chatWeights,
      rewardForToken(tokenizer.encode(DIGITS[1])[0]),
      { prompts, heldOut: prompts.slice(0, 2) },
      { ...RLHF, learningRate: 1e30 },
    );
    await expect(rlhf).rejects.toThrow(/step \d+ of stage rlhf.*(loss|gradientNorm).*(NaN|Infinity).*--lr/);
    const rlvf = trainRlvf(contextFor(runtime), chatWeights, RLVF_DATA, { ...RLVF, learningRate: 1e30 });
    await expect(rlvf).rejects.toThrow(/step \d+ of stage rlvf.*(loss|gradientNorm).*(NaN|Infinity).*--lr/);
  });

  it('is told at the end too, with the figure that it spoils', () => {
    const name = { zh: '留出', en: 'held-out loss' };
    checkEvaluations('sft', [{ name, after: 1, unit: 'nats' }]);
    for (const figures of [{ after: Number.NaN }, { before: Number.POSITIVE_INFINITY, after: 1 }]) {
      const check = (): void => checkEvaluations('sft', [{ name, unit: 'nats', ...figures }]);
      expect(check).toThrow(/end of stage sft the figure "held-out loss" is (NaN|Infinity);.*--lr/);
    }
  });
});
