/** @file The settings of a run as lines of text: what it was asked for, and what can be compared. */

import { text } from '../i18n.ts';
import type { FinishedRun, StageRecord } from '../last-run.ts';
import { STAGE_NAMES } from '../stages/stage.ts';

/** A setting and its value. */
export type Setting = readonly [name: string, value: string];

/** The shape of the model. */
export function modelSettings({ config, parameters }: FinishedRun): Setting[] {
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

/** Settings that are no part of the recipe: the seed, and the place where it was trained. */
type LeftOut = 'seed' | 'place';

/** Every setting of a run, under a name that says of which stage it is. */
export function settingsOf(
  run: FinishedRun,
  { without = [] }: { readonly without?: readonly LeftOut[] } = {},
): Map<string, string> {
  const ofStage = (record: StageRecord): Setting[] => {
    const { machine: _, device: __, threads: ___, ...recipe } = record.circumstances ?? {};
    const asked = stageSettings(without.includes('seed') ? { ...record, seed: undefined } : record);
    const kept = without.includes('place') ? { ...record, circumstances: recipe } : record;
    const named = [...asked, ...circumstances(kept)];
    return named.map(([name, value]) => [`${text(STAGE_NAMES[record.stage])}: ${name}`, value]);
  };
  return new Map([...modelSettings(run), ...run.stages.flatMap(ofStage)]);
}

function shown(value: unknown): string {
  return typeof value === 'object' && value !== null ? JSON.stringify(value) : String(value);
}
