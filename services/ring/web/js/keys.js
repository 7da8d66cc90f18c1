// The ring by keyboard: one sector has the focus and is said aloud.
import { say, pps, num } from './text.js';

export class Keys {
  constructor(page) {
    this.page = page;
    page.ring.element.addEventListener('keydown', (e) => this.key(e));
    page.ring.element.addEventListener('blur', () => { page.ring.focus = null; page.tip.hide(); page.soon(); });
  }

  reset() { this.at = null; if (this.page.ring) this.page.ring.focus = null; }

  key(e) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key];
    if (step) this.move(step);
    else if (e.key === 'Enter' && this.at) this.page.click(this.at);
    else if (e.key === 'Backspace' || e.key === 'Escape') this.page.up();
    else return;
    e.preventDefault();
  }

  /** Moves along the ring that can be entered: servers, interfaces, sources. */
  move(step) {
    const { ring, tip } = this.page;
    const root = this.page.root();
    const kind = root.interface ? 'source' : root.host ? 'interface' : 'host';
    const list = ring.items.filter((s) => s.kind === kind);
    if (!list.length) return;
    const n = this.at ? list.findIndex((s) => s.key === this.at.key) : -1;
    this.at = list[n < 0 ? (step > 0 ? 0 : list.length - 1) : (n + step + list.length) % list.length];
    ring.focus = this.at.kind + this.at.key;
    const { x, y } = ring.centreOf(this.at);
    tip.show(this.at, x, y);
    say(`${this.at.label}: ${this.at.stale ? 'stale' : pps(this.at.pps)}${this.at.dropped > 0 ? ', ' + num(this.at.dropped) + ' dropped' : ''}`);
    this.page.soon();
  }
}
