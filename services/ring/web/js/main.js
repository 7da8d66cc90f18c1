// The wiring: one store, one stream, the views, and where the person is.
import { Store } from './store.js';
import { Stream } from './stream.js';
import { Colours } from './colour.js';
import { Ring } from './ring.js';
import { Stack, canStack } from './layers.js';
import { sectors, worthDetail } from './layout.js';
import { Tip } from './tip.js';
import { Charts } from './charts.js';
import { Tables } from './tables.js';
import { Dialogs } from './act.js';
import { Search } from './search.js';
import { Keys } from './keys.js';
import { el, num, pps, bps, span, fate, say } from './text.js';

const $ = (id) => document.getElementById(id);
const saved = (name, otherwise) => { try { return localStorage.getItem('weir.' + name) ?? otherwise; } catch { return otherwise; } };
const save = (name, value) => { try { localStorage.setItem('weir.' + name, value); } catch { /* private mode */ } };

const watched = 48; // interfaces whose sources are drawn

class Page {
  constructor() {
    this.node = fromHash();
    this.store = new Store();
    this.colours = new Colours();
    this.dialogs = new Dialogs($('dialog'), this.store);
    this.hovered = null;
    const on = { hover: (s, e, layer) => this.hover(s, e, layer), click: (s) => this.click(s) };
    this.ring = new Ring($('ring'), this.colours, on);
    this.on = on;
    this.tip = new Tip($('tip'), this.store, (id) => { this.hovered = id; this.watch(); });
    this.charts = new Charts($('pps'), $('bps'), this.store);
    this.tables = new Tables(this.store, this.colours, { go: (n) => this.go(n), order: (o) => this.dialogs.order(o), why: (n) => this.dialogs.why(n), lease: (k) => this.dialogs.lease(k) }, () => this.dialogs.session.act);
    this.search = new Search($('search'), (n) => this.go(n));
    this.keys = new Keys(this);
    this.options();
    for (const what of ['shape', 'rates', 'detail']) this.store.addEventListener(what, () => this.soon());
    this.store.addEventListener('shape', () => { this.watch(); this.slow(); });
    this.store.addEventListener('attacks', () => this.announce());
    for (const what of ['leases', 'attacks', 'events']) this.store.addEventListener(what, () => this.tables[what]());
    this.dialogs.onSession = (s) => this.session(s);
    addEventListener('hashchange', () => this.moved(fromHash()));
    setInterval(() => this.second(), 1000);
    this.moved(this.node);
    this.dialogs.renew().catch(() => {}).finally(() => this.start());
  }

  start() {
    if (this.stream?.stopped && !this.stream.rested && this.dialogs.session.look) this.stream.open();
    if (this.stream || (!this.dialogs.session.look && this.dialogs.session.login)) return;
    this.charts.enabled = true;
    this.charts.select(this.node);
    this.stream = new Stream(this.store, (state, text) => this.state(state, text), () => this.dialogs.renew().catch(() => {}));
  }

  session(s) {
    if (s.scale?.length === 3) this.colours.bounds = s.scale;
    $('who').replaceChildren(...[
      s.issuer ? el('span', {}, s.issuer) : null,
      s.login && !s.look ? el('button', { type: 'button', id: 'login', onclick: () => this.dialogs.login() }, 'Log in') : null,
      s.csrf && s.login ? el('button', { type: 'button', id: 'logout', onclick: () => this.dialogs.logout() }, 'Log out') : null,
      s.look && !s.act ? el('span', { class: 'quiet' }, 'read-only') : null,
    ].filter(Boolean));
    this.legend();
    if (!s.look) { this.stream?.stop(); if (s.login) this.dialogs.login(); }
    this.start();
    this.slow();
  }

  state(state, text) {
    document.body.dataset.link = state;
    if ($('link').textContent !== text) $('link').textContent = text;
  }

