/** @file Documents to pretrain on: plain text, or JSON and JSONL. */

import { checkText, fieldsOf, type Located, noRecords, parseRecords } from '../records.ts';

/** The line that separates the documents of a plain text file. */
export const DOCUMENT_SEPARATOR = '<|endoftext|>';

const DOCUMENT_SHAPES = '"...", {"text": "..."}, {"title", "author", "paragraphs": ["..."]}';

/** The document of a record. A poem in the form of chinese-poetry has its title, its author and each paragraph on a line. */
function documentOf(at: Located): string {
  if (typeof at.value === 'string') return checkText(at.value, 'text', at);
  const { text, title, author, paragraphs } = fieldsOf(at, DOCUMENT_SHAPES);
  if (text !== undefined || !Array.isArray(paragraphs) || paragraphs.length === 0)
    return checkText(text, 'text', at);
  const heading = Object.entries({ title, author }).filter(
    ([, value]) => value !== undefined && value !== null,
  );
  const lines = paragraphs.map((line, index) => [`paragraphs[${index}]`, line] as const);
  return [...heading, ...lines].map(([field, value]) => checkText(value, field, at)).join('\n');
}

/**
 * Documents to pretrain on: plain text (split at lines that are `<|endoftext|>`, else one document), or, for files
 * named `.json` and `.jsonl`, strings, objects with `text`, or poems with `title`, `author` and `paragraphs`.
 * @param source the file's name, which decides the format and appears in messages
 */
export function parsePretrain(textContent: string, source: string): string[] {
  let documents: string[];
  if (/\.(json|jsonl|ndjson)$/i.test(source)) {
    documents = parseRecords(textContent, source).map(documentOf);
  } else {
    documents = [];
    let lines: string[] = [];
    const finish = (): void => {
      const document = lines.join('\n').replace(/^(?:[^\S\n]*\n)+|\s+$/g, '');
      if (document !== '') documents.push(document);
      lines = [];
    };
    for (const line of textContent.replace(/^\ufeff/, '').split('\n')) {
      if (line.trim() === DOCUMENT_SEPARATOR) finish();
      else lines.push(line);
    }
    finish();
  }
  if (documents.length === 0) throw noRecords(source);
  return documents;
}
