/** @file The settings of a run as lines of text: what it was asked for, and what can be compared. */

import { text } from '../i18n.ts';
import type { RunRecord, StageRecord } from './run-record.ts';

/** A setting and its value. */
export type Setting = readonly [name: string, value: string];

/** The shape of the model. */
export function modelSettings({ config, parameters }: RunRecord): Setting[] {
  return [
    [text({ zh: '参数个数', en: 'parameters' }), parameters.toLocaleString('en')],
    ...Object.entries(config).map(([name, value]): Setting => [name, shown(value)]),
  ];
}

/** What a stage was asked for. */
export function stageSettings({ settings = {}, seed }: StageRecord): Setting[] {
  const own = Object.entries(settings).map(([name, value]): Setting => [name, shown(value)]);
  return seed === undefined ? own : [...own, ['seed', shown(seed)]];
}

/** Where a stage was trained, and with what. */
export function circumstances(stage: StageRecord): Setting[] {
  const { machine, preset, device, threads, data } = stage.circumstances ?? {};
  const all: readonly (readonly [name: string, value: unknown])[] = [
    [text({ zh: '规模', en: 'preset' }), preset],
    [text({ zh: '机器', en: 'machine' }), machine],
    [text({ zh: '设备', en: 'device' }), device],
    [text({ zh: '线程', en: 'threads' }), threads],
    [text({ zh: '数据', en: 'data' }), Array.isArray(data) ? data.join(', ') : undefined],
  ];
  return all.flatMap(([name, value]): Setting[] => (value === undefined ? [] : [[name, shown(value)]]));
}

function shown(value: unknown): string {
  return typeof value === 'object' && value !== null ? JSON.stringify(value) : String(value);
}
