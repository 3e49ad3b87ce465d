import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { STAGE_FOLDERS } from '../src/checkpoint.ts';
import { estimateSeconds, measureGemm } from '../src/cli/estimate.ts';
import { createCommand, parseCommand } from '../src/cli/options.ts';
import { runTraining } from '../src/cli/training.ts';
import { checkContradictions, skippedStages } from '../src/cli/training-checks.ts';
import { loadData, stageOfContent } from '../src/cli/training-data.ts';
import { addTrainingOptions, type TrainingOptions } from '../src/cli/training-options.ts';
import { stageName } from '../src/cli/training-report.ts';
import { recipeOf } from '../src/cli/training-settings.ts';
import { PRESETS } from '../src/config.ts';
import { UserError } from '../src/errors.ts';
import type { OptimizerName } from '../src/nn/optimizer.ts';
import { RECIPES } from '../src/recipes.ts';
import { STAGES } from '../src/stages/stage.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { Exit, printed, runHere } from './support/command.ts';
import { CHATS, DOCUMENTS, PAIRS, TASKS } from './support/tiny.ts';

const root = mkdtempSync(join(tmpdir(), 'my-llm-training-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

function file(name: string, content: string): string {
  const path = join(root, name);
  writeFileSync(path, content);
  return path;
}
const OWN = {
  pretrain: file('text.txt', DOCUMENTS.join('\n<|endoftext|>\n')),
  sft: file('chats.json', JSON.stringify(CHATS.map((messages) => ({ messages })))),
  reward: file('pairs.json', JSON.stringify(PAIRS)),
  rlvf: file('tasks.json', JSON.stringify(TASKS)),
};

const parse = (...argv: string[]): Promise<TrainingOptions> =>
  parseCommand<TrainingOptions>(
    addTrainingOptions(createCommand('train', { zh: '训练', en: 'train' })),
    argv,
  );

describe('the options of a training run', () => {
  it('leave the recipe of the preset as it is, or change what they name', async () => {
    expect(recipeOf(await parse())).toEqual(RECIPES.mini);
    const given = [
      '--pretrain_epochs',
      '7',
      '--rlhf-episodes=40',
      '--rlvf-iterations',
      '3',
      '--batch-size',
      '5',
    ];
    const { pretrain, sft, reward, rlhf, dpo, rlvf, grpo, bestOfN } = RECIPES.nano;
    expect(recipeOf(await parse('--preset', 'nano', ...given, '--lr', '0.5'))).toEqual({
      ...RECIPES.nano,
      pretrain: { ...pretrain, epochs: 7, batchSize: 5, learningRate: 0.5 },
      sft: { ...sft, batchSize: 5, learningRate: 0.5 },
      reward: { ...reward, batchSize: 5, learningRate: 0.5 },
      rlhf: { ...rlhf, episodes: 40, learningRate: 0.5 },
      dpo: { ...dpo, learningRate: 0.5 },
      rlvf: { ...rlvf, iterations: 3, learningRate: 0.5 },
      grpo: { ...grpo, learningRate: 0.5 },
      bestOfN: {
        // 40 responses, 16 prompts of 4 at a time
        rlhf: { ...bestOfN.rlhf, iterations: 1, learningRate: 0.5 },
        rlvf: { ...bestOfN.rlvf, iterations: 3, learningRate: 0.5 },
      },
    });
  });

  it('choose the methods of RLHF and RLVF', async () => {
    expect(recipeOf(await parse())).toMatchObject({ rlhfAlgorithm: 'ppo', rlvfAlgorithm: 'reinforce' });
    const chosen = recipeOf(
      await parse('--rlhf_algorithm', 'dpo', '--rlvf-algorithm=grpo', '--dpo_epochs', '5'),
    );
    expect(chosen).toMatchObject({ rlhfAlgorithm: 'dpo', rlvfAlgorithm: 'grpo', dpo: { epochs: 5 } });
    const { questions, groupSize } = RECIPES.mini.bestOfN.rlhf;
    const episodes = String(3 * questions * groupSize);
    const { bestOfN } = recipeOf(await parse('--rlhf-algorithm', 'best-of-n', '--rlhf-episodes', episodes));
    expect(bestOfN.rlhf.iterations).toBe(3);
    expect(stageName('rlhf', chosen)).toBe('RLHF (DPO)');
    expect(stageName('rlvf', chosen)).toBe('RLVF (GRPO)');
  });

  it('choose the optimizer of the two stages that have a choice; else it is as the recipe says', async () => {
    expect(recipeOf(await parse())).toEqual(RECIPES.mini);
    for (const optimizer of ['adamw', 'muon'] as const) {
      const { pretrain, sft, ...others } = recipeOf(await parse('--optimizer', optimizer));
      expect(pretrain).toEqual({ ...RECIPES.mini.pretrain, optimizer });
      expect(sft).toEqual({ ...RECIPES.mini.sft, optimizer });
      expect({ ...RECIPES.mini, ...others }).toEqual(RECIPES.mini);
    }
  });

  it('skip stages, but not all of them', async () => {
    expect(skippedStages(await parse('--skip-sft', '--skip_rlvf'))).toEqual(new Set(['sft', 'rlvf']));
    const all = await parse(...STAGES.map((stage) => `--skip-${stage}`));
    expect(() => skippedStages(all)).toThrow(/Every stage is skipped/);
  });

  it('must not be for a stage that is skipped', async () => {
    const check = async (...argv: string[]): Promise<void> => {
      const options = await parse(...argv);
      checkContradictions(options, skippedStages(options), loadData(options.data));
    };
    await check('--skip-pretrain', '--sft-epochs', '2', '--data', `sft=${OWN.sft}`);
    // RLHF still asks the questions of the conversations.
    await check('--skip-pretrain', '--skip-sft', '--data', `sft=${OWN.sft}`);
    await expect(check('--skip-rlhf', '--rlhf-episodes', '9')).rejects.toThrow(
      '--rlhf-episodes contradicts --skip-rlhf',
    );
    await expect(check('--rlhf-algorithm', 'dpo', '--rlhf-episodes', '9')).rejects.toThrow(
      '--rlhf-episodes contradicts --rlhf-algorithm dpo',
    );
    await expect(check('--dpo-epochs', '9')).rejects.toThrow(/--dpo-epochs .*add --rlhf-algorithm dpo/);
    await expect(check('--skip-rlvf', '--rlvf-algorithm', 'grpo')).rejects.toThrow(
      '--rlvf-algorithm grpo contradicts --skip-rlvf',
    );
    await expect(check('--skip-rlhf', '--rlhf-algorithm', 'dpo')).rejects.toThrow(
      '--rlhf-algorithm dpo contradicts --skip-rlhf',
    );
    // DPO learns from the pairs themselves, and asks no questions.
    await check('--skip-reward', '--rlhf-algorithm', 'dpo', '--data', OWN.reward);
    await expect(
      check('--skip-pretrain', '--skip-sft', '--rlhf-algorithm', 'dpo', '--data', OWN.sft),
    ).rejects.toThrow(/--data sft=.*chats\.json contradicts --skip-sft/);
    await check('--skip-pretrain', '--optimizer', 'muon');
    await expect(check('--skip-pretrain', '--skip-sft', '--optimizer', 'muon')).rejects.toThrow(
      '--optimizer muon has no effect: it is for pretraining and SFT',
    );
    await expect(check('--skip-reward', '--skip-rlhf', '--data', OWN.reward)).rejects.toThrow(
      /--data reward=.*pairs\.json contradicts --skip-reward/,
    );
  });
});

describe('the data of a training run', () => {
  it("is MyLLM's own unless files are given, by stage or by content", () => {
    const bundled = loadData([]);
    expect(Object.values(bundled).map(({ name, own }) => [name, own])).toEqual([
      ['data/pretrain_data.txt', false],
      ['data/sft_data.json', false],
      ['data/reward_data.json', false],
      ['data/rlvf_data.json', false],
    ]);
    const { pretrain, sft, reward, rlvf } = loadData([OWN.rlvf, `pretrain=${OWN.sft}`]);
    expect([pretrain.name, rlvf.name]).toEqual([OWN.sft, OWN.rlvf]);
    expect([pretrain.own, rlvf.own, sft.own, reward.own]).toEqual([true, true, false, false]);
    expect(() => loadData([OWN.sft, `sft=${OWN.rlvf}`])).toThrow(UserError);
  });

  it.each([
    ['天地玄黄', 'pretrain'],
    ['[1, 2, 3]', 'pretrain'],
    ['{"text": "天地"}', 'pretrain'],
    ['{"prompt": "a", "chosen": "b", "rejected": "c"}', 'reward'],
    [' [{"prompt": "1+1", "expected" : "2", "type": "math"}]', 'rlvf'],
    ['[{"prompt": "a", "response": "b"}]', 'sft'],
    ['{"conversations": []}', 'sft'],
  ])('of %s is told by its fields', (content, stage) => {
    expect(stageOfContent(content)).toBe(stage);
  });
});

describe('the estimate', () => {
  it('grows with the work and counts no stage that is skipped', () => {
    const data = loadData([]);
    const estimate = (recipe = RECIPES.mini, skip = new Set<(typeof STAGES)[number]>()): number =>
      estimateSeconds({ gflops: 500, config: PRESETS.mini, recipe, data, skip });
    const { pretrain } = RECIPES.mini;
    const all = estimate();
    expect(
      estimate({ ...RECIPES.mini, pretrain: { ...pretrain, epochs: 20 * pretrain.epochs } }),
    ).toBeGreaterThan(3 * all);
    const others = new Set(STAGES.filter((stage) => stage !== 'pretrain'));
    const pretrainingWith = (optimizer: OptimizerName): number =>
      estimate({ ...RECIPES.mini, pretrain: { ...pretrain, optimizer } }, others);
    expect(pretrainingWith('muon')).toBeGreaterThan(1.2 * pretrainingWith('adamw'));
    expect(estimate(RECIPES.mini, new Set(STAGES.filter((stage) => stage !== 'rlvf')))).toBeLessThan(all / 2);
  });

  it('measures a speed that a computer can have', async () => {
    const speed = await measureGemm(await createNodeRuntime({ threads: 1 }), 128, 0.01);
    expect(speed).toBeGreaterThan(0.01);
    expect(speed).toBeLessThan(1e6);
  });
});

/** All stages in about two seconds. */
const SHORT = [
  ...['--preset', 'nano', '--threads', '1', '--batch-size', '4'],
  ...['--pretrain-epochs', '2', '--sft-epochs', '1', '--reward-epochs', '1', '--rlhf-episodes', '8'],
  ...['--rlvf-iterations', '1', '--data', ...Object.values(OWN)],
];

describe('npm run train', () => {
  const out = join(root, 'out');

  it('stops at Ctrl-C and goes on where it was', async () => {
    const options = await parse(...SHORT, '--out', out);
    let presses = 0;
    let shown = '';
    const interrupted = printed(
      () => runTraining(options),
      (chunk) => {
        shown += chunk;
        // It arrives twice: from the terminal, and passed on by npm.
        if (/1\/5 Pretrain .*1\/\d/.test(chunk) && presses++ === 0) {
          process.emit('SIGINT');
          process.emit('SIGINT');
        }
      },
    );
    await expect(interrupted).rejects.toThrow(new Exit(130).message);
    expect(presses).toBe(1);
    expect(shown).toMatch(/Saving the progress .*\n[\s\S]*The progress is saved; the same command goes on/);
    expect(process.listeners('SIGINT')).toEqual([]);
    expect(existsSync(join(out, '.progress', 'pretrain.safetensors'))).toBe(true);
  });

  it('trains all stages, shows samples of each and a table', async () => {
    const output = await runHere('train', [...SHORT, '--out', out]);
    expect(output).toMatch(/^Training the nano model: about \S+ on this machine \(1 threads\)/);
    expect(output).toContain('1/5 Pretrain: going on from step 1');
    expect(output).toMatch(/validation bits per byte: \d\.\d{3} → \d\.\d{3}\n {2}水是/);
    expect(output).toMatch(/2\/5 SFT .*\d\/\d · loss \d[\s\S]*\n {2}你好 → /);
    expect(output).toMatch(
      /3\/5 Reward model .*accuracy \d\.\d\d[\s\S]*\n {2,}-?\d\.\d\d {2}我今天心情不好。 → 哦。\n/,
    );
    expect(output).toMatch(/4\/5 RLHF \(PPO\) .*reward -?\d/);
    const table = output.slice(output.indexOf('Stage'));
    expect(
      table
        .split('\n')
        .map((line) => line.slice(0, 4).trim())
        .filter(Boolean),
    ).toEqual(['Stag', '────', ...['1/5', '2/5', '3/5', '4/5', '5/5']]);
    for (const folder of Object.values(STAGE_FOLDERS)) expect(existsSync(join(out, folder))).toBe(true);
  });

  it('trains nothing that is finished, and shows it anew', async () => {
    const output = await runHere('start', [...SHORT, '--out', out]);
    expect(output.match(/\d\/5 .*: finished before\n/g)).toHaveLength(5);
    expect(output).not.toContain('· loss');
    expect(output).toMatch(/held-out pair accuracy +\d+\.\d% +\d+\.\d%/);
  });

  it('says in the table what was skipped', async () => {
    const skip = ['pretrain', 'sft', 'reward', 'rlhf'].map((stage) => `--skip-${stage}`);
    const output = await runHere('train', [
      ...['--preset', 'nano', '--threads', '1', '--rlvf-iterations', '1', '--data', OWN.rlvf],
      ...[...skip, '--out', out],
    ]);
    expect(output.match(/– {2,}– {2,}– {2,}skipped/g)).toHaveLength(4);
  });
});
