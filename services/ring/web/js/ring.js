// Draws sectors with Apache ECharts' custom series on a canvas.
import { init } from '../vendor/echarts/echarts.min.js';
import { hatch } from './colour.js';

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** What of an address fits into so many pixels: its end tells it from others. */
function tail(text, width) {
  const n = Math.floor(width / 6.8); // of 12 px type
  return text.length <= n ? text : n < 5 ? '' : '…' + text.slice(1 - n).replace(/^[.:]/, '');
}

/** Black or white, whichever is read more easily on a colour of the form #rrggbb. */
function inkOn(colour) {
  const light = (n) => { const v = parseInt(colour.slice(n, n + 2), 16) / 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  return 0.2126 * light(1) + 0.7152 * light(3) + 0.0722 * light(5) > 0.19 ? '#111' : '#fff';
}

export class Ring {
  /** on: {hover(sector|null, event), click(sector)} */
  constructor(element, colours, on = {}) {
    this.element = element;
    this.colours = colours;
    this.items = [];
    this.focus = null;
    this.pending = 0;
    this.chart = init(element, null, { renderer: 'canvas' });
    this.theme();
    // Found by angle and radius rather than by the library: a drawing between
    // press and release must not lose a click, and in 3D too.
    element.addEventListener('pointermove', (e) => { const n = this.hit(e); this.mark(n); on.hover?.(this.items[n] ?? null, e); });
    element.addEventListener('pointerleave', () => { this.mark(-1); on.hover?.(null); });
    element.addEventListener('click', (e) => { const s = this.items[this.hit(e)]; if (s) on.click?.(s); });
    this.chart.setOption({
      animation: false,
      series: [{ type: 'custom', coordinateSystem: 'none', renderItem: (params, api) => this.item(this.items[params.dataIndex], api), data: [], silent: true, progressive: 0 }],
    });
    this.observer = new ResizeObserver(() => { this.chart.resize(); this.draw(); });
    this.observer.observe(element);
  }

  theme() {
    this.ink = css('--ink');
    this.paper = css('--paper');
    this.quiet = css('--quiet');
    this.hatched = { image: hatch('rgba(0,0,0,0.7)'), repeat: 'repeat' };
  }

  /** Shows items at the next frame; several calls before that are one. */
  show(items) {
    this.items = items;
    this.pending ||= requestAnimationFrame(() => { this.pending = 0; this.draw(); });
  }

  draw() {
    const w = this.chart.getWidth(), h = this.chart.getHeight();
    this.cx = w / 2;
    this.cy = h / 2;
    this.radius = Math.max(10, Math.min(w, h) / 2 - 6);
    this.chart.setOption({ series: [{ data: this.items.map((s, n) => ({ id: s.kind + s.key, value: n })) }] }, { lazyUpdate: false });
    this.drawn = (this.drawn ?? 0) + 1;
  }

  /** The index of the item that a pointer is on, or -1. */
  hit(e) {
    if (!this.radius) return -1;
    const x = e.offsetX - this.cx, y = e.offsetY - this.cy;
    const r = Math.hypot(x, y) / this.radius;
    let a = Math.atan2(y, x);
    if (a < -Math.PI / 2) a += 2 * Math.PI; // sectors begin at the top
    return this.items.findIndex((s) => r >= s.r0 && r < s.r1 && (s.kind === 'centre' || (a >= s.a0 && a < s.a1)));
  }

  /** Draws the item with the index as the one that the pointer is on. */
  mark(n) {
    if (n === this.marked) return;
    if (this.marked >= 0) this.chart.dispatchAction({ type: 'downplay', seriesIndex: 0, dataIndex: this.marked });
    if (n >= 0) this.chart.dispatchAction({ type: 'highlight', seriesIndex: 0, dataIndex: n });
    this.marked = n;
    this.element.style.cursor = n >= 0 ? 'pointer' : '';
  }

  /** The middle of a sector in page pixels, for tests and the keyboard's tooltip. */
  centreOf(s) {
    const box = this.element.getBoundingClientRect();
    if (s.kind === 'centre') return { x: box.left + this.cx, y: box.top + this.cy };
    const a = (s.a0 + s.a1) / 2, r = this.radius * (s.r0 + s.r1) / 2;
    return { x: box.left + this.cx + r * Math.cos(a), y: box.top + this.cy + r * Math.sin(a) };
  }

  fill(s) {
    if (s.stale) return this.colours.of(0);
    if (s.kind === 'centre') return this.paper;
    if (s.kind === 'host') return s.hostColour ?? this.quiet;
    return this.colours.of(this.colours.level(s.pps, s.baseline));
  }

  item(s, api) {
    if (!s) return null;
    const R = this.radius;
    const full = s.a1 - s.a0 > 2 * Math.PI - 1e-6;
    const shape = (r0, r1) => ({ cx: this.cx, cy: this.cy, r0: r0 * R, r: r1 * R, startAngle: s.a0, endAngle: s.a1, clockwise: true });
    const px = (s.a1 - s.a0) * R * s.r1;
    const focused = this.focus === s.kind + s.key;
    const line = focused ? 3 : px < 3 || full ? 0 : 1;
    const main = {
      type: 'sector', shape: shape(s.r0, s.r1), x: 0, y: 0, rotation: 0,
      style: { fill: this.fill(s), stroke: focused ? this.ink : this.paper, lineWidth: line, opacity: s.stale ? 0.35 : s.kind === 'rest' ? 0.55 : 1 },
      emphasis: { style: { stroke: this.ink, lineWidth: 2 } },
      z2: focused ? 5 : 1,
    };
    if (s.stale && s.kind === 'interface') main.style = { ...main.style, stroke: this.ink, lineDash: [3, 3], lineWidth: px > 4 ? 1 : 0 };
    const children = [main];
    const share = s.pps > 0 && s.dropped > 0 && s.kind !== 'centre' ? Math.min(1, s.dropped / s.pps) : 0;
    if (share > 0) {
      // Dropped beside passed: hatched from the outside in, by its share.
      children.push({ type: 'sector', x: 0, y: 0, rotation: 0, shape: shape(s.r1 - (s.r1 - s.r0) * Math.max(share, 0.08), s.r1), style: { fill: this.hatched }, silent: true, z2: 2 });
    }
    const text = this.label(s, px);
    if (text) children.push(text);
    return children.length === 1 ? main : { type: 'group', children };
  }

  label(s, px) {
    const R = this.radius;
    if (s.kind === 'centre') {
      return { type: 'text', x: this.cx, y: this.cy, silent: true, z2: 6, style: { text: s.label, fill: this.ink, font: `600 ${Math.max(9, Math.min(15, s.r1 * R * 0.5))}px system-ui, sans-serif`, align: 'center', verticalAlign: 'middle', width: s.r1 * R * 1.8, overflow: 'truncate', lineHeight: 19 } };
    }
    const thick = (s.r1 - s.r0) * R;
    if (px < 17 || thick < 26) return null; // would overlap its neighbours
    const mid = (s.a0 + s.a1) / 2;
    // Along the arc where it is long enough, else from the middle outwards. An
    // address is long, and its arc changes: it turns later.
    const address = s.kind === 'source' || s.kind === 'rest';
    const wide = px * ((s.r0 + s.r1) / 2 / s.r1) > (address ? 220 : 70);
    const r = R * (s.r0 + s.r1) / 2;
    let rotation = wide ? -mid - Math.PI / 2 : -mid;
    const n = Math.cos(rotation);
    if (n < -1e-9) rotation += Math.PI; // never upside down
    const text = address && !wide ? tail(s.label, thick - 6) : s.label;
    const cut = text === s.label && { width: (wide ? px * 0.85 : thick) - 6, overflow: 'truncate' };
    return {
      type: 'text', x: this.cx + r * Math.cos(mid), y: this.cy + r * Math.sin(mid), rotation, silent: true, z2: 4,
      style: { text, fill: s.stale ? this.ink : s.dropped > 0 ? '#111' : inkOn(this.fill(s)), ...(s.dropped > 0 && { stroke: 'rgba(255,255,255,0.9)', lineWidth: 3 }), font: '12px system-ui, sans-serif', align: 'center', verticalAlign: 'middle', ...cut },
    };
  }

  dispose() { this.observer.disconnect(); cancelAnimationFrame(this.pending); this.chart.dispose(); }
}
