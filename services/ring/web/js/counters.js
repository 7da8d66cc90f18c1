// What each network layer counts: for the 3D view and its table.

const [SYN, SYNACK, RST, TCP, UDP, ICMP, LATER, OTHER] = [0, 1, 2, 3, 4, 5, 6, 7]; // classes, in the service's order

const rates = (i, ...classes) => classes.reduce((sum, c) => sum + i.classRate(c), 0);

/**
 * The layers, from below. of(i): packets per second of an interface that are the
 * layer's; dropped(i): of these, where that is counted; parts(i): what they are,
 * as {name, pps} and, where it is counted, bps, sources and dropped, and label if
 * the name is long; more(i): the same packets, told apart otherwise.
 */
export const layers = [
  {
    name: 'Link', whole: 'all frames',
    of: (i) => i.pps + i.nonIP + i.malformed,
    dropped: (i) => i.dropped,
    parts: (i) => [{ name: 'IP', pps: i.pps, bps: i.bps, dropped: i.dropped }, { name: 'not IP', pps: i.nonIP }, { name: 'malformed', pps: i.malformed }],
  },
  {
    name: 'Network', whole: 'all IP packets',
    of: (i) => i.pps,
    dropped: (i) => i.dropped,
    parts: (i) => [
      { name: 'TCP', pps: rates(i, SYN, SYNACK, RST, TCP) }, { name: 'UDP', pps: rates(i, UDP) }, { name: 'ICMP', pps: rates(i, ICMP) },
      { name: 'later fragments', pps: rates(i, LATER) }, { name: 'other IP', pps: rates(i, OTHER) },
    ],
    more: (i) => named(i.detail?.destinations, i.pps, (d) => ({ name: 'to ' + d.destination }), 'destination not counted'),
  },
  {
    name: 'Transport', whole: 'TCP and UDP',
    of: (i) => rates(i, SYN, SYNACK, RST, TCP, UDP),
    parts: (i) => [['SYN', SYN], ['SYN-ACK', SYNACK], ['RST', RST], ['other TCP', TCP], ['UDP', UDP]].map(([name, c]) => ({ name, pps: i.classRate(c) })),
  },
  {
    // Counted by port are a SYN (where it goes), a SYN-ACK and UDP (where they
    // come from): what else a connection sends is not.
    name: 'Application port', whole: 'SYN, SYN-ACK, UDP',
    of: (i) => rates(i, SYN, SYNACK, UDP),
    parts: (i) => named(i.detail?.ports, rates(i, SYN, SYNACK, UDP), port, i.detail ? 'other ports' : 'ports'),
  },
];

function port(p) {
  const label = `${p.protocol || p.class} ${p.port ?? 0}`;
  return { name: (p.class === 'syn' ? 'to ' : 'from ') + label, label };
}

/** Targets by name, and what is left of the whole. */
function named(targets, whole, name, rest) {
  const out = (targets ?? []).filter((t) => t.pps > 0).map((t) => ({ ...name(t), pps: t.pps, bps: t.bps, sources: t.sources, dropped: t.dropped }));
  const left = whole - out.reduce((sum, p) => sum + p.pps, 0);
  if (left >= 1) out.push({ name: rest, pps: left });
  return out;
}

const addable = ['pps', 'bps', 'dropped'];

/** The counters of a layer over several interfaces, the whole first; sources, of
 * which nobody knows how many are the same, are those of the interface with most. */
export function counters(layer, list) {
  const parts = new Map(), more = new Map();
  const whole = { name: layer.whole, pps: 0, dropped: layer.dropped && 0 };
  for (const i of list) {
    if (i.stale) continue;
    whole.pps += layer.of(i);
    if (layer.dropped) whole.dropped += layer.dropped(i);
    for (const p of layer.parts(i)) add(parts, p);
    for (const p of layer.more?.(i) ?? []) add(more, p);
  }
  const heaviest = (m) => [...m.values()].filter((p) => p.pps > 0).sort((a, b) => b.pps - a.pps).slice(0, 8);
  return [whole, ...heaviest(parts), ...heaviest(more)];
}

function add(m, p) {
  const sum = m.get(p.name);
  if (!sum) { m.set(p.name, { ...p }); return; }
  for (const k of addable) if (p[k] !== undefined) sum[k] = (sum[k] ?? 0) + p[k];
  if (p.sources !== undefined) sum.sources = Math.max(sum.sources ?? 0, p.sources);
}
