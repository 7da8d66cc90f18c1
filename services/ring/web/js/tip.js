// What the pointer is on: its figures and, for an interface, its sources.
import { counters } from './counters.js';
import { el, get, num, pps, bps, span, fate } from './text.js';

const shown = 12; // sources in the list

export class Tip {
  constructor(element, store, watch) {
    this.element = element;
    this.store = store;
    this.watch = watch; // called with the interface ID that the pointer is on, or null
    this.sector = null;
  }

  /** Shows s beside the point, or hides the tip. */
  show(s, x, y, layer) {
    if (!s) return this.hide();
    const same = this.sector && this.sector.kind + this.sector.key === s.kind + s.key;
    this.sector = s;
    this.layer = layer;
    if (!same) {
      const id = s.i?.id ?? null;
      this.watch(id);
      // Sources that nobody watched until now come by one quick question, and
      // with the stream from then on.
      if (id !== null && !s.i.detail) get('api/detail', { id }).then((d) => this.store.detail(d)).catch(() => {});
      this.fill();
    }
    this.element.hidden = false;
    this.place(x, y);
  }

  hide() {
    if (!this.sector) return;
    this.sector = null;
    this.element.hidden = true;
    this.watch(null);
  }

  place(x, y) {
    const { offsetWidth: w, offsetHeight: h } = this.element;
    this.element.style.left = Math.max(4, x + 16 + w > innerWidth ? x - w - 12 : x + 16) + 'px';
    this.element.style.top = Math.max(4, Math.min(y + 12, innerHeight - h - 6)) + 'px';
  }

  /** Renews what it says; items are the sectors drawn now. */
  renew(items) {
    if (!this.sector) return;
    const id = this.sector.kind + this.sector.key;
    const s = items.find((o) => o.kind + o.key === id);
    if (s) { this.sector = s; this.fill(); }
  }

  fill() {
    const s = this.sector;
    const i = s.kind === 'centre' || s.kind === 'host' ? null : s.i;
    const head = s.kind === 'source' || s.kind === 'part' || s.kind === 'rest' ? `${s.label} → ${i.key}` : s.kind === 'interface' ? i.key : s.label.replace('\n', '/');
    const out = [el('strong', {}, head)];
    if (this.layer) out.push(el('p', {}, `${this.layer.name}: ${pps(s.pps)}${s.dropped > 0 ? ` · ${num(s.dropped)} dropped` : ''}`), i ? layerTable(this.layer, i) : null);
    else out.push(el('p', {}, line(s, i)));
    if (s.kind === 'source') out.push(el('p', {}, sourceLine(s.source, i.info.mode)));
    if (i && s.kind !== 'source') {
      const notes = [`age ${span(i.age)}`, i.stale ? 'stale' : null, i.loss || null, i.info.mode ? 'mode ' + i.info.mode : null].filter(Boolean);
      out.push(el('p', { class: 'quiet' }, notes.join(' · ')));
      if (!this.layer) out.push(sourceTable(i));
    }
    this.element.replaceChildren(...out.filter(Boolean));
  }
}

function line(s, i) {
  const parts = [pps(s.pps)];
  if (s.kind === 'interface') parts.push(bps(i.bps));
  if (s.kind === 'source') parts.push(bps(s.source.bps));
  if (s.dropped > 0) parts.push(`${num(s.dropped)} dropped`);
  if (s.kind === 'interface') parts.push(`${num(i.sources)} sources`);
  return parts.join(' · ');
}

const sourceLine = (s, mode) => `${s.class || 'nothing now'} · ${fate(s, mode)}${s.pairs ? ` · ${s.pairs} port pairs` : ''}`;

function layerTable(layer, i) {
  const list = counters(layer, [i]).slice(1);
  return el('table', {}, el('tbody', {}, list.map((p) => el('tr', {}, el('td', {}, p.name), el('td', { class: 'n' }, pps(p.pps)), el('td', { class: 'n' }, p.bps === undefined ? '' : bps(p.bps)),
    el('td', { class: 'n' }, p.sources === undefined ? '' : `${num(p.sources)} sources`), el('td', { class: 'n' }, p.dropped > 0 ? `${num(p.dropped)} dropped` : '')))));
}

function sourceTable(i) {
  if (!i.detail) return el('p', { class: 'quiet' }, i.stale ? 'no sources while stale' : 'asking for the sources…');
  const list = i.detail.sources.slice(0, shown);
  if (!list.length) return el('p', { class: 'quiet' }, 'no sources');
  const rows = list.map((s) => el('tr', {}, el('td', {}, s.source), el('td', { class: 'n' }, num(s.pps)), el('td', { class: 'n' }, bps(s.bps)), el('td', {}, s.class), el('td', {}, fate(s, i.info.mode))));
  const head = el('tr', {}, ...['Source', 'pps', 'rate', 'class', 'state'].map((h) => el('th', {}, h)));
  const more = i.detail.total > list.length ? el('caption', {}, `${num(i.detail.total - list.length)} more`) : null;
  return el('table', {}, more, el('thead', {}, head), el('tbody', {}, rows));
}
