"""How the report looks, on screen and on A4 paper, and the notice every report carries."""

from __future__ import annotations

NOTICE = (
    "Research use only. DiffSegLung is not a medical device and its output must not be used for diagnosis, "
    "treatment or any clinical decision. Labels come from a model trained without annotations; review them "
    "on the CT. This report was made on this computer; nothing was uploaded."
)

CSS = """
:root { --ink: #1b232c; --soft: #5d6b7a; --line: #d9e0e7;
  --paper: #ffffff; --panel: #f4f7f9; --accent: #1f6f8b; }
* { box-sizing: border-box; }
body { margin: 0; background: #e9eef2; color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
main { max-width: 1080px; margin: 28px auto; padding: 36px 44px 28px; background: var(--paper);
  border-radius: 10px; box-shadow: 0 2px 24px rgb(27 35 44 / 0.10);
  display: grid; grid-template-columns: 1fr 1fr; gap: 0 36px; }
main > * { grid-column: 1 / -1; }
main > .half { grid-column: auto; min-width: 0; }
header { display: flex; justify-content: space-between; align-items: flex-end; gap: 24px; flex-wrap: wrap; }
.kicker { margin: 0; color: var(--accent); font-weight: 600; letter-spacing: 0.06em; }
h1 { margin: 0; font-size: 30px; line-height: 1.15; letter-spacing: -0.01em; }
h2 { margin: 30px 0 10px; font-size: 18px; padding-bottom: 5px; border-bottom: 2px solid var(--line); }
h3 { margin: 14px 0 6px; font-size: 13.5px; color: var(--soft); font-weight: 600; }
.facts { display: grid; grid-template-columns: auto auto; gap: 1px 12px; margin: 0; font-size: 13px; }
.facts dt { color: var(--soft); } .facts dd { margin: 0; overflow-wrap: anywhere; }
.banner { margin: 16px 0 0; padding: 7px 12px; background: #fff6e0; border-left: 4px solid #e0a526;
  border-radius: 4px; font-size: 13.5px; }
.tiles { display: grid; grid-template-columns: repeat(5, 1fr); gap: 12px; margin: 18px 0; }
.tile { background: var(--panel); border-radius: 8px; padding: 10px 14px; }
.tile span { display: block; color: var(--soft); font-size: 12.5px; }
.tile b { font-size: 24px; letter-spacing: -0.01em; white-space: nowrap; }
.tile small { font-size: 13px; font-weight: 500; color: var(--soft); }
.bar { display: grid; grid-template-columns: 142px 1fr 82px; gap: 12px; align-items: center; margin: 4px 0;
  font-size: 13px; color: var(--soft); }
.bar > div { display: flex; height: 11px; border-radius: 3px; overflow: hidden; background: var(--line); }
.bar.major { margin-top: 9px; color: var(--ink); font-weight: 600; }
.bar.major > div { height: 18px; }
.bar:not(.major) > span { padding-left: 12px; }
.bar i { display: block; height: 100%; }
.bar em { font-style: normal; text-align: right; font-weight: 500; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 18px; padding: 0; margin: 12px 0 0;
  font-size: 13px; }
.legend i, th i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 7px; }
.planes, .montage { display: grid; gap: 6px; background: #101418; padding: 6px; border-radius: 8px; }
.montage { grid-template-columns: repeat(3, 1fr); }
figure { margin: 0; position: relative; }
figure img { display: block; width: 100%; height: auto; border-radius: 4px; }
figcaption { position: absolute; left: 6px; top: 6px; color: #eef3f7; font-size: 11.5px; line-height: 1.3;
  padding: 2px 7px; border-radius: 4px; background: rgb(16 20 24 / 0.68); }
table { width: 100%; border-collapse: collapse; font-size: 13.5px; }
th, td { padding: 5px 7px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child { text-align: left; font-weight: 500; }
thead th { color: var(--soft); font-weight: 600; font-size: 12.5px; vertical-align: bottom;
  white-space: normal; }
tfoot th, tfoot td { font-weight: 600; border-bottom: none; }
thead small { font-weight: 400; }
svg { width: 100%; height: auto; }
svg text { font-size: 12px; fill: var(--soft); } svg line { stroke: #9aa7b4; stroke-width: 1; }
svg line.grid { stroke: var(--line); }
.small { color: var(--soft); font-size: 12.5px; margin: 8px 0 0; }
.origin { display: grid; grid-template-columns: 1fr 1fr 1fr; gap: 0 28px; }
.origin dl { display: grid; grid-template-columns: auto 1fr; gap: 2px 12px; margin: 0; font-size: 12.5px; }
.origin dt { color: var(--soft); } .origin dd { margin: 0; overflow-wrap: anywhere; }
.notes { margin: 0; padding-left: 18px; font-size: 13.5px; }
.notice { margin-top: 28px; padding-top: 12px; border-top: 2px solid var(--line); color: var(--soft);
  font-size: 12.5px; }
@media screen and (max-width: 760px) {
  main { margin: 0; padding: 20px 16px; border-radius: 0; grid-template-columns: 1fr; }
  .tiles { grid-template-columns: 1fr 1fr; } .origin { grid-template-columns: 1fr; }
  section { overflow-x: auto; }
}
@media print {
  @page { size: A4; margin: 11mm; }
  body { background: none; font-size: 11px; }
  main { max-width: none; margin: 0; padding: 0; box-shadow: none; border-radius: 0; gap: 0 20px; }
  section, figure, table, .planes, .notice { break-inside: avoid; }
  h1 { font-size: 22px; } h2 { break-after: avoid; margin: 14px 0 6px; font-size: 14px; }
  h3 { break-after: avoid; margin: 7px 0 4px; font-size: 11px; }
  .facts, .banner, .legend, .bar, .origin dl, .notes, .small, .notice { font-size: 10px; }
  .tiles { margin: 10px 0; gap: 8px; } .tile { padding: 6px 9px; } .tile b { font-size: 17px; }
  .bar { margin: 2px 0; grid-template-columns: 112px 1fr 60px; }
  .bar > div { height: 8px; } .bar.major > div { height: 12px; }
  .planes, .montage { padding: 4px; gap: 4px; } figcaption { font-size: 8.5px; padding: 1px 5px; }
  table { font-size: 9.5px; } thead th { font-size: 9px; } th, td { padding: 2px 3px; }
  .origin { gap: 0 16px; } .notice { margin-top: 14px; }
}
"""
