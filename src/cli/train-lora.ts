/**
 * @file `npm run train-lora`: an adapter for a trained model.
 *
 *     npm run train-lora                                              # the bundled conversations
 *     npm run train-lora -- --data chats.jsonl --lora_r 16 --target_modules c_attn c_proj linear1 linear2
 */

import { dirname, join } from 'node:path';
import { DEFAULT_FOLDER, STAGE_FOLDERS } from '../checkpoint.ts';
import type { SourceText } from '../data/datasets.ts';
import { formatDuration } from '../format-text.ts';
import { type Text, text } from '../i18n.ts';
import { runLora } from '../lora-run.ts';
import { countParameters } from '../nn/parameters.ts';
import { applyLora, mergeLora, TARGET_MODULES, type TargetModule } from '../stages/lora.ts';
import { openRuntime } from './device.ts';
import { addDeviceOption, addThreadsOption } from './device-options.ts';
import { choice, createCommand, integer, number, parseCommand, runCommand } from './options.ts';
import { addFillOption } from './placeholders.ts';
import { addRunOptions, type RunFlags } from './run-options.ts';
import { withProgress } from './stage-progress.ts';
import { loadData, loadOwn } from './training-data.ts';
import { describeEvaluation, print, printSamples } from './training-report.ts';
import { loadWriter } from './writer.ts';

interface Options extends RunFlags {
  readonly baseModel: string;
  readonly loraR: number;
  readonly loraAlpha: number;
  readonly loraDropout: number;
  readonly targetModules: readonly TargetModule[];
  readonly epochs: number;
  readonly lr: number;
  readonly batchSize: number;
  readonly data?: string;
  readonly fill: readonly string[];
  readonly out?: string;
  readonly quantizeBase?: 'int8';
}

async function run(options: Options): Promise<void> {
  const { baseModel: name, loraR: r, loraAlpha: alpha, loraDropout: dropout, seed } = options;
  const base = { ...loadWriter(name, '--base-model'), name };
  const targetModules = TARGET_MODULES.filter((each) => options.targetModules.includes(each));
  const lora = applyLora(base, { r, alpha, dropout, targetModules }, seed);
  const data: SourceText = options.data ? loadOwn([options.data], options.fill)[0] : loadData([]).sft;
  const out = options.out ?? join(dirname(name), 'lora', 'final');
  const runtime = await openRuntime(options);
  printSize(countParameters(lora.weights), countParameters(base.params), options);

  const { epochs, batchSize, lr, quantizeBase, restart = false, saveInterval } = options;
  const settings = { epochs, batchSize, learningRate: lr, quantizeBase: quantizeBase === 'int8' };
  const result = await withProgress('LoRA', (ui) =>
    runLora({ runtime, base, lora, settings, seed, out, data, restart, saveInterval }, ui),
  );
  for (const evaluation of result.evaluations) console.log(`  ${describeEvaluation(evaluation)}`);
  if (result.outcome === 'trained') await printSamples(runtime, mergeLora(base, result.lora));
  print({
    zh: `适配器在 ${out}（用时 ${formatDuration(result.seconds)}）。聊天：npm run inference-lora -- ${out}`,
    en: `The adapter is in ${out} (took ${formatDuration(result.seconds)}). To chat: npm run inference-lora -- ${out}`,
  });
}

/** What is trained, beside what is not. */
function printSize(trainable: number, frozen: number, { baseModel, quantizeBase }: Options): void {
  const total = trainable + frozen;
  const percent = ((100 * trainable) / total).toFixed(2);
  const count = (value: number): string => value.toLocaleString('en-US');
  const bits = quantizeBase ? ' (int8)' : '';
  print({
    zh: `基座 ${baseModel}${bits}：${count(frozen)} 个参数，冻结。适配器：${count(trainable)} 个可训练参数，占全部 ${count(total)} 个的 ${percent}%。`,
    en: `Base ${baseModel}${bits}: ${count(frozen)} parameters, frozen. Adapter: ${count(trainable)} trainable parameters, ${percent}% of all ${count(total)}.`,
  });
}

function createTrainLoraCommand() {
  const command = createCommand('train-lora', {
    zh: '用 LoRA 微调：在冻结的模型旁边训练一个小小的适配器。中断后再次运行会接着训练。',
    en: 'Fine-tune with LoRA: train a small adapter beside a frozen model. Run again to go on after an interruption.',
  });
  const option = <T>(flags: string, description: Text, parse: (value: string) => T, fallback?: T): void => {
    command.option(flags, text(description), parse, fallback as T);
  };
  option(
    '--base-model <dir>',
    { zh: '基座的检查点文件夹', en: 'checkpoint folder of the base' },
    String,
    join(DEFAULT_FOLDER, STAGE_FOLDERS.sft),
  );
  option('--lora-r <n>', { zh: '秩 r', en: 'rank r' }, integer({ min: 1 }), 8);
  option(
    '--lora-alpha <x>',
    { zh: '更新乘以 alpha / r', en: 'the update is multiplied by alpha / r' },
    number({ above: 0 }),
    16,
  );
  option(
    '--lora-dropout <p>',
    {
      zh: '训练时更新看不到的输入所占的比例',
      en: 'share of the input that the update does not see in training',
    },
    number({ min: 0, below: 1 }),
    0.05,
  );
  const parseTarget = choice(TARGET_MODULES);
  command.option(
    '--target-modules <name...>',
    text({
      zh: `要适配的层：${TARGET_MODULES.join('、')}（gate 只在 SwiGLU 模型里有）`,
      en: `layers to adapt: ${TARGET_MODULES.join(', ')} (gate in SwiGLU models only)`,
    }),
    (value: string, previous: readonly TargetModule[]) =>
      previous === DEFAULT_TARGETS ? [parseTarget(value)] : [...previous, parseTarget(value)],
    DEFAULT_TARGETS,
  );
  option('--epochs <n>', { zh: '遍数', en: 'passes over the conversations' }, integer({ min: 1 }), 3);
  option('--lr <x>', { zh: '峰值学习率', en: 'peak learning rate' }, number({ above: 0, max: 1 }), 1e-4);
  option('--batch-size <n>', { zh: '批大小', en: 'batch size' }, integer({ min: 1 }), 4);
  option(
    '--data <file>',
    { zh: '自己的对话；不给时用自带的对话', en: 'your own conversations; without it, the bundled ones' },
    String,
  );
  addFillOption(command);
  option(
    '--out <dir>',
    {
      zh: '适配器的文件夹（默认：基座旁边的 lora/final）',
      en: 'folder for the adapter (default: lora/final beside the base)',
    },
    String,
  );
  option(
    '--quantize-base <type>',
    { zh: '训练时把冻结的线性层压成 int8', en: 'keep the frozen linear layers in int8 while training' },
    choice(['int8']),
  );
  return addDeviceOption(addThreadsOption(addRunOptions(command)));
}

const DEFAULT_TARGETS: readonly TargetModule[] = ['c_attn', 'c_proj'];

await runCommand(async () => {
  await run(await parseCommand<Options>(createTrainLoraCommand()));
});
