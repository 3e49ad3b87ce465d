/**
 * @file The data files that people have, in the shapes that are common in the field, as records of each stage.
 *
 * Text comes in, records come out; nothing is guessed. What cannot be understood ends in one sentence that names the
 * file, the record (its line in JSONL, its number in an array), the field and the fix.
 */

export { parseConversations } from './formats/conversations.ts';
export { DOCUMENT_SEPARATOR, parsePretrain } from './formats/documents.ts';
export { parseMessages, parsePrompt, withSystem } from './formats/messages.ts';
export { type PreferencePair, parsePreferences } from './formats/preferences.ts';
export { parseTasks, type Task } from './formats/tasks.ts';
