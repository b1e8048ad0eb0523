"""The style of a report: light and dark, wide and narrow, on screen and on paper."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f7f8fa; --card: #ffffff; --text: #1c2230; --muted: #5b6475; --line: #dfe3ea;
  --blue: #2f6fde; --soft: #d5e3fb; --green: #16794a; --red: #c4302b; --amber: #9a6200;
  --code: #f1f3f7;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0f1218; --card: #171b23; --text: #e6e9ef; --muted: #9aa4b5; --line: #2b323f;
    --blue: #6ea0f5; --soft: #263a5e; --green: #4cc38a; --red: #ff7b72; --amber: #e3a94c;
    --code: #10141b;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  overflow-wrap: anywhere;
}
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1.25rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.1rem; margin: 0 0 .75rem; }
p { margin: 0 0 .5rem; }
section, header {
  background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 1.25rem; margin: 0 0 1rem;
}
header { border-top: 5px solid var(--muted); }
header.good { border-top-color: var(--green); }
header.bad { border-top-color: var(--red); }
.state { font-weight: 650; }
.good .state, td.good { color: var(--green); }
.bad .state, td.bad { color: var(--red); }
.message { font-size: 1.05rem; }
.muted, caption, figcaption small, .axis { color: var(--muted); }
.next { border-left: 3px solid var(--blue); padding-left: .75rem; margin-top: .75rem; }
pre {
  background: var(--code); border-radius: 6px; padding: .75rem; margin: .75rem 0;
  font: .82rem/1.45 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  white-space: pre-wrap; max-height: 32rem; overflow: auto;
}
dl { margin: 0; }
.numbers {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem 1.25rem;
  margin-top: 1rem;
}
dt { color: var(--muted); font-size: .82rem; }
dd { margin: 0; }
.result { margin-top: 1rem; }
.numbers dd { font-size: 1.15rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.facts { display: grid; grid-template-columns: 11rem 1fr; gap: .35rem 1rem; }
.facts dt { font-size: inherit; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th {
  text-align: left; font-weight: 500; font-size: .82rem; color: var(--muted); white-space: nowrap;
}
th, td {
  padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
}
tr:last-child td { border-bottom: 0; }
.number { text-align: right; white-space: nowrap; }
.time { white-space: nowrap; }
.word { overflow-wrap: normal; }
td.share { width: 22%; min-width: 4rem; vertical-align: middle; }
details { margin-top: .5rem; }
summary { cursor: pointer; color: var(--blue); }
figure { margin: 0 0 1.25rem; }
figure:last-child { margin-bottom: 0; }
figcaption { display: flex; justify-content: space-between; gap: 1rem; margin-bottom: .35rem; }
svg { display: block; width: 100%; overflow: hidden; }
.chart { height: 7.5rem; border-bottom: 1px solid var(--line); border-top: 1px dashed var(--line); }
.bar { height: .9rem; border-radius: 3px; }
td .bar { height: .55rem; }
.bar .back { fill: var(--code); }
.rows { background: var(--code); border-radius: 4px; }
.rows.few { height: 4rem; } .rows.some { height: 10rem; } .rows.many { height: 24rem; }
.axis { display: flex; justify-content: space-between; font-size: .8rem; }
.lane { display: grid; grid-template-columns: 8rem 1fr; gap: .75rem; align-items: center; }
.lane + .lane { margin-top: .25rem; }
.lane span { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; font-size: .88rem; }
.lanes .axis { margin-left: 8.75rem; }
.fill { fill: var(--soft); }
.stroke { fill: none; stroke: var(--blue); stroke-width: 2; vector-effect: non-scaling-stroke; }
.second { fill: none; stroke: var(--green); stroke-width: 2; vector-effect: non-scaling-stroke; }
.edge {
  stroke: var(--muted); stroke-width: 1; stroke-dasharray: 3 3; vector-effect: non-scaling-stroke;
}
.loss { stroke: var(--red); stroke-width: 2; vector-effect: non-scaling-stroke; }
.plain { fill: var(--blue); } .ok { fill: var(--green); } .failed { fill: var(--red); }
.key {
  display: inline-block; width: .75rem; height: .2rem; margin-right: .35rem;
  vertical-align: middle;
}
.key.blue { background: var(--blue); } .key.green { background: var(--green); }
.key.red { background: var(--red); }
footer { color: var(--muted); font-size: .85rem; }
@media (max-width: 36rem) {
  main { padding: .75rem .5rem 2rem; }
  section, header { padding: 1rem .85rem; }
  h1 { font-size: 1.3rem; }
  .facts { grid-template-columns: 1fr; gap: 0; }
  .facts dd { margin-bottom: .5rem; }
  .lane { grid-template-columns: 5.5rem 1fr; gap: .5rem; }
  .lanes .axis { margin-left: 6rem; }
  .wide, .stack thead { display: none; }
  .stack tr { display: block; padding: .35rem 0; border-bottom: 1px solid var(--line); }
  .stack tr:last-child { border-bottom: 0; }
  .stack td { display: inline; padding: 0 .5rem 0 0; border: 0; }
  .stack td:last-child { display: block; }
  figcaption { flex-wrap: wrap; gap: 0 1rem; }
}
@media print {
  body { background: #ffffff; }
  section, header { break-inside: avoid; }
  pre { max-height: none; }
}
"""