  options() {
    const bind = (id, apply) => {
      const e = $(id), box = e.type === 'checkbox';
      const stored = saved(id, null);
      if (stored !== null) { if (box) e.checked = stored === 'true'; else if ([...e.options].some((o) => o.value === stored)) e.value = stored; }
      const run = () => { const v = box ? e.checked : e.value; save(id, v); apply(v); };
      e.addEventListener('change', run);
      run();
    };
    bind('scale', (v) => { this.colours.scale = v; this.legend(); this.soon(); });
    bind('safe', (v) => { this.colours.palette = v ? 'safe' : 'report'; document.body.dataset.palette = this.colours.palette; this.legend(); this.soon(); });
    bind('size', (v) => { this.size = v; this.soon(); });
    bind('theme', (v) => { if (v) document.documentElement.dataset.theme = v; else delete document.documentElement.dataset.theme; this.retheme(); });
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.retheme());
    $('flat').addEventListener('click', () => this.show('flat'));
    $('layers').addEventListener('click', () => this.show('layers'));
    if (!canStack()) { $('layers').disabled = true; $('layers').title = 'This browser cannot draw in 3D'; }
  }

  retheme() { this.ring.theme(); this.stack?.theme(); this.soon(); this.charts.draw(); }

  show(view) {
    const stacked = view === 'layers' && canStack();
    $('flat').setAttribute('aria-pressed', String(!stacked));
    $('layers').setAttribute('aria-pressed', String(stacked));
    $('ring').hidden = stacked;
    $('stack').hidden = !stacked;
    $('counters').hidden = !stacked;
    if (stacked) this.stack ??= new Stack($('stack'), this.store, this.colours, this.on);
    else { this.stack?.dispose(); this.stack = null; }
    this.tip.hide();
    this.legend();
    this.slow();
    this.soon();
  }

  legend() {
    // What is usual is known of an interface, not of its layers.
    $('legend').replaceChildren(...this.colours.legend(this.stack ? 'report' : this.colours.scale).map(([level, text]) => el('li', {}, el('span', { class: `swatch level-${level}` }), text)),
      el('li', {}, el('span', { class: 'swatch hatched' }), 'dropped'), el('li', {}, el('span', { class: 'swatch stale' }), 'stale'));
  }

  /** The ring's root: a source is looked at within its interface. */
  root() { return { host: this.node.host, interface: this.node.interface }; }

  go(node) {
    const hash = '#/' + [node.host, node.interface, node.source].filter(Boolean).map(encodeURIComponent).join('/');
    if (location.hash === hash) this.moved(node); else location.hash = hash;
  }

  up() { const n = this.node; this.go(n.source ? { host: n.host, interface: n.interface } : n.interface ? { host: n.host } : {}); }

  moved(node) {
    this.node = node;
    this.keys.reset();
    this.tip.hide();
    this.charts.select(node);
    this.crumbs();
    this.soon();
    this.slow();
    this.watch();
  }

  crumbs() {
    const n = this.node;
    const steps = [[{}, 'Fleet'], n.host && [{ host: n.host }, n.host], n.interface && [{ host: n.host, interface: n.interface }, n.interface], n.source && [n, n.source]].filter(Boolean);
    $('crumbs').replaceChildren(el('ol', {}, steps.map(([node, text], k) => el('li', {}, el('button', { type: 'button', class: 'link', 'aria-current': k === steps.length - 1 ? 'page' : null, onclick: () => this.go(node) }, text)))));
    $('nodename').textContent = steps.map((s) => s[1]).join(' › ');
  }

  hover(s, e, layer) {
    clearTimeout(this.leaving);
    if (s) this.tip.show(s, e?.clientX ?? 0, e?.clientY ?? 0, layer);
    else this.leaving = setTimeout(() => this.tip.hide(), 60); // the pointer may be on its way to the next
  }

  click(s) {
    if (s.kind === 'centre') this.up();
    else this.go(s.node);
  }

  /** Draws at the next frame: whatever came until then is one drawing. */
  soon() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      const root = this.root();
      this.facts();
      if (this.stack) {
        this.stack.show(root, this.size);
        if (this.tip.layer) this.tip.renew(this.stack.items(this.tip.layer));
      } else {
        const items = sectors(this.store, root, { size: this.size, arcs: true, maxArcs: root.interface ? 50 : 24 });
        // A server has the colour of its worst interface: red must be seen from afar.
        for (const s of items) if (s.kind === 'host') s.hostColour = this.colours.of(this.worst(s.node.host));
        this.ring.show(items);
        this.tip.renew(items);
      }
    });
  }

  worst(host) { return Math.max(0, ...(this.store.hosts.get(host) ?? []).map((i) => (i.stale ? 0 : this.colours.level(i.pps, i.baseline)))); }

  watch() {
    const ids = new Set(); // the most urgent first
    if (this.hovered !== null) ids.add(this.hovered);
    const own = this.node.interface && this.store.lookup(this.node.host, this.node.interface);
    if (own) ids.add(own.id);
    for (const i of worthDetail(this.store, this.root(), watched)) ids.add(i.id);
    this.stream?.watch([...ids].join(','));
  }

  /** Tells a screen reader of attacks that began since it was told last. */
  announce() {
    const now = this.store.attacks.filter((a) => !a.end);
    const fresh = now.filter((a) => !this.told?.has(a.key));
    if (this.told && fresh.length) say(`Attack: ${fresh.slice(0, 3).map((a) => `${a.vector} at ${a.host}/${a.interface}`).join(', ')}${fresh.length > 3 ? ` and ${fresh.length - 3} more` : ''}`);
    this.told = new Set(now.map((a) => a.key));
  }

  second() {
    this.watch();
    this.charts.tick();
    this.slow();
    this.soon(); // ages go on without news
  }

  /** What may change once a second. */
  slow() {
    this.facts();
    this.tables.contents(this.node);
    if (this.stack) this.tables.counters(this.node);
    this.tables.leases();
    this.tables.attacks();
    this.tables.events();
  }

  facts() {
    const n = this.node;
    const list = this.store.under(n);
    const i = n.interface ? list[0] : null;
    const s = n.source ? i?.detail?.sources.find((o) => o.source === n.source) : null;
    const sum = this.store.sum(list);
    const facts = n.source
      ? [['Received', s ? pps(s.pps) : 'not among the heaviest now'], ['Rate', s ? bps(s.bps) : '–'], ['Dropped', s ? num(s.dropped) + ' pps' : '–'], ['Class', s?.class || '–'], ['State', s ? fate(s, i.info.mode) : '–']]
      : [['Received', pps(sum.pps)], ['Dropped', pps(sum.dropped)], ['Rate', bps(sum.bps)], ['Sources', num(sum.sources)], ['Age', span(sum.age)], ['Lost windows', num(sum.lost)]];
    if (i && !n.source) facts.push(['Declared loss', i.loss || 'none'], ['Mode', i.info.mode || 'unknown'], ['XDP', [i.info.xdp_mode, i.info.xdp_reason].filter(Boolean).join(': ') || 'unknown'], ['Leases', `${num(i.info.leases)} of ${num(i.info.capacity)}`]);
    else if (!n.interface) facts.push(['Interfaces', sum.stale ? `${sum.interfaces}, ${sum.stale} stale` : sum.interfaces]);
    const text = JSON.stringify(facts);
    if (text !== this.factsText) {
      this.factsText = text;
      $('facts').replaceChildren(...facts.flatMap(([k, v]) => [el('dt', {}, k), el('dd', {}, v)]));
    }
    const mark = n.source ? JSON.stringify(n) + this.dialogs.session.act : '';
    if (mark !== this.actionsMark) {
      this.actionsMark = mark;
      $('actions').replaceChildren(...(n.source ? [this.tables.sourceButtons(n)] : []));
    }
  }
}

function fromHash() {
  const parts = location.hash.replace(/^#\//, '').split('/').filter(Boolean).map((p) => { try { return decodeURIComponent(p); } catch { return p; } });
  return { host: parts[0], interface: parts[1], source: parts[2] };
}

// For tests and the browser's console; nothing in the page uses it.
window.weir = new Page();
