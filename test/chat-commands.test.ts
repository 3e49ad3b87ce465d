import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { saveLora } from '../src/adapter.ts';
import { saveCheckpoint } from '../src/checkpoint.ts';
import { obey } from '../src/cli/chat-commands.ts';
import { type AnswerPiece, type ChatSession, createChatSession } from '../src/cli/chat-session.ts';
import { parseConversations } from '../src/data/formats.ts';
import { UserError } from '../src/errors.ts';
import { displayWidth } from '../src/format-text.ts';
import { setLanguage } from '../src/i18n.ts';
import { gptParameters } from '../src/model.ts';
import { initializeParameters } from '../src/nn/parameters.ts';
import { GREEDY } from '../src/sampling.ts';
import { rewardParameters } from '../src/scorer.ts';
import { type Lora, type LoraOptions, mergeLora } from '../src/stages/lora.ts';
import type { Runtime } from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { randomLora } from './support/lora.ts';
import { tinyCheckpoint } from './support/writer.ts';

const folder = mkdtempSync(join(tmpdir(), 'my-llm-chat-'));
const checkpoint = tinyCheckpoint();
// With larger weights than a fresh model has, what it writes depends on all that was said.
for (const { data } of Object.values(checkpoint.params))
  for (let i = 0; i < data.length; i++) data[i] = 12 * Number(data[i]);
const LORA: LoraOptions = { r: 2, alpha: 4, dropout: 0, targetModules: ['c_attn', 'linear1'] };
const ADAPTERS: Readonly<Record<string, Lora>> = {
  law: randomLora(checkpoint.config, LORA, 5),
  poems: randomLora(checkpoint.config, LORA, 6),
};
let runtime: Runtime;
let session: ChatSession;

