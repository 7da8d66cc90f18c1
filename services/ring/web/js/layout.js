// Turns the picture into sectors: pure functions, no drawing.

const top = -Math.PI / 2;
const minArc = 0.006; // radians below which a source is not worth an arc of its own
const maxArcs = 24; // sources of one interface

/** Radii by what is at the centre, as shares of the ring's radius. */
const radii = {
  fleet: { centre: 0.17, host: [0.19, 0.37], interface: [0.385, 0.7], source: [0.715, 1] },
  host: { centre: 0.22, interface: [0.24, 0.6], source: [0.615, 1] },
  interface: { centre: 0.34, source: [0.36, 1] },
};

/** How wide an interface is, unnormalised. */
const weight = (i, size) => (size === 'pps' ? 1 + Math.sqrt(i.stale ? 0 : i.pps) : 1);

/**
 * The sectors of the ring around root ({}, {host} or {host, interface}).
 * options: size ('equal' | 'pps'), layer (of the 3D view, or null), arcs
 * (whether sources are drawn).
 * A sector: {kind, key, node, a0, a1, r0, r1, i, pps, dropped, stale, baseline, label, …}
 */
export function sectors(store, root, options) {
  const level = root.interface ? 'interface' : root.host ? 'host' : 'fleet';
  const r = radii[level];
  const out = [];
  const list = store.under(root);
  const total = store.sum(list);
  const value = options.layer ? options.layer.of : (i) => i.pps;
  const lost = options.layer ? options.layer.dropped ?? (() => 0) : (i) => i.dropped;
  out.push({ kind: 'centre', key: '', node: root, a0: 0, a1: 2 * Math.PI, r0: 0, r1: r.centre, label: centreLabel(root), pps: options.layer ? over(list, value) : total.pps, dropped: options.layer ? over(list, lost) : total.dropped, stale: list.length > 0 && total.stale === list.length });
  if (level === 'interface') {
    const whole = { node: root, i: list[0], a0: top, a1: top + 2 * Math.PI, pps: list[0] ? value(list[0]) : 0 };
    if (list[0] && options.layer && whole.pps < 0.5) out.push({ kind: 'part', key: list[0].key + '|none', ...whole, r0: r.source[0], r1: r.source[1], dropped: 0, baseline: -1, label: 'none' });
    else if (list[0] && options.layer) pushParts(out, list[0], whole, r.source, options.layer);
    else if (list[0]) pushSources(out, list[0], top, top + 2 * Math.PI, r.source, options);
    return out;
  }
  const groups = level === 'fleet' ? store.hosts : new Map([[root.host, list]]);
  let sum = 0;
  for (const i of list) sum += weight(i, options.size);
  if (!sum) return out;
  let a = top;
  for (const [host, interfaces] of groups) {
    const start = a;
    let rate = 0, dropped = 0, fresh = 0;
    for (const i of interfaces) {
      const width = (2 * Math.PI * weight(i, options.size)) / sum;
      const s = { kind: 'interface', key: i.key, node: { host, interface: i.name }, i, a0: a, a1: a + width, r0: r.interface[0], r1: r.interface[1], pps: value(i), dropped: lost(i), baseline: options.layer ? -1 : i.baseline, stale: i.stale, label: i.name };
      out.push(s);
      if (options.layer) pushParts(out, i, s, r.source, options.layer);
      else if (options.arcs) pushSources(out, i, a, a + width, r.source, options);
      if (!i.stale) { rate += s.pps; dropped += s.dropped; fresh++; }
      a += width;
    }
    if (level === 'fleet') out.push({ kind: 'host', key: host, node: { host }, a0: start, a1: a, r0: r.host[0], r1: r.host[1], pps: rate, dropped, stale: fresh === 0, label: host });
  }
  return out;
}

const over = (list, of) => list.reduce((sum, i) => sum + (i.stale ? 0 : of(i)), 0);

const centreLabel = (root) => (root.interface ? root.host + '\n' + root.interface : root.host ?? 'Fleet');

/** The arcs of one interface's sources: heavy ones by themselves, the rest as one. */
function pushSources(out, i, a0, a1, [r0, r1], options) {
  if (i.stale || !i.detail) return;
  const width = a1 - a0;
  const list = i.detail.sources;
  let sum = 0;
  for (const s of list) sum += s.pps;
  const whole = Math.max(sum, i.pps);
  if (whole < 0.5) return;
  let a = a0, shown = 0;
  for (const s of list) {
    const w = (width * s.pps) / whole;
    if (w < minArc || shown >= (options.maxArcs ?? maxArcs)) break;
    out.push({ kind: 'source', key: i.key + '|' + s.source, node: { host: i.host, interface: i.name, source: s.source }, i, source: s, a0: a, a1: a + w, r0, r1, pps: s.pps, dropped: s.dropped, baseline: -1, label: s.source });
    a += w;
    shown++;
  }
  if (a1 - a > minArc / 2) {
    const rest = Math.max(0, i.sources - shown);
    out.push({ kind: 'rest', key: i.key + '|rest', node: { host: i.host, interface: i.name }, i, a0: a, a1, r0, r1, pps: (whole * (a1 - a)) / width, dropped: 0, baseline: -1, rest, label: rest ? `${rest} more` : 'others' });
  }
}

/** The parts of one interface in one layer of the 3D view. */
function pushParts(out, i, s, [r0, r1], layer) {
  if (i.stale || s.pps < 0.5) return;
  let a = s.a0;
  for (const p of layer.parts(i)) {
    const w = ((s.a1 - s.a0) * p.pps) / s.pps;
    if (w < minArc / 2) continue;
    out.push({ kind: 'part', key: i.key + '|' + p.name, node: s.node, i, a0: a, a1: Math.min(a + w, s.a1), r0, r1, pps: p.pps, dropped: p.dropped ?? 0, baseline: -1, label: p.label ?? p.name });
    a += w;
  }
}

/** The interfaces, at most n, whose sources are drawn around root: the busiest. */
export function worthDetail(store, root, n) {
  const list = store.under(root).filter((i) => !i.stale);
  if (list.length <= n) return list;
  return list.toSorted((a, b) => b.pps - a.pps).slice(0, n).sort((a, b) => a.id - b.id); // a stable order, so that not every second is another question
}
