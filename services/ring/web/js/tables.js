// The tables: what is inside a node, attacks, leases, events.
import { el, syncRows, num, pps, bps, span, clock, moment, fate } from './text.js';
import { levelNames } from './colour.js';
import { counters, layers } from './counters.js';

const rowLimit = 200;

/** Sets a table's head once and returns its body and its note. */
function parts(section, head) {
  const root = document.getElementById(section);
  const thead = root.querySelector('thead');
  const mark = head.join('|');
  if (thead.dataset.mark !== mark) {
    thead.dataset.mark = mark;
    thead.replaceChildren(el('tr', {}, head.map((h) => el('th', { scope: 'col' }, h))));
    root.querySelector('tbody').replaceChildren();
  }
  return { body: root.querySelector('tbody'), note: root.querySelector('p') };
}

function note(p, text) { if (p.textContent !== text) p.textContent = text; }

const swatch = (level) => el('span', { class: `swatch level-${level}`, title: levelNames[level] });

export class Tables {
  /** on: {go(node), order(order), why(node), lease(key)}; can(): whether the person may act */
  constructor(store, colours, on, can) {
    this.store = store;
    this.colours = colours;
    this.on = on;
    this.can = can;
    document.getElementById('side').addEventListener('click', (e) => this.click(e));
  }

  /** Buttons are found by what they carry, so that rows may be made anew. */
  click(e) {
    const b = e.target.closest('button[data-do]');
    if (!b) return;
    const d = b.dataset;
    const node = { host: d.host || undefined, interface: d.interface || undefined, source: d.source || undefined };
    if (d.do === 'go') this.on.go(node);
    else if (d.do === 'why') this.on.why(node);
    else if (d.do === 'lease') this.on.lease(d.key);
    else this.on.order({ action: d.do, key: d.key, lease: d.lease, node });
  }

  contents(node) {
    document.getElementById('contentsname').textContent = node.interface ? 'Sources' : node.host ? 'Interfaces' : 'Servers';
    if (node.interface) this.sources(this.store.lookup(node.host, node.interface));
    else if (node.host) this.interfaces(this.store.under(node));
    else this.hosts();
  }

  hosts() {
    const { body, note: p } = parts('contents', ['Server', 'Received', 'Dropped', 'Rate', 'Interfaces', 'Age']);
    const list = [...this.store.hosts].map(([host, interfaces]) => {
      const sum = this.store.sum(interfaces);
      const level = Math.max(0, ...interfaces.map((i) => (i.stale ? 0 : this.colours.level(i.pps, i.baseline))));
      return { host, sum, level };
    }).sort((a, b) => b.sum.pps - a.sum.pps);
    syncRows(body, list.slice(0, rowLimit), (h) => h.host, (h) => [
      go({ host: h.host }, h.host, h.level, h.sum.stale === h.sum.interfaces), pps(h.sum.pps), dropped(h.sum.dropped), bps(h.sum.bps),
      h.sum.stale ? `${h.sum.interfaces} (${h.sum.stale} stale)` : h.sum.interfaces, span(h.sum.age)]);
    note(p, list.length > rowLimit ? `${list.length - rowLimit} more, search for them` : list.length ? '' : 'No probe has been heard of yet.');
  }

  interfaces(list) {
    const { body, note: p } = parts('contents', ['Interface', 'Received', 'Dropped', 'Rate', 'Sources', 'Leases', 'Age', 'Loss']);
    const sorted = list.toSorted((a, b) => b.pps - a.pps);
    syncRows(body, sorted.slice(0, rowLimit), (i) => i.key, (i) => [
      go({ host: i.host, interface: i.name }, i.name, i.stale ? 0 : this.colours.level(i.pps, i.baseline), i.stale), pps(i.pps), dropped(i.dropped), bps(i.bps),
      num(i.sources), i.info.leases ?? 0, span(i.age), i.loss || 'none']);
    note(p, sorted.length > rowLimit ? `${sorted.length - rowLimit} more` : '');
  }

  sources(i) {
    const { body, note: p } = parts('contents', ['Source', 'Packets/s', 'Dropped', 'Rate', 'Class', 'State', '']);
    const list = i && !i.stale ? i.detail?.sources ?? [] : [];
    syncRows(body, list, (s) => s.source, (s) => {
      const at = { host: i.host, interface: i.name, source: s.source };
      return [go(at, s.source, this.colours.level(s.pps)), num(s.pps), dropped(s.dropped), bps(s.bps), s.class, fate(s, i.info.mode), this.sourceButtons(at)];
    });
    const more = (i?.detail?.total ?? 0) - list.length;
    note(p, !i ? 'Not known.' : i.stale ? 'Stale: nothing is known of its sources now.' : more > 0 ? `about ${num(more)} more` : '');
  }

  sourceButtons(node) {
    const data = { 'data-host': node.host, 'data-interface': node.interface, 'data-source': node.source };
    const button = (what, text) => el('button', { type: 'button', 'data-do': what, ...data, 'aria-label': `${text} ${node.source}` }, text);
    return el('span', { class: 'buttons' }, button('why', 'Why'), ...(this.can() ? [button('drop', 'Block'), button('rate-limit', 'Limit'), button('allow', 'Allow')] : []));
  }

