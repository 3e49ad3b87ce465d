/** @file Text from outside, made harmless for HTML and Markdown: a model may write anything. */

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Control characters that HTML does not allow, shown as `\u{7}`; tab and line feed stay. */
function showControls(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]/gu, (each) => `\\u{${each.codePointAt(0)!.toString(16).toUpperCase()}}`);
}

/** Text for the content of an element or for an attribute in quotes. */
export function escapeHtml(text: string): string {
  return showControls(text).replace(/[&<>"']/g, (each) => ENTITIES[each]);
}

/** Text that Markdown takes literally, on one line. */
export function escapeMarkdown(text: string): string {
  return showControls(text)
    .replace(/[&<>]/g, (each) => ENTITIES[each])
    .replace(/[\\`*_~[\]|#]/g, '\\$&')
    .replace(/\n/g, '<br>');
}
