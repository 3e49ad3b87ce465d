import { beforeAll, describe, expect, it } from 'vitest';
import { renderPrompt } from '../src/chat-format.ts';
import { bindParameters } from '../src/nn/parameters.ts';
import { trainGrpo } from '../src/stages/grpo.ts';
import { withRehearsal } from '../src/stages/rehearsal.ts';
import { trainRlhf } from '../src/stages/rlhf.ts';
import { trainRlvf } from '../src/stages/rlvf.ts';
import { evaluateSft } from '../src/stages/sft.ts';
import type { StageContext, StageResult } from '../src/stages/stage.ts';
import { type NdArray, type Runtime, scalar } from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import {
  CHATS,
  CONFIG,
  chattingWeights,
  contextFor,
  DIGITS,
  figures,
  GRPO,
  RLHF,
  RLVF,
  RLVF_DATA,
  rewardForToken,
  TASKS,
  tokenizer,
} from './support/tiny.ts';

let runtime: Runtime;
/** A model that answers each question with one of four digits. */
let chatWeights: Record<string, NdArray>;

beforeAll(async () => {
  runtime = await createNodeRuntime({ threads: 1 });
  chatWeights = await chattingWeights(runtime, { epochs: 8 });
});

const rehearsal = { conversations: CHATS, heldOut: [] };
const tasks = { ...RLVF_DATA, rehearsal };
const forgetful = { learningRate: 1e-2, klCoefficient: 0 };

type Train = (context: StageContext, rehearsalRows: number) => Promise<StageResult>;

/** Methods that like one digit best, where conversations are answered with any of four. */
const METHODS: Readonly<Record<string, Train>> = {
  PPO(context, rehearsalRows) {
    const prompts = TASKS.map(({ prompt }) => renderPrompt(tokenizer, [{ role: 'user', content: prompt }]));
    const reward = rewardForToken(tokenizer.encode(DIGITS[1])[0]);
    const size = { episodes: 480, batchSize: 16, miniBatchSize: 8 };
    const options = { ...RLHF, ...forgetful, ...size, rehearsalRows };
    return trainRlhf(context, chatWeights, reward, { prompts, heldOut: [], rehearsal }, options);
  },
  REINFORCE: (context, rehearsalRows) =>
    trainRlvf(context, chatWeights, tasks, { ...RLVF, ...forgetful, iterations: 25, rehearsalRows }),
  GRPO: (context, rehearsalRows) =>
    trainGrpo(context, chatWeights, tasks, { ...GRPO, ...forgetful, iterations: 12, rehearsalRows }),
};

describe.each(Object.entries(METHODS))('%s', (_, train) => {
  it('forgets less of what fine-tuning taught where it rehearses that', async () => {
    const lossAfter = async (rehearsalRows: number): Promise<number> => {
      const context = contextFor(runtime);
      const { weights } = await train(context, rehearsalRows);
      const rehearsed = figures(context, 'rehearsalLoss').filter((value) => Number.isFinite(value));
      expect(rehearsed).toHaveLength(rehearsalRows > 0 ? context.io.records.length : 0);
      const parameters = bindParameters(weights);
      return (await evaluateSft({ runtime, config: CONFIG, tokenizer, parameters, conversations: CHATS }))!;
    };
    expect(await lossAfter(2)).toBeLessThan((await lossAfter(0)) * 0.8);
  });
});

describe('withRehearsal', () => {
  it('leaves a part of a batch as heavy as it is', () => {
    const own = { loss: scalar(3), weight: scalar(7), metrics: { kl: scalar(2) } };
    const loss = withRehearsal(
      () => own,
      () => ({ loss: scalar(4), weight: scalar(99) }),
      0.5,
    );
    expect(loss({}, {})).toBe(own);
    const both = loss({}, { 'rehearsal:ids': scalar(0) });
    expect(both.weight).toBe(own.weight);
    expect(both.loss.value.data[0]).toBe(5);
    expect(Object.keys(both.metrics!)).toEqual(['kl', 'rehearsalLoss']);
  });
});
