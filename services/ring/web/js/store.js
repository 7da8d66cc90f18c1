// The picture as the browser has it: what the stream said, and how old it is.

const flagStale = 1, flagIncomplete = 2, flagTruncated = 4, flagNoRates = 8;
export const staleAfter = 15_000; // ms, as the service's
const firstClass = 11;

/** One interface. */
class Interface {
  constructor(info) { this.id = info.id; this.info = info; this.row = []; this.at = 0; this.detail = null; }
  get host() { return this.info.host; }
  get name() { return this.info.interface; }
  get key() { return this.info.host + '/' + this.info.interface; }
  get pps() { return this.row[1] ?? 0; }
  get bps() { return this.row[2] ?? 0; }
  get dropped() { return this.row[3] ?? 0; }
  get baseline() { return this.row[4] ?? -1; }
  get sources() { return this.row[5] ?? 0; }
  get lost() { return this.row[8] ?? 0; }
  get nonIP() { return this.row[9] ?? 0; }
  get malformed() { return this.row[10] ?? 0; }
  get flags() { return this.row[7] ?? flagNoRates; }
  classRate(c) { return this.row[firstClass + c] ?? 0; }

  /** Milliseconds since the broker had the last record, -1: there was none. */
  get age() { return this.row[6] >= 0 ? this.row[6] + performance.now() - this.at : -1; }
  get stale() { return (this.flags & (flagStale | flagNoRates)) !== 0 || this.age >= staleAfter; }

  /** What the record says is missing from it, for people; empty: nothing. */
  get loss() {
    const out = [];
    if (this.lost) out.push(`${this.lost} windows lost`);
    if (this.flags & flagNoRates) out.push('no rates yet');
    else if (this.flags & flagIncomplete) out.push('last window incomplete');
    if (this.flags & flagTruncated) out.push('source table full');
    if (this.info.shed) out.push(`${this.info.shed} sources shed`);
    if (this.info.buffered) out.push(`${this.info.buffered} windows waiting`);
    return out.join(', ');
  }
}

export class Store extends EventTarget {
  constructor() {
    super();
    this.interfaces = new Map();
    this.byKey = new Map();
    this.hosts = new Map(); // host → interfaces, both sorted
    this.leases = { total: 0, leases: [] };
    this.attacks = []; // those that go on first, then the newest first
    this.events = [];
    this.link = { up: false, caught_up: false };
    this.version = 0; // counts every change that the ring would show
    this.clockOffset = 0; // the service's clock minus ours, ms
  }

  /** The service's time in Unix milliseconds. */
  now() { return Date.now() + this.clockOffset; }

  lookup(host, name) { return this.byKey.get(host + '/' + name); }

  /** The interfaces of a node: of the fleet, a host, or the one. */
  under(node) {
    if (node.interface) { const i = this.lookup(node.host, node.interface); return i ? [i] : []; }
    if (node.host) return this.hosts.get(node.host) ?? [];
    return [...this.interfaces.values()];
  }

  /** Sums over interfaces, those that are stale left out. */
  sum(list) {
    const s = { pps: 0, bps: 0, dropped: 0, stale: 0, interfaces: list.length, sources: 0, classes: new Array(8).fill(0), lost: 0, age: -1 };
    for (const i of list) {
      s.lost += i.lost;
      s.age = Math.max(s.age, i.age);
      if (i.stale) { s.stale++; continue; }
      s.pps += i.pps; s.bps += i.bps; s.dropped += i.dropped; s.sources += i.sources;
      for (let c = 0; c < 8; c++) s.classes[c] += i.classRate(c);
    }
    return s;
  }

  snapshot(data) {
    const old = this.interfaces;
    this.interfaces = new Map();
    this.byKey = new Map();
    this.delta(data, true);
    for (const [id, i] of this.interfaces) i.detail = old.get(id)?.key === i.key ? old.get(id).detail : null;
    this.changed('shape');
  }

  delta(data, quiet) {
    this.clockOffset = data.now - Date.now();
    let shape = false;
    for (const info of data.info ?? []) {
      const i = this.interfaces.get(info.id);
      if (i) { i.info = info; continue; }
      const fresh = new Interface(info);
      this.interfaces.set(info.id, fresh);
      this.byKey.set(fresh.key, fresh);
      shape = true;
    }
    for (const id of data.gone ?? []) {
      const i = this.interfaces.get(id);
      if (!i) continue;
      this.interfaces.delete(id);
      if (this.byKey.get(i.key) === i) this.byKey.delete(i.key);
      shape = true;
    }
    const at = performance.now();
    for (const row of data.rows ?? []) {
      const i = this.interfaces.get(row[0]);
      if (i) { i.row = row; i.at = at; }
    }
    if (shape) this.order();
    if (!quiet) this.changed(shape ? 'shape' : 'rates');
  }

  order() {
    const collator = new Intl.Collator('en', { numeric: true });
    const hosts = new Map();
    for (const i of this.interfaces.values()) {
      if (!hosts.has(i.host)) hosts.set(i.host, []);
      hosts.get(i.host).push(i);
    }
    for (const list of hosts.values()) list.sort((a, b) => collator.compare(a.name, b.name));
    this.hosts = new Map([...hosts].sort((a, b) => collator.compare(a[0], b[0])));
  }

  detail(data) {
    const i = this.interfaces.get(data.id);
    if (!i) return;
    i.detail = data;
    this.changed('detail');
  }

  setLeases(data) { this.leases = data; this.changed('leases'); }
  setAttacks(data) {
    const byKey = new Map(data.all ? [] : this.attacks.map((a) => [a.key, a]));
    for (const a of data.attacks) byKey.set(a.key, a);
    for (const key of data.gone ?? []) byKey.delete(key);
    this.attacks = [...byKey.values()].sort((a, b) => !!a.end - !!b.end || b.start - a.start || (a.key < b.key ? -1 : 1));
    this.changed('attacks');
  }
  addEvents(list) {
    const last = this.events.at(-1)?.n ?? 0;
    this.events = this.events.concat(list.filter((e) => e.n > last)).slice(-500);
    this.changed('events');
  }
  setLink(link) { this.link = link; this.changed('link'); }

  changed(what) {
    this.version++;
    this.dispatchEvent(new CustomEvent(what));
  }
}
