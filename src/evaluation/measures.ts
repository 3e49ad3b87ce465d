/** @file What is measured of which stage's model, and with which other model it is compared. */

import type { Text } from '../i18n.ts';
import type { StageName } from '../stages/stage.ts';

/** What can be measured. */
export const MEASURES = [
  'text',
  'conversations',
  'preferences',
  'policy',
  'tasks',
  'chainOfThought',
] as const;
export type Measure = (typeof MEASURES)[number];

/** What each stage is for. */
export const PURPOSES: Readonly<Record<StageName, readonly Measure[]>> = {
  pretrain: ['text'],
  sft: ['conversations', 'chainOfThought'],
  reward: ['preferences'],
  rlhf: ['policy'],
  rlvf: ['tasks', 'chainOfThought'],
};

/** What each stage's model can do at all. */
export const ABILITIES: Readonly<Record<StageName, readonly Measure[]>> = {
  pretrain: ['text', 'conversations'],
  sft: ['text', 'conversations', 'policy', 'tasks', 'chainOfThought'],
  reward: ['preferences'],
  rlhf: ['text', 'conversations', 'policy', 'tasks', 'chainOfThought'],
  rlvf: ['text', 'conversations', 'policy', 'tasks', 'chainOfThought'],
};

/** The stage whose model a stage is compared with. */
export const REFERENCES: Partial<Readonly<Record<StageName, StageName>>> = {
  sft: 'pretrain',
  rlhf: 'sft',
  rlvf: 'sft',
};

/** The stages that must be there for a stage's purpose to be measured: what it is compared with, and scored by. */
export const COMPANIONS: Readonly<Record<StageName, readonly StageName[]>> = {
  pretrain: [],
  sft: ['pretrain'],
  reward: [],
  rlhf: ['sft', 'reward'],
  rlvf: ['sft'],
};

/** What is measured, as a heading. */
export const MEASURE_NAMES: Readonly<Record<Measure, Text>> = {
  text: { zh: '留出文本', en: 'held-out text' },
  conversations: { zh: '留出对话和新问法', en: 'held-out conversations and new questions' },
  preferences: { zh: '留出偏好对', en: 'held-out preference pairs' },
  policy: { zh: '对留出提问的回答', en: 'responses to held-out prompts' },
  tasks: { zh: '可验证的留出题目', en: 'held-out questions that a program checks' },
  chainOfThought: {
    zh: '同样的加减法，直接答与先写演算',
    en: 'the same sums, answered at once and with working',
  },
};
