/** @file The error that a person is meant to read. */

import { type Text, text } from './i18n.ts';

/**
 * A mistake in the input or the options: one sentence that names the file or option and the fix.
 * Commands print the message alone and exit with code 1; any other error is a defect of the program.
 */
export class UserError extends Error {
  constructor(message: Text) {
    super(text(message));
    this.name = 'UserError';
  }
}
