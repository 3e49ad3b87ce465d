/** @file The language of messages: Chinese or English, chosen once at start, each text written where it is used. */

export type Language = 'zh' | 'en';

/** One message in both languages. */
export interface Text {
  readonly zh: string;
  readonly en: string;
}

let language: Language = 'en';

/** Choose the language of every later message. */
export function setLanguage(next: Language): void {
  language = next;
}

export function getLanguage(): Language {
  return language;
}

/** The language of a POSIX locale name such as `zh_CN.UTF-8`; English where it is unknown. */
export function languageOfLocale(locale: string | undefined): Language {
  return /^zh([-_.]|$)/i.test(locale ?? '') ? 'zh' : 'en';
}

/** The message in the chosen language. */
export function text(message: Text): string {
  return message[language];
}