  /** What each layer counts of a node: the 3D view in words. */
  counters(node) {
    const { body } = parts('counters', ['Layer', 'What', 'Packets/s', 'Rate', 'Sources', 'Dropped']);
    const list = this.store.under(node);
    const rows = layers.toReversed().flatMap((layer) => counters(layer, list).map((c, n) => ({ layer, c, n })));
    syncRows(body, rows, (r) => r.layer.name + '|' + r.n, ({ layer, c, n }) => [
      n ? '' : el('strong', {}, layer.name), n ? el('span', {}, swatch(this.colours.level(c.pps)), c.name) : el('strong', {}, swatch(this.colours.level(c.pps)), c.name),
      num(c.pps), c.bps === undefined ? '' : bps(c.bps), c.sources === undefined ? '' : num(c.sources), c.dropped === undefined ? '' : dropped(c.dropped)]);
  }

  attacks() {
    const { body, note: p } = parts('attacks', ['When', 'Attack', 'Where', 'At its peak', 'Sources', 'Action', 'Dropped']);
    const now = this.store.now(), list = this.store.attacks;
    syncRows(body, list.slice(0, rowLimit), (a) => a.key, (a) => [
      when(a, now), `${a.rule} ${a.vector}`,
      el('span', {}, el('button', { type: 'button', class: 'link', 'data-do': 'go', 'data-host': a.host, 'data-interface': a.interface }, `${a.host}/${a.interface}`), a.destination ? ` → ${a.destination}` : null),
      a.peak_pps ? `${pps(a.peak_pps)}, ${bps(a.peak_bps)}` : '–', num(a.sources),
      `${done(a)}${a.leases > 1 ? `, ${num(a.leases)} leases` : ''}`, a.would ? `${num(a.dropped)} (would: ${num(a.would)})` : num(a.dropped)]);
    note(p, list.length > rowLimit ? `${list.length - rowLimit} more` : list.length ? '' : 'None.');
  }

  leases() {
    const { body, note: p } = parts('leases', ['Match', 'Action', 'Target', 'Issuer', 'Left', 'Dropped', 'Reason', '']);
    const now = this.store.now();
    const list = this.store.leases.leases.filter((l) => !l.expires || l.expires > now);
    syncRows(body, list.slice(0, rowLimit), (l) => l.key, (l) => [
      l.match || 'mode', l.action === 'mode' ? 'mode ' + l.mode : l.action + rate(l.rate), l.target, l.issuer, l.expires ? span(l.expires - now) : 'for good',
      l.would ? `${num(l.packets)} (would: ${num(l.would)})` : num(l.packets), l.reason ?? '', this.leaseButtons(l)]);
    const more = this.store.leases.total - list.length;
    note(p, list.length === 0 ? 'None.' : more > 0 ? `${more} more` : '');
  }

  leaseButtons(l) {
    const button = (what, text) => el('button', { type: 'button', 'data-do': what, 'data-key': l.key, 'aria-label': `${text} ${l.match || 'mode'} by ${l.issuer}` }, text);
    return el('span', { class: 'buttons' }, button('lease', 'Why'), this.can() ? button('release', 'Release') : null);
  }

  events() {
    const { body, note: p } = parts('events', ['When', 'Severity', 'Kind', 'Where', 'What']);
    const list = this.store.events.slice(-100).reverse();
    syncRows(body, list, (e) => String(e.n), (e) => [clock(e.at), el('span', { class: 'severity ' + (['warning', 'error'].includes(e.severity) ? e.severity : 'info') }, e.severity), e.kind, e.where || e.service, e.reason + (e.key ? ` [${e.key}]` : '')]);
    note(p, list.length ? '' : 'None.');
  }
}

/** When an attack was. One that goes on is told of every few seconds while it does
 * anything: silence is said. */
function when(a, now) {
  if (a.end) return `${moment(a.start, now)}–${moment(a.end, now)}, ${span(a.end - a.start)}`;
  const silent = now - a.updated > 60_000 ? el('span', { class: 'quiet' }, `, last news ${span(now - a.updated)} ago`) : null;
  return el('span', {}, el('strong', { class: 'now' }, `now, since ${moment(a.start, now)}`), silent);
}

/** What is done about an attack: where a probe only observes, nothing is. */
const done = (a) => (!a.mode || a.mode === 'enforce' || a.action === 'observe' ? a.action : `would ${a.action}`);

const dropped = (n) => (n > 0 ? el('span', { class: 'hatched' }, num(n)) : '0');
const rate = (r) => (r ? ` ${[r.pps ? num(r.pps) + ' pps' : '', r.bps ? bps(r.bps) : ''].filter(Boolean).join(', ')}` : '');

function go(node, text, level, stale) {
  return el('button', { type: 'button', class: 'link' + (stale ? ' stale' : ''), 'data-do': 'go', 'data-host': node.host, 'data-interface': node.interface, 'data-source': node.source }, swatch(stale ? 0 : level), text, stale ? el('span', { class: 'quiet' }, ' stale') : null);
}
