// The dialogs: login, why, and orders with their confirmation and answer.
import { el, get, post, num, span } from './text.js';

export class Dialogs {
  constructor(element, store) {
    this.element = element;
    this.store = store;
    this.session = { look: false, act: false, csrf: '', login: false };
    this.onSession = () => {};
  }

  open(title, ...children) {
    this.element.replaceChildren(el('h2', { id: 'dialogname' }, title), ...children.filter(Boolean));
    if (!this.element.open) this.element.showModal();
  }

  close() { this.element.close(); }

  async renew() {
    this.session = await get('api/session');
    this.onSession(this.session);
  }

  login() {
    const error = el('p', { role: 'alert' });
    const token = el('input', { type: 'password', name: 'token', autocomplete: 'current-password', required: true });
    // Password managers want a name beside the token.
    const name = el('input', { type: 'text', name: 'username', autocomplete: 'username', value: 'ring', hidden: true });
    const form = el('form', {}, name, el('label', {}, 'Token ', token), error, buttons('Log in', () => this.close()));
    form.addEventListener('submit', async (e) => {
      e.preventDefault();
      try {
        this.session = await post('api/login', { token: token.value });
        this.close();
        this.onSession(this.session);
      } catch (err) { error.textContent = err.message; }
    });
    this.open('Log in', form);
    token.focus();
  }

  async logout() {
    await post('api/logout', {}, this.session.csrf).catch(() => {});
    await this.renew();
  }

  /** What happens to a source, and who decided that. */
  async why(node) {
    this.open(`Why: ${node.source}`, el('p', {}, 'asking…'));
    try {
      const w = await get('api/why', node);
      const first = w.leases[0];
      const what = first ? verdict(first, w.mode) : 'Its packets pass: no lease covers it.';
      this.open(`Why: ${node.source} at ${node.host}/${node.interface}`, el('p', {}, what),
        ...w.leases.map((l, n) => leaseFacts(l, n === 0, this.store.now())), buttons(null, () => this.close()));
    } catch (err) { this.open('Why', el('p', { role: 'alert' }, err.message), buttons(null, () => this.close())); }
  }

  /** Asks for an order's particulars, then for confirmation, and tells the answer. */
  order({ action, key, node }) {
    if (action === 'release') return this.release(key);
    const names = { drop: 'Block', 'rate-limit': 'Rate-limit', allow: 'Allow' };
    const source = el('input', { name: 'source', required: true, value: node.source ?? '', spellcheck: 'false' });
    const targets = [['*', 'everywhere']];
    if (node.host) targets.push([`host:${node.host}`, `server ${node.host}`]);
    if (node.interface) targets.push([`interface:${node.host}/${node.interface}`, `interface ${node.host}/${node.interface}`]);
    const target = el('select', { name: 'target' }, targets.map(([v, t]) => el('option', { value: v }, t)));
    const ttl = el('select', { name: 'ttl' }, ['1m', '10m', '1h', '6h', '24h'].map((t) => el('option', { value: t, selected: t === '10m' }, t)));
    const limit = el('input', { name: 'pps', type: 'number', min: 1, max: 1e9, value: 100, required: true });
    const reason = el('input', { name: 'reason', maxlength: 200, required: true, placeholder: 'for whoever reads it later' });
    const field = (text, input) => el('label', {}, text + ' ', input);
    const form = el('form', {}, field('Source', source), field('Where', target), field('For', ttl), action === 'rate-limit' ? field('Packets per second', limit) : null, field('Reason', reason), buttons('Go on', () => this.close()));
    form.addEventListener('submit', (e) => {
      e.preventDefault();
      const o = { action, source: source.value.trim(), target: target.value, ttl: ttl.value, reason: reason.value };
      if (action === 'rate-limit') o.pps = Number(limit.value);
      const where = target.selectedOptions[0].textContent;
      this.confirm(`${names[action]} ${o.source}`, `${names[action]} ${o.source} ${where} for ${o.ttl}${o.pps ? ` to ${num(o.pps)} pps` : ''}: ${o.reason}`, o);
    });
    this.open(names[action], form);
    reason.focus();
  }

