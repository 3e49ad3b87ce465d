/** @file One training with live progress, for the commands that have a single stage. */

import { text } from '../i18n.ts';
import type { StageUi } from '../stage-run.ts';
import { untilInterrupted } from './interrupts.ts';
import { createProgress, type Progress } from './progress.ts';
import { print } from './training-report.ts';

/** Train with progress under `name`, or say that this was finished before; exits with code 130 when interrupted. */
export async function withProgress<T extends { readonly outcome: string }>(
  name: string,
  train: (ui: StageUi) => Promise<T>,
): Promise<T> {
  let progress: Progress | undefined;
  const end = (): void => {
    progress?.end();
    progress = undefined;
  };
  const result = await untilInterrupted((interrupts) => {
    const ui: StageUi = {
      starts(at) {
        if (at !== undefined)
          print({ zh: `${name}：从第 ${at} 步接着训练`, en: `${name}: going on from step ${at}` });
      },
      step({ step, total, loss, tokensPerSecond }) {
        // The clock starts when the first step is done: before it, graphs were compiled.
        progress ??= createProgress({ stage: name, total, start: step });
        progress.update({ step, loss, tokensPerSecond });
      },
      note: (message) => (progress ? progress.log(text(message)) : print(message)),
      get interrupted() {
        return interrupts.interrupted;
      },
    };
    return train(ui);
  }, end);
  end();
  if (result.outcome === 'finished before')
    print({ zh: `${name}：之前已完成`, en: `${name}: finished before` });
  return result;
}
