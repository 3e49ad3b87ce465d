/** @file `npm start`: everything, from raw text to a chat with the model. */

import { chat } from './chat.ts';
import { reportRun } from './final-report.ts';
import { createCommand, parseCommand, runCommand } from './options.ts';
import { runTraining } from './training.ts';
import { addTrainingOptions, type TrainingOptions } from './training-options.ts';

await runCommand(async () => {
  const command = createCommand('start', {
    zh: '训练分词器和全部五个阶段，写出训练报告，然后在终端里和模型聊天。选项与 npm run train 相同。',
    en: 'Train the tokenizer and all five stages, write a report, then chat with the model. Takes the options of npm run train.',
  });
  const options = await parseCommand<TrainingOptions>(addTrainingOptions(command));
  const { last: checkpoint, runtime, data } = await runTraining(options);
  await reportRun({ runtime, out: options.out, data });
  if (checkpoint && process.stdin.isTTY && process.stdout.isTTY)
    await chat({ runtime, checkpoint, folder: options.out });
});
