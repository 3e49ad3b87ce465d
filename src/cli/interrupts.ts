/** @file Ctrl-C in a long run: the progress is saved between two steps, and the same command goes on from there. */

import { Interrupted } from '../stage-run.ts';
import { print } from './training-report.ts';

/** Whether the person asked to stop. */
export interface Interrupts {
  readonly interrupted: boolean;
}

/**
 * Run until the end or the first Ctrl-C, which `run` is to notice; a second one leaves at once. An interrupted run ends
 * the process with exit code 130.
 *
 * @param end called when the run failed or was interrupted, before anything is printed
 */
export async function untilInterrupted<T>(
  run: (interrupts: Interrupts) => Promise<T>,
  end: () => void,
): Promise<T> {
  let interrupted = false;
  let interruptedAt = 0;
  const onInterrupt = (): void => {
    // One Ctrl-C can arrive twice: from the terminal, and passed on by npm.
    if (interrupted && performance.now() - interruptedAt < 1000) return;
    if (interrupted) process.exit(130);
    interrupted = true;
    interruptedAt = performance.now();
    print({
      zh: '\n正在保存进度……（再按一次 Ctrl-C 立即退出）',
      en: '\nSaving the progress … (Ctrl-C again leaves at once)',
    });
  };
  process.on('SIGINT', onInterrupt);
  process.on('SIGTERM', onInterrupt);
  try {
    return await run({
      get interrupted() {
        return interrupted;
      },
    });
  } catch (error) {
    end();
    if (!(error instanceof Interrupted)) throw error;
    print({
      zh: '进度已保存，再次运行同一命令会接着训练。',
      en: 'The progress is saved; the same command goes on from there.',
    });
    return process.exit(130);
  } finally {
    process.off('SIGINT', onInterrupt);
    process.off('SIGTERM', onInterrupt);
  }
}
