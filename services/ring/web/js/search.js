// The search: names, addresses and prefixes, with the keyboard.
import { el, get } from './text.js';

export class Search {
  constructor(form, go) {
    this.input = form.querySelector('input');
    this.list = form.querySelector('ul');
    this.go = go;
    this.found = [];
    this.chosen = -1;
    this.input.addEventListener('input', () => { clearTimeout(this.timer); this.timer = setTimeout(() => this.ask(), 120); });
    this.input.addEventListener('keydown', (e) => this.key(e));
    this.input.addEventListener('blur', () => setTimeout(() => this.close(), 150));
    form.addEventListener('submit', async (e) => { e.preventDefault(); clearTimeout(this.timer); await this.ask(); this.pick(Math.max(0, this.chosen)); });
  }

  async ask() {
    const q = this.input.value.trim();
    if (!q) return this.close();
    const asked = this.asked = Symbol(q);
    const { found } = await get('api/search', { q }).catch(() => ({ found: [] }));
    if (asked !== this.asked) return;
    this.found = found ?? [];
    this.chosen = -1;
    this.show(q);
  }

  show(q) {
    const items = this.found.map((f, n) => el('li', { role: 'option', id: 'found' + n, 'aria-selected': n === this.chosen, onmousedown: () => this.pick(n) }, text(f)));
    this.list.replaceChildren(...(items.length ? items : [el('li', { class: 'quiet' }, `nothing known of ${q}`)]));
    this.list.hidden = false;
    this.input.setAttribute('aria-expanded', 'true');
    if (this.chosen >= 0) this.input.setAttribute('aria-activedescendant', 'found' + this.chosen);
    else this.input.removeAttribute('aria-activedescendant');
  }

  key(e) {
    if (e.key === 'Escape') return this.close();
    if (e.key !== 'ArrowDown' && e.key !== 'ArrowUp' || !this.found.length) return;
    e.preventDefault();
    this.chosen = (this.chosen + (e.key === 'ArrowDown' ? 1 : -1) + this.found.length) % this.found.length;
    this.show('');
  }

  pick(n) {
    const f = this.found[n];
    if (!f) return;
    this.close();
    this.input.value = '';
    this.go({ host: f.host, interface: f.interface, source: f.source });
  }

  close() {
    this.list.hidden = true;
    this.input.setAttribute('aria-expanded', 'false');
    this.found = [];
  }
}

const text = (f) => (f.kind === 'source' ? `${f.source} at ${f.host}/${f.interface}` : f.kind === 'interface' ? `${f.host}/${f.interface}` : `server ${f.host}`);
