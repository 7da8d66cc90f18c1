// The last 15 minutes of a node as charts.
import { init } from '../vendor/echarts/echarts.min.js';
import { classColours, classes } from './colour.js';
import { clock, get, short } from './text.js';

const slots = 900;
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class Charts {
  constructor(ppsElement, bpsElement, store) {
    this.store = store;
    this.charts = [ppsElement, bpsElement].map((e) => {
      const chart = init(e, null, { renderer: 'canvas' });
      new ResizeObserver(() => chart.resize()).observe(e);
      return chart;
    });
    this.node = null;
    this.data = null;
    this.tail = [];
    this.asked = 0;
    this.enabled = false; // until the person may look
  }

  /** Shows a node from now on. */
  select(node) {
    this.node = node;
    this.data = null;
    this.tail = [];
    this.load();
  }

  async load() {
    if (!this.enabled) return;
    const asked = ++this.asked;
    const params = {};
    for (const name of ['host', 'interface', 'source']) if (this.node[name]) params[name] = this.node[name];
    try {
      const d = await get('api/history', params);
      if (asked !== this.asked) return;
      this.data = this.node.source ? fromPoints(d) : fromSeconds(d);
      this.loaded = performance.now();
      this.draw();
    } catch { /* the stream says that the service is away */ }
  }

  /** Adds the second that is now; asks again now and then to mend gaps. */
  tick() {
    if (!this.node || document.hidden) return;
    if (!this.data || performance.now() - this.loaded > (this.node.source ? 10_000 : 60_000)) { if (!this.busy) { this.busy = true; this.load().finally(() => { this.busy = false; }); } return; }
    if (this.node.source) return this.sourceTick();
    const list = this.store.under(this.node);
    const sum = this.store.sum(list);
    const live = list.length > sum.stale;
    const second = Math.floor(this.store.now() / 1000) * 1000;
    const { at, pps, bps, dropped, byClass } = this.data;
    if (at.at(-1) >= second) return;
    at.push(second);
    pps.push(live ? sum.pps : null);
    bps.push(live ? sum.bps : null);
    dropped.push(live ? sum.dropped : null);
    byClass.forEach((c, n) => c.push(live ? sum.classes[n] : null));
    if (at.length > slots) for (const c of [at, pps, bps, dropped, ...byClass]) c.shift();
    this.draw();
  }

  /** The service keeps a source's points for every ten seconds: what came since is
   * kept here. */
  sourceTick() {
    const { host, interface: name, source } = this.node;
    const i = this.store.lookup(host, name);
    if (i?.detail && !i.stale) {
      const s = i.detail.sources.find((o) => o.source === source) ?? { pps: 0, bps: 0, dropped: 0, classes: [] };
      this.tail.push({ at: this.store.now(), pps: s.pps, bps: s.bps, dropped: s.dropped, classes: classes.map((c) => s.classes[s.classes.indexOf(c) + 1 || -1] ?? 0) });
    }
    const known = this.data.at.at(-1) ?? 0;
    this.tail = this.tail.filter((t) => t.at > known).slice(-60);
    this.draw();
  }

  /** What is drawn: as the service has it, and what came since. */
  all() {
    if (!this.tail.length) return this.data;
    const { at, pps, bps, dropped, byClass } = this.data;
    const joined = (list, name) => list.concat(this.tail.map((t) => t[name]));
    return { at: joined(at, 'at'), pps: joined(pps, 'pps'), bps: joined(bps, 'bps'), dropped: joined(dropped, 'dropped'), byClass: byClass.map((list, c) => list.concat(this.tail.map((t) => t.classes[c]))) };
  }

  draw() {
    if (!this.data) return;
    const { at, pps, bps, dropped, byClass } = this.all();
    const now = this.store.now();
    // A service that has watched for a minute must not show fourteen empty ones.
    const first = at.find((_, n) => pps[n] !== null) ?? now;
    const axis = { min: Math.max(now - 900_000, Math.min(first, now - 60_000)), max: now };
    const from = Math.max(0, at.indexOf(first));
    // Every second is drawn: the library's sampling takes other seconds of each
    // class, and a stack of those leans.
    const pair = (values) => values.slice(from).map((v, n) => [at[from + n], v]);
    const used = byClass.map((c, n) => [classes[n], c]).filter(([, c]) => c.some((v) => v > 0));
    const area = (name, values) => ({ name, type: 'line', stack: 'all', symbol: 'none', lineStyle: { width: 0.5 }, areaStyle: { opacity: 0.7 }, color: classColours[name] ?? '#2b7bba', data: pair(values) });
    const one = (name, values, color) => ({ name, type: 'line', symbol: 'none', lineStyle: { width: 1.5 }, color, data: pair(values) });
    const received = used.length ? used.map(([n, c]) => area(n, c)) : [one('received', pps, '#2b7bba')];
    const passed = pps.map((v, n) => (v === null ? null : Math.max(0, v - (dropped[n] ?? 0))));
    this.charts[0].setOption(this.option(axis, [...received, one('passed', passed, css('--ink')), { ...one('dropped', dropped, '#e0302a'), lineStyle: { width: 1.5, type: 'dashed' } }]), { replaceMerge: ['series'] });
    this.charts[1].setOption(this.option(axis, [one('bit/s', bps, '#2b7bba')]), { replaceMerge: ['series'] });
  }

  option(axis, series) {
    const quiet = css('--soft'), line = css('--line');
    return {
      animation: false,
      aria: { enabled: false },
      grid: { left: 52, right: 10, top: 24, bottom: 22 },
      legend: { top: 0, left: 0, itemHeight: 8, itemWidth: 12, textStyle: { color: quiet, fontSize: 11 }, show: series.length > 1 },
      tooltip: { trigger: 'axis', renderMode: 'richText', valueFormatter: (v) => short(v) },
      xAxis: { type: 'time', ...axis, splitNumber: 5, axisLabel: { color: quiet, fontSize: 11, hideOverlap: true, formatter: (t) => clock(t).slice(0, axis.max - axis.min < 300_000 ? 8 : 5) }, axisLine: { lineStyle: { color: line } }, splitLine: { show: false } },
      yAxis: { type: 'value', min: 0, minInterval: 1, axisLabel: { color: quiet, fontSize: 11, formatter: short }, splitLine: { lineStyle: { color: line } }, splitNumber: 3 },
      series,
    };
  }
}

function fromSeconds(d) {
  // The second that is now may have no record yet: tick adds it when it has, which
  // it would not if it were there, empty.
  const n = d.pps.findLastIndex((v, k) => v !== null || k < d.pps.length - 2) + 1;
  const cut = (values) => values.slice(0, n);
  return { at: cut(d.pps).map((_, k) => (d.start + k) * 1000), pps: cut(d.pps), bps: cut(d.bps), dropped: cut(d.dropped), byClass: classes.map((c) => cut(d.classes[c])) };
}

function fromPoints(d) {
  return { at: (d.at ?? []).map((s) => s * 1000), pps: d.pps ?? [], bps: d.bps ?? [], dropped: d.dropped ?? [], byClass: classes.map((c) => d.classes?.[c] ?? []) };
}
