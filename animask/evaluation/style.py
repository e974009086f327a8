"""The looks of the report: readable on a phone, by day and by night."""

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin-top: 2rem; }
h3 { font-size: 1rem; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
tbody th { text-align: left; }
figure { margin: 0 0 1rem; }
figcaption { font-size: .85rem; }
svg { width: 100%; height: auto; background: var(--soft); border-radius: .4rem; }
svg line { stroke: var(--line); }
svg text { font-size: 11px; fill: currentColor; text-anchor: end; }
ul { padding-left: 1.2rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 0 1rem; }
.key { white-space: nowrap; }
.strip { display: grid; grid-template-columns: 6rem 1fr; align-items: center; gap: .5rem; margin: 0 0 .25rem; }
.strip img { width: 100%; display: block; border-radius: .3rem; order: 1; }
.strip figcaption { overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr)); gap: .5rem; }
.tiles figure { margin: 0; }
.tiles img { width: 100%; display: block; border-radius: .3rem; }
.mask img { image-rendering: pixelated; }
dl { display: grid; grid-template-columns: minmax(5rem, max-content) 1fr; gap: .2rem 1rem; margin: 0 0 .5rem; }
dt { font-weight: 600; overflow-wrap: anywhere; }
dd { margin: 0; overflow-wrap: anywhere; }
.bad { color: #b91c1c; }
@media (max-width: 32rem) {
  th, td { padding: .25rem .3rem; font-size: .8rem; }
  .strip { grid-template-columns: 1fr; gap: 0; }
  dl { grid-template-columns: 1fr; }
  dd { margin: 0 0 .4rem 1rem; }
}
"""
