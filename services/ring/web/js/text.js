// Text and elements. Whatever comes from a record becomes a text node or an
// attribute through the DOM, never markup.

/** Makes an element. attrs: properties by attribute name, on* functions are
 * listeners; children: nodes or texts, null is left out. */
export function el(tag, attrs, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attrs ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) e.addEventListener(name.slice(2), value);
    else e.setAttribute(name, value === true ? '' : String(value));
  }
  e.append(...children.flat().filter((c) => c !== null && c !== undefined).map((c) => (c instanceof Node ? c : String(c))));
  return e;
}

const whole = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 0 });

/** A whole number with thousands separators. */
export const num = (n) => whole.format(Math.round(n ?? 0));

/** A number with a unit prefix, three digits. */
export function short(n) {
  const units = ['', 'k', 'M', 'G', 'T', 'P', 'E'];
  let u = 0;
  let v = n ?? 0;
  while (Math.abs(v) >= 999.5 && u < units.length - 1) { v /= 1000; u++; }
  return (u === 0 || v >= 100 ? Math.round(v) : v.toPrecision(3)) + (units[u] ? ' ' + units[u] : '');
}

export const pps = (n) => (n < 10_000 ? num(n) : short(n)) + ' pps';
export const bps = (n) => { const s = short(n); return s + (s.includes(' ') ? '' : ' ') + 'bit/s'; };

/** A duration in milliseconds, for people. */
export function span(ms) {
  if (ms === null || ms < 0 || !Number.isFinite(ms)) return '–';
  const s = ms / 1000;
  if (s < 10) return s.toFixed(1) + ' s';
  if (s < 100) return Math.round(s) + ' s';
  const m = Math.floor(s / 60);
  if (m < 60) return m + ' min ' + Math.floor(s % 60) + ' s';
  return Math.floor(m / 60) + ' h ' + (m % 60) + ' min';
}

/** A moment in Unix milliseconds as local time. */
export const clock = (ms) => (ms ? new Date(ms).toLocaleTimeString('en-GB') : '–');

/** The same with its day, unless that is today (now, in Unix milliseconds). */
export function moment(ms, now) {
  const d = new Date(ms);
  return (d.toDateString() === new Date(now).toDateString() ? '' : d.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' }) + ' ') + clock(ms);
}

/** Makes body's rows those of list, in order. A row that has the same key stays
 * the same element, so that the focus stays in it; cells(item) returns the nodes
 * or texts of its cells, and a cell whose text did not change stays as it is. */
export function syncRows(body, list, keyOf, cells) {
  const old = new Map([...body.children].map((tr) => [tr.dataset.key, tr]));
  list.forEach((item, n) => {
    const key = keyOf(item);
    let tr = old.get(key);
    if (tr) old.delete(key);
    else { tr = document.createElement('tr'); tr.dataset.key = key; }
    if (body.children[n] !== tr) body.insertBefore(tr, body.children[n] ?? null);
    cells(item).forEach((c, k) => {
      let td = tr.children[k];
      if (!td) { td = document.createElement('td'); tr.append(td); }
      const mark = c instanceof Node ? c.outerHTML : String(c ?? '');
      if (td.weirMark === mark) return;
      td.weirMark = mark;
      td.replaceChildren(c instanceof Node ? c : mark);
    });
  });
  for (const tr of old.values()) tr.remove();
}

/** Says text to a screen reader. */
export function say(text) {
  const e = document.getElementById('said');
  if (e.textContent !== text) e.textContent = text;
}

/** Fetches JSON; an error carries what the service said. */
export async function get(path, params) {
  const r = await fetch(path + (params ? '?' + new URLSearchParams(params) : ''), { headers: { Accept: 'application/json' } });
  return body(r);
}

/** Posts JSON. */
export async function post(path, value, csrf) {
  const headers = { 'Content-Type': 'application/json' };
  if (csrf) headers['X-Weir-CSRF'] = csrf;
  return body(await fetch(path, { method: 'POST', headers, body: JSON.stringify(value) }));
}

async function body(r) {
  if (r.status === 204) return null;
  const value = await r.json().catch(() => ({}));
  if (!r.ok) throw Object.assign(new Error(value.error ?? r.statusText), { status: r.status });
  return value;
}

/** What happens to a source's packets, for people: by the lease that covers it,
 * else by what was dropped (a signature covers packets, not a source). Where the
 * probe's mode only observes, a lease says what would be. */
export function fate(s, mode) {
  const stops = s.state === 'drop' || s.state === 'rate-limit';
  if (stops && mode && mode !== 'enforce') return 'would ' + s.state;
  return s.state || (s.dropped > 0 ? (s.dropped * 2 > s.pps ? 'dropped by signature' : 'partly dropped') : 'pass');
}
