/** @file Colours, and text from outside that must not command the terminal. */

/** Where something is shown: a terminal, or a file or pipe, which gets no colours. */
export interface Output {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(chunk: string): unknown;
}

/** Columns of what is not a terminal. */
const PLAIN_COLUMNS = 100;

/** Columns that a line may take. The last of a terminal stays free: some wrap as soon as it is written. */
export function columnsOf({ isTTY, columns }: Output): number {
  return isTTY ? (columns || 80) - 1 : PLAIN_COLUMNS;
}

/** Whether colours are wanted (see no-color.org). */
export function hasColor({ isTTY }: Output): boolean {
  return Boolean(isTTY) && !process.env['NO_COLOR'];
}

const style =
  (on: number, off: number) =>
  (value: string): string =>
    `\u001b[${on}m${value}\u001b[${off}m`;

export const dim = style(2, 22);
export const green = style(32, 39);
export const yellow = style(33, 39);

/** Text that cannot command the terminal: only line breaks and tabs are left of the control characters. */
export function withoutControls(value: string): string {
  return value.replace(/[^\P{Cc}\n\t]/gu, '');
}
