/** @file How a report looks: light, dark and on paper, without any file from elsewhere. */

export const STYLE = `
:root {
  color-scheme: light dark;
  --page: #ffffff; --ink: #1f2328; --faint: #667080; --line: #d9dde3; --head: #f3f5f8;
  --good: #18794e; --good-page: #e2f5ea; --bad: #b42318; --bad-page: #fdebe9;
  --series-0: #2563eb; --series-1: #d9730d; --series-2: #18794e; --series-3: #a21caf;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #15181d; --ink: #e4e7ec; --faint: #9aa4b2; --line: #363c46; --head: #1f242b;
    --good: #6fd8a0; --good-page: #12382a; --bad: #ff9d93; --bad-page: #45201d;
    --series-0: #7fb0ff; --series-1: #f5b062; --series-2: #6fd8a0; --series-3: #e79bf2;
  }
}
* { box-sizing: border-box; }
body {
  max-width: 72rem; margin: 0 auto; padding: 2rem 1.5rem 4rem; background: var(--page); color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif;
}
h1 { margin: 0 0 .5rem; font-size: 1.9rem; line-height: 1.25; }
h2 { margin: 2.6rem 0 .6rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); font-size: 1.3rem; }
p { max-width: 48rem; margin: .6rem 0; }
nav { margin: 1rem 0 0; font-size: .92rem; line-height: 2; }
nav a { margin-right: 1.1rem; color: var(--series-0); text-decoration: none; white-space: nowrap; }
nav a:hover { text-decoration: underline; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .4rem .75rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
td { white-space: pre-line; overflow-wrap: anywhere; min-width: 4.5rem; }
th { background: var(--head); font-weight: 600; white-space: nowrap; }
.number { text-align: right; white-space: pre; font-variant-numeric: tabular-nums; }
.group td { padding-top: 1rem; color: var(--faint); font-weight: 600; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1.4rem 2rem; margin: 1rem 0; }
figure { margin: 0; break-inside: avoid; }
figcaption { font-size: .95rem; font-weight: 600; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--faint); font-size: 12px; font-variant-numeric: tabular-nums; }
.axis { fill: none; stroke: var(--faint); }
.grid { fill: none; stroke: var(--line); }
.raw { fill: none; stroke: currentColor; stroke-opacity: .3; }
.smooth { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; }
.bar { fill: currentColor; }
.interval { fill: none; stroke: var(--ink); stroke-width: 1.3; }
svg .value { fill: var(--ink); }
circle { fill: currentColor; stroke: var(--page); stroke-width: 1.5; }
.series-0 { color: var(--series-0); } .series-1 { color: var(--series-1); }
.series-2 { color: var(--series-2); } .series-3 { color: var(--series-3); }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; margin: 0; padding: 0; list-style: none; font-size: .85rem; }
.legend li::before { content: "●"; margin-right: .35rem; }
.legend span { color: var(--ink); }
.tokens { margin: .8rem 0; padding: .9rem 1rem; border: 1px solid var(--line); border-radius: .4rem; line-height: 2.1; overflow-wrap: anywhere; }
.token { padding: .12rem .25rem; margin: 0 1px; border: 1px solid var(--line); border-radius: .25rem; color: var(--faint); font-size: .88rem; }
.learned { border-color: var(--good); background: var(--good-page); color: var(--good); }
.question { margin: 1.3rem 0 .3rem; break-after: avoid; }
.answers { margin: 0; padding: 0; list-style: none; }
.answers li { display: flex; gap: .8rem; align-items: baseline; margin: .25rem 0; break-inside: avoid; }
.reward { flex: 0 0 4.2rem; padding: 0 .4rem; border-radius: .25rem; text-align: right; font-size: .88rem; font-variant-numeric: tabular-nums; }
.right { background: var(--good-page); color: var(--good); }
.wrong { background: var(--bad-page); color: var(--bad); }
.answer { white-space: pre-line; overflow-wrap: anywhere; }
.faint { color: var(--faint); }
@media print {
  :root {
    --page: #ffffff; --ink: #000000; --faint: #444444; --line: #bbbbbb; --head: #eeeeee;
    --good: #0b5c38; --good-page: #e2f5ea; --bad: #8f1d14; --bad-page: #fdebe9;
    --series-0: #1d4fc4; --series-1: #b45c07; --series-2: #0b5c38; --series-3: #86198f;
  }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  h2 { break-after: avoid; }
  tr { break-inside: avoid; }
  .scroll { overflow: visible; }
  .charts { grid-template-columns: 1fr 1fr; }
}
`;