  /** What a lease does, and what may be done about it. */
  lease(key) {
    const l = this.store.leases.leases.find((x) => x.key === key);
    if (!l) return this.open('Lease', el('p', {}, 'It is no longer in force.'), buttons(null, () => this.close()));
    const [host, name] = l.target.startsWith('interface:') ? l.target.slice(10).split('/') : l.target.startsWith('host:') ? [l.target.slice(5)] : [];
    const node = { host, interface: name, source: l.source };
    const button = (action, text) => el('button', { type: 'button', onclick: () => this.order({ action, key, node }) }, text);
    this.open(`Lease: ${l.match || 'mode'}`, leaseFacts(l, false, this.store.now()),
      this.session.act ? el('div', { class: 'buttons' }, ...(l.source ? [button('drop', 'Block'), button('rate-limit', 'Limit'), button('allow', 'Allow')] : []), button('release', 'Release')) : null,
      buttons(null, () => this.close()));
  }

  release(key) {
    const l = this.store.leases.leases.find((x) => x.key === key);
    if (l?.action === 'mode') {
      return this.confirm('Release', `Release the mode ${l.mode} at ${l.target} by ${l.issuer}?`, { action: 'release', key }, 'Each probe goes back to the mode of its own configuration.');
    }
    const foreign = l && l.issuer !== this.session.issuer;
    this.confirm('Release', `Release ${l ? `${l.action} on ${l.match} by ${l.issuer}` : key}?`, { action: 'release', key },
      foreign ? `It is a lease of ${l.issuer}, who may write it again while the reason lasts. To let the source pass for certain, allow it.` : null);
  }

  confirm(title, text, order, warning) {
    const yes = el('button', { type: 'button', class: 'main', id: 'confirm' }, 'Yes, do it');
    yes.addEventListener('click', () => this.send(title, order));
    this.open(title, el('p', { id: 'question' }, text), warning ? el('p', { class: 'warning' }, warning) : null,
      el('div', { class: 'buttons' }, el('button', { type: 'button', onclick: () => this.close() }, 'Cancel'), yes));
    yes.focus();
  }

  async send(title, order) {
    this.open(title, el('p', { role: 'status' }, 'writing, and waiting for the probes…'));
    try {
      const o = await post('api/act', order, this.session.csrf);
      const list = (name, items) => (items.length ? el('p', {}, `${name}: ${items.join(', ')}`) : null);
      this.open(title, el('p', { role: 'status', id: 'outcome' }, o.text), list('Not yet', o.pending), list('Refused', o.refused),
        order.action === 'release' ? null : list('Only counting there, not enforcing', o.observing), el('p', { class: 'quiet' }, `offset ${o.offset} · ${o.key}`), buttons(null, () => this.close()));
    } catch (err) {
      // Without a status there was no answer: the order may have arrived.
      const text = err.status ? err.message : 'No answer came. Whether the order arrived, the leases show.';
      this.open(title, el('p', { role: 'alert', id: 'outcome' }, text), buttons(null, () => this.close()));
      if (err.status === 401) this.renew();
    }
  }
}

function buttons(submit, cancel) {
  return el('div', { class: 'buttons' }, el('button', { type: 'button', onclick: cancel }, submit ? 'Cancel' : 'Close'), submit ? el('button', { type: 'submit', class: 'main' }, submit) : null);
}

function verdict(l, mode) {
  const only = mode && mode !== 'enforce' && l.action !== 'allow' && l.action !== 'observe' ? ` The probe's mode is ${mode}: nothing is dropped there, only counted.` : '';
  const what = { allow: 'Its packets pass: an allow beats everything else.', drop: 'Its packets are dropped.', 'rate-limit': 'Its packets are limited to a rate.', observe: 'Its packets pass and are watched.' }[l.action] ?? l.action;
  return what + only;
}

function leaseFacts(l, effective, now) {
  const e = l.evidence;
  const facts = [
    ['Action', (l.mode ? `mode ${l.mode}` : l.action) + (effective ? ' (in effect)' : '')], ['Match', l.match || '–'], ['Target', l.target], ['Issuer', l.issuer], ['Reason', l.reason || '–'],
    ['Left', l.expires ? span(l.expires - now) : 'for good'], ['Dropped', num(l.packets) + ' packets' + (l.would ? `, would have: ${num(l.would)}` : '')], ['Offset', l.offset],
    e ? ['Rule', `${e.rule}: measured ${num(e.measured)}, limit ${num(e.threshold)}, window ${e.window}`] : null,
    e?.interface ? ['Evidence', `${e.interface}${e.topic ? `, ${e.topic} partition ${e.partition ?? 0} offset ${e.offset ?? 0}` : ''}`] : null,
  ].filter(Boolean);
  return el('dl', { class: 'facts' }, facts.flatMap(([k, v]) => [el('dt', {}, k), el('dd', {}, v)]));
}
