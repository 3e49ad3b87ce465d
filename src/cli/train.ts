/** @file `npm run train`: the five stages, or some of them. */

import { createCommand, parseCommand, runCommand } from './options.ts';
import { runTraining } from './training.ts';
import { addTrainingOptions, type TrainingOptions } from './training-options.ts';

await runCommand(async () => {
  const command = createCommand('train', {
    zh: '训练模型：预训练、监督微调、奖励模型、RLHF、RLVF；中断后再次运行会接着训练。',
    en: 'Train a model: pretraining, SFT, reward model, RLHF, RLVF; run again to go on after an interruption.',
  });
  await runTraining(await parseCommand<TrainingOptions>(addTrainingOptions(command)));
});