beforeAll(async () => {
  runtime = await createNodeRuntime({ threads: 1 });
  const { config } = checkpoint;
  saveCheckpoint(join(folder, 'pretrain_final'), { ...checkpoint, stage: 'pretrain' });
  saveCheckpoint(join(folder, 'sft_final'), checkpoint);
  const params = initializeParameters(gptParameters(config), 2);
  saveCheckpoint(join(folder, 'rlhf_final'), { ...checkpoint, params, stage: 'rlhf' });
  const rewards = initializeParameters(rewardParameters(config), 1);
  saveCheckpoint(join(folder, 'reward_model'), { ...checkpoint, params: rewards, stage: 'reward' });
  const sft = { ...checkpoint, name: join(folder, 'sft_final') };
  for (const [name, lora] of Object.entries(ADAPTERS)) saveLora(join(folder, 'lora', name), lora, sft);
  const rlhf = { config, params, name: join(folder, 'rlhf_final') };
  saveLora(join(folder, 'lora', 'other'), ADAPTERS['law'], rlhf);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const open = (options: Partial<Parameters<typeof createChatSession>[0]> = {}): Promise<ChatSession> =>
  createChatSession({
    runtime,
    checkpoint,
    folder,
    sampling: GREEDY,
    maxNewTokens: 6,
    stop: [],
    seed: 1,
    ...options,
  });
beforeEach(async () => {
  session = await open();
});
afterEach(async () => {
  setLanguage('en');
  await session.release();
});

async function say(message: string): Promise<{ text: string; pieces: AnswerPiece[] }> {
  const pieces: AnswerPiece[] = [];
  for await (const piece of session.say(message, new AbortController().signal).pieces) pieces.push(piece);
  return { text: pieces.map((piece) => piece.text).join(''), pieces };
}

describe('commands of a chat', () => {
  test('/undo takes back the last message and its answer, as if they had not been', async () => {
    const first = await say('你好');
    const before = session.messages;
    const second = await say('天气');
    expect(second.text).not.toBe(first.text);
    expect(await obey(session, '/undo')).toBe('Took back “天气” and its answer.');
    expect(session.messages).toEqual(before);
    expect(await say('天气')).toEqual(second);
    await obey(session, '/undo');
    await obey(session, '/undo');
    expect(session.messages).toEqual([]);
    expect(await say('你好')).toEqual(first);
    await obey(session, '/undo');
    await expect(obey(session, '/undo')).rejects.toThrow(/nothing to take back/);
  });

  test('/system sets the first message, which /reset keeps and /undo does not touch', async () => {
    const plain = await say('你好');
    await obey(session, '/reset');
    await obey(session, '/system 你是一位诗人。');
    expect((await say('你好')).text).not.toBe(plain.text);
    expect(session.messages.map(({ role }) => role)).toEqual(['system', 'user', 'assistant']);
    await obey(session, '/system  别的');
    expect(session.messages[0]).toEqual({ role: 'system', content: '别的' });
    await obey(session, '/undo');
    expect(session.messages).toEqual([{ role: 'system', content: '别的' }]);
    await obey(session, '/reset');
    expect(session.messages).toHaveLength(1);
    expect(await obey(session, '/system')).toMatch(/no system prompt/);
    expect((await say('你好')).text).toBe(plain.text);
  });

  test('/temp shows and sets the temperature, and refuses what is none', async () => {
    expect(await obey(session, '/temp')).toBe('Temperature: 0');
    expect(await obey(session, '/temp 0.7')).toBe('Temperature: 0.7');
    expect(session.sampling.temperature).toBe(0.7);
    for (const bad of ['-1', 'NaN', 'hot', '1e999', '0.5 0.6'])
      await expect(obey(session, `/temp ${bad}`), bad).rejects.toThrow(
        `/temp "${bad}" is not valid: give a number`,
      );
    expect(session.sampling.temperature).toBe(0.7);
  });

  test('/save and /load bring a conversation back, in the form of data for SFT', async () => {
    const file = join(folder, 'chat.json');
    await expect(obey(session, `/save ${file}`)).rejects.toThrow(/empty/);
    await obey(session, '/system 简短回答');
    await say('你好');
    const { messages } = session;
    expect(await obey(session, `/save ${file}`)).toBe(`Wrote 3 messages to ${file}`);
    expect(parseConversations(readFileSync(file, 'utf8'), file)).toEqual([{ messages }]);
    const next = await say('天气');
    await obey(session, '/reset');
    expect(await obey(session, `/load ${file}`)).toBe(`Read 3 messages from ${file}`);
    expect(session.messages).toEqual(messages);
    expect(await say('天气')).toEqual(next);
    // A saved conversation may be replaced, any other file not.
    await obey(session, `/save ${file}`);
    writeFileSync(file, '# notes');
    await expect(obey(session, `/save ${file}`)).rejects.toThrow(/exists and is not a saved conversation/);
    expect(readFileSync(file, 'utf8')).toBe('# notes');
  });

  test('questions without an answer are not saved', async () => {
    const file = join(folder, 'partly.json');
    session.messages = [
      { role: 'user', content: '一' },
      { role: 'assistant', content: '二' },
      { role: 'user', content: '三' },
      { role: 'assistant', content: '' },
    ];
    await obey(session, `/save ${file}`);
    await obey(session, `/load ${file}`);
    expect(session.messages.map(({ content }) => content)).toEqual(['一', '二']);
  });

  test('/load refuses what is no conversation and keeps the one that there is', async () => {
    await say('你好');
    const { messages } = session;
    const file = join(folder, 'bad.json');
    const cases: [string, RegExp][] = [
      ['{', /not valid JSON/],
      ['{"messages": []}', /bad\.json.*messages/],
      ['{"messages": [{"role": "robot", "content": "x"}]}', /messages\[0\]\.role/],
      ['[{"messages": []}, {"messages": []}]', /2 records/],
    ];
    for (const [content, expected] of cases) {
      writeFileSync(file, content);
      await expect(obey(session, `/load ${file}`)).rejects.toThrow(expected);
    }
    await expect(obey(session, `/load ${join(folder, 'nowhere')}`)).rejects.toThrow(/does not exist/);
    for (const command of ['/load', '/save'])
      await expect(obey(session, command)).rejects.toThrow(`${command} needs a value: name a file`);
    expect(session.messages).toEqual(messages);
  });

  test('/stage goes on with another model, and stays where there is none', async () => {
    const sft = await say('你好');
    await obey(session, '/reset');
    expect(await obey(session, '/stage rlhf')).toBe('The model after RLHF answers now.');
    expect(session.stage).toBe('rlhf');
    expect((await say('你好')).text).not.toBe(sft.text);
    await obey(session, '/reset');
    await expect(obey(session, '/stage rlvf')).rejects.toThrow(/rlvf_final.*missing/);
    await expect(obey(session, '/stage gpt')).rejects.toThrow(
      /\/stage "gpt" is not valid: choose one of .*rlhf/,
    );
    await expect(obey(session, '/stage')).rejects.toThrow(/\/stage needs a value/);
    expect(session.stage).toBe('rlhf');
    await obey(session, '/stage sft');
    expect(await say('你好')).toEqual(sft);
    // A pretrained model continues texts.
    await obey(session, '/stage pretrain');
    expect(session.raw).toBe(true);
    expect(await obey(session, '/help')).not.toContain('/undo');
    await expect(obey(session, '/undo')).rejects.toThrow(/needs a model that converses.*\/stage sft/);
  });

  test('/lora switches between adapters of the model, which answers as with merged weights', async () => {
    const plain = (await say('你好')).text;
    await obey(session, '/reset');
    const texts = [plain];
    for (const name of ['law', 'poems']) {
      expect(await obey(session, `/lora ${name}`)).toBe(`The adapter ${name} is in use now.`);
      const { text } = await say('你好');
      texts.push(text);
      await obey(session, '/reset');
      const merged = await open({ checkpoint: mergeLora(checkpoint, ADAPTERS[name]) });
      let expected = '';
      for await (const piece of merged.say('你好', new AbortController().signal).pieces)
        expected += piece.text;
      await merged.release();
      expect(text).toBe(expected);
    }
    expect(new Set(texts).size).toBe(3);
    expect(await obey(session, '/lora off')).toBe('The model answers without an adapter now.');
    expect((await say('你好')).text).toBe(plain);
    // What was said stays, and the next adapter goes on from there.
    const { messages } = session;
    await obey(session, '/lora law');
    expect(session.messages).toEqual(messages);
    // Without reading the model again.
    rmSync(join(folder, 'sft_final'), { recursive: true });
    await obey(session, '/lora poems');
    await obey(session, '/lora off');
    saveCheckpoint(join(folder, 'sft_final'), checkpoint);
  });

  test('/lora alone lists the adapters, also one that lies elsewhere', async () => {
    const of = 'Of another model, or damaged: other. /lora NAME takes one, /lora off none.';
    expect(await obey(session, '/lora')).toBe(`Adapters: law, poems. ${of}`);
    await obey(session, '/lora poems');
    expect(await obey(session, '/lora')).toBe(`Adapters: law, poems (in use). ${of}`);
    const elsewhere = join(folder, 'mine');
    saveLora(elsewhere, ADAPTERS['law'], { ...checkpoint, name: 'sft' });
    await obey(session, `/lora ${elsewhere}`);
    expect(await obey(session, '/lora')).toBe(`Adapters: law, poems, ${elsewhere} (in use). ${of}`);
    setLanguage('zh');
    expect(await obey(session, '/lora')).toContain(
      `适配器：law、poems、${elsewhere}（正在使用）。属于别的模型`,
    );
    setLanguage('en');
    await session.release();
    session = await open({ folder: join(folder, 'empty') });
    expect(await obey(session, '/lora')).toMatch(/^This model has no adapters yet\. \/lora NAME/);
    await session.release();
    session = await open({ adapter: { name: join(folder, 'lora', 'law'), lora: ADAPTERS['law'] } });
    expect(session.adapter).toBe('law');
  });

  test('/lora changes nothing where there is no such adapter, or it is of another model', async () => {
    await obey(session, '/lora law');
    const { text } = await say('你好');
    await obey(session, '/reset');
    await expect(obey(session, '/lora nowhere')).rejects.toThrow(/^there is no adapter in nowhere/);
    await expect(obey(session, '/lora other')).rejects.toThrow(
      /other belongs to another model \(.*rlhf_final\); .*\/stage/,
    );
    expect(session.adapter).toBe('law');
    expect((await say('你好')).text).toBe(text);
  });

  test('/stage leaves the adapter behind, and /best judges the answers of the model with it', async () => {
    await obey(session, '/lora law');
    session.sampling = { ...GREEDY, temperature: 1 };
    await obey(session, '/best 2');
    await obey(session, '/lora poems');
    expect((await say('你好')).pieces[0].rewards).toHaveLength(2);
    expect(await obey(session, '/stage rlhf')).toBe(
      'The model after RLHF answers now, without the adapter poems, which belongs to the one before.',
    );
    expect(session.adapter).toBeUndefined();
    await expect(obey(session, '/lora poems')).rejects.toThrow(/belongs to another model/);
    await obey(session, '/lora other');
    expect(session.adapter).toBe('other');
    expect(await obey(session, '/stage sft')).toMatch(/without the adapter other/);
    expect(await obey(session, '/stage sft')).toBe('The model after SFT answers now.');
  });

  test('/best gives the answer that the reward model likes best', async () => {
    session.sampling = { ...GREEDY, temperature: 1 };
    expect(await obey(session, '/best 3')).toMatch(/best of 3/);
    const { pieces } = await say('你好');
    expect(pieces).toHaveLength(1);
    const { rewards = [], tokens } = pieces[0];
    expect(rewards).toHaveLength(3);
    expect(rewards).toEqual(rewards.toSorted((a, b) => b - a));
    expect(tokens).toBe(18);
    expect(session.messages.at(-1)?.content).toBe(pieces[0].text);
    await obey(session, '/stage rlhf');
    expect(session.candidates).toBe(3);
    expect((await say('你好')).pieces[0].rewards).toHaveLength(3);
    expect(await obey(session, '/best 1')).toMatch(/One answer/);
    expect((await say('你好')).pieces[0].rewards).toBeUndefined();
    for (const bad of ['0', '2.5', '65', 'x']) {
      await expect(obey(session, `/best ${bad}`), bad).rejects.toThrow(`/best "${bad}" is not valid`);
    }
    await expect(obey(session, '/best')).rejects.toThrow(
      /\/best needs a value: give a whole number from 1 to 64/,
    );
  });

  test('a stopped answer stays as far as it was written; one that had not begun was not asked for', async () => {
    const stopping = new AbortController();
    for await (const piece of session.say('你好', stopping.signal).pieces)
      if (piece.text !== '') stopping.abort();
    expect(session.messages).toHaveLength(2);
    await obey(session, '/reset');
    await obey(session, '/best 2');
    const stopped = new AbortController();
    stopped.abort();
    for await (const _ of session.say('你好', stopped.signal).pieces) expect.fail('nothing should come');
    expect(session.messages).toEqual([]);
  });

  test('without a folder there is one model only, and without a reward model no choice', async () => {
    await session.release();
    session = await open({ folder: undefined });
    await expect(obey(session, '/stage sft')).rejects.toThrow(/where the other checkpoints are/);
    await expect(obey(session, '/lora')).rejects.toThrow(/where the other checkpoints are/);
    await expect(obey(session, '/best 2')).rejects.toThrow(UserError);
    await session.release();
    session = await open({ folder: join(folder, 'empty') });
    await expect(obey(session, '/best 2')).rejects.toThrow(/no reward model in .*--reward-model/);
    await session.release();
    session = await open({ rewardModel: join(folder, 'sft_final') });
    await expect(obey(session, '/best 2')).rejects.toThrow(/is no reward model/);
  });

  test('unknown commands get one sentence; names that objects have are unknown too', async () => {
    for (const name of ['/nonsense', '/', '/constructor', '/toString', '/HELP'])
      await expect(obey(session, `${name} x`)).rejects.toThrow(`There is no command ${name};`);
    expect(await obey(session, '/exit')).toBeUndefined();
  });

  test('/help lists every command in aligned columns', async () => {
    setLanguage('zh');
    const lines = (await obey(session, '/help'))!.split('\n');
    for (const name of [
      '/help',
      '/reset',
      '/system',
      '/temp',
      '/save',
      '/load',
      '/stage',
      '/lora',
      '/best',
      '/undo',
      '/exit',
    ])
      expect(
        lines.filter((line) => line.startsWith(name)),
        name,
      ).toHaveLength(1);
    const columns = lines.map((line) => displayWidth(/^(.*?\S {2,})\S/.exec(line)![1]));
    expect(new Set(columns).size).toBe(1);
  });
});
