/** @file The records of a JSON or JSONL file, each with the place where it stands, so that an error can name it. */

import { UserError } from '../errors.ts';
import type { Text } from '../i18n.ts';

/** The fields of a JSON object. */
export type Fields = Record<string, unknown>;

/** A record and where it stands, for messages. */
export interface Located {
  readonly value: unknown;
  readonly place: Text;
}

/** What is wrong at a place, with the fix. */
export function problem({ place }: Pick<Located, 'place'>, zh: string, en: string): UserError {
  return new UserError({ zh: `${place.zh}：${zh}`, en: `${place.en}: ${en}` });
}

/** Whether a JSON value is an object. */
export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The line (from 1) at which parsing `json` failed. */
function lineOfError(error: unknown, json: string): number {
  const position = /position (\d+)/.exec(String(error))?.[1];
  return json.slice(0, position === undefined ? json.length : Number(position)).split('\n').length;
}

function parseLines(content: string, source: string): Located[] {
  const records: Located[] = [];
  for (const [index, line] of content.split('\n').entries()) {
    if (line.trim() === '') continue;
    const place = { zh: `${source} 第 ${index + 1} 行`, en: `${source}, line ${index + 1}` };
    try {
      records.push({ value: JSON.parse(line), place });
    } catch {
      throw problem({ place }, '不是合法的 JSON，请修正这一行', 'this is not valid JSON; correct the line');
    }
  }
  return records;
}

/** Whether the first line that is not blank is a JSON object or array by itself. */
function looksLikeLines(content: string): boolean {
  const lines = content.split('\n').filter((line) => line.trim() !== '');
  try {
    return lines.length > 1 && typeof JSON.parse(lines[0]) === 'object';
  } catch {
    return false;
  }
}

/**
 * The records of a JSON array, a single JSON object, or JSONL. The name decides for `.jsonl` (and `.ndjson`); JSONL
 * under any other name is recognised by its first line.
 */
export function parseRecords(content: string, source: string): Located[] {
  const json = content.replace(/^\ufeff/, '');
  let records: Located[] | undefined;
  if (/\.(jsonl|ndjson)$/i.test(source) && !json.trimStart().startsWith('[')) {
    records = parseLines(json, source);
  } else {
    let whole: unknown;
    try {
      whole = JSON.parse(json);
    } catch (error) {
      if (looksLikeLines(json)) records = parseLines(json, source);
      else if (json.trim() !== '') {
        if (!/\.(json|jsonl|ndjson)$/i.test(source) && !/^\s*[[{"]/.test(json)) throw plainText(source);
        const line = lineOfError(error, json);
        throw new UserError({
          zh: `${source} 不是合法的 JSON（第 ${line} 行附近有错，或文件不完整）；请修正后再试`,
          en: `${source} is not valid JSON (a mistake near line ${line}, or the file is cut short); correct it`,
        });
      }
    }
    if (Array.isArray(whole)) {
      records = whole.map((value, index) => ({
        value,
        place: { zh: `${source} 第 ${index + 1} 条记录`, en: `${source}, record ${index + 1}` },
      }));
    } else if (whole !== undefined) {
      records = [{ value: whole, place: { zh: source, en: source } }];
    }
  }
  if (!records || records.length === 0) throw noRecords(source);
  return records;
}

/** The error of a text where records are needed. */
function plainText(source: string): UserError {
  return new UserError({
    zh: `${source} 是纯文本，不是 JSON；纯文本只能用于预训练（--data pretrain=${source}），这里请给 JSON 或 JSONL 文件`,
    en: `${source} is plain text, not JSON; plain text is for pretraining alone (--data pretrain=${source}), give a JSON or JSONL file here`,
  });
}

/** The error of a file without content. */
export function noRecords(source: string): UserError {
  return new UserError({
    zh: `${source} 中没有任何记录；请给出有内容的数据文件`,
    en: `${source} holds no records; give a data file with content`,
  });
}

/** Half of a surrogate pair: JSON can hold it, text cannot. */
const HALF_CHARACTER = /\p{Surrogate}/u;

/** The text of a field. @throws UserError where it is missing, not a string, empty or not well-formed */
export function checkText(value: unknown, field: string, at: Located): string {
  if (typeof value !== 'string') {
    const found =
      value === undefined ? { zh: '缺失', en: 'missing' } : { zh: '不是字符串', en: 'not a string' };
    throw problem(
      at,
      `字段 ${field} ${found.zh}，请填入一段文字`,
      `the field ${field} is ${found.en}; make it a text`,
    );
  }
  if (value.trim() === '')
    throw problem(at, `字段 ${field} 是空的，请填入内容`, `the field ${field} is empty; fill it in`);
  if (HALF_CHARACTER.test(value)) {
    throw problem(
      at,
      `字段 ${field} 含有半个字符（孤立的 \\ud8xx 转义），请修正或删除它`,
      `the field ${field} holds half a character (a lone \\ud8xx escape); correct or remove it`,
    );
  }
  return value;
}

/** The fields of a record. @throws UserError, with the `shapes` to use, where it is not an object */
export function fieldsOf(at: Located, shapes: string): Fields {
  if (isFields(at.value)) return at.value;
  throw problem(
    at,
    `不是 JSON 对象，请使用这些形式之一：${shapes}`,
    `this is not a JSON object; use one of ${shapes}`,
  );
}
