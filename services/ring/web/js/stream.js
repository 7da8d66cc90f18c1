// The connection to the service: server-sent events, tried again for ever, with
// what is known about it said meanwhile.

import { span } from './text.js';

const restAfter = 60_000; // ms out of sight
const silence = 3_000; // ms without a word after which the service is called lost

export class Stream {
  /** onState(state, text) is told how the connection is; onBreak() that it broke:
   * perhaps the service wants another login. */
  constructor(store, onState, onBreak) {
    this.store = store;
    this.onState = onState;
    this.onBreak = onBreak;
    this.stopped = false;
    this.id = null;
    this.watched = '';
    this.heard = 0;
    this.delay = 250;
    this.timer = setInterval(() => this.check(), 500);
    this.restAfter = restAfter;
    document.addEventListener('visibilitychange', () => this.rest());
    this.open();
  }

  /** Ends while nobody looks: a browser has six connections to a service, and a
   * seventh tab would wait for one for ever. */
  rest() {
    clearTimeout(this.resting);
    if (document.hidden) this.resting = setTimeout(() => { if (!this.stopped) { this.rested = true; this.stop(); } }, this.restAfter);
    else if (this.rested) this.open();
  }

  /** Ends it until the next open. */
  stop() {
    this.stopped = true;
    this.id = null;
    clearTimeout(this.retry);
    this.source?.close();
    this.state();
  }

  open() {
    this.source?.close();
    this.stopped = this.rested = false;
    const s = this.source = new EventSource('api/stream');
    this.opened = performance.now();
    const on = (name, fn) => s.addEventListener(name, (e) => {
      this.heard = performance.now();
      this.delay = 250;
      fn(JSON.parse(e.data));
      this.state();
    });
    on('hello', (d) => { this.id = d.stream; const w = this.watched; this.watched = ''; this.watch(w); });
    on('snapshot', (d) => { this.store.events = []; this.store.snapshot(d); });
    on('delta', (d) => this.store.delta(d));
    on('detail', (d) => this.store.detail(d));
    on('leases', (d) => this.store.setLeases(d));
    on('attacks', (d) => this.store.setAttacks(d));
    on('events', (d) => this.store.addEvents(d));
    on('link', (d) => this.store.setLink(d));
    s.addEventListener('error', () => {
      this.id = null;
      // EventSource tries again by itself after a break, but gives up on a
      // refusal; one way for both.
      s.close();
      this.again();
      this.onBreak();
    });
  }

  again() {
    this.state();
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.open(), this.delay);
    this.delay = Math.min(this.delay * 2, 5_000);
  }

  /** A connection that says nothing (a black hole) is as bad as none. */
  check() {
    if (this.stopped) return;
    const quiet = performance.now() - Math.max(this.heard, this.opened);
    if (this.source?.readyState !== EventSource.CLOSED && quiet > silence) {
      this.id = null;
      this.source.close();
      this.again();
    }
    this.state();
  }

  get lost() { return !this.heard || performance.now() - this.heard > silence || this.source?.readyState !== EventSource.OPEN; }

  state() {
    const { link } = this.store;
    if (this.rested) this.onState('lost', 'Resting while nobody looks.');
    else if (this.stopped) this.onState('lost', 'Not logged in. What you see is old.');
    else if (this.lost) this.onState('lost', 'No connection to the service, trying again. What you see is old.');
    else if (!link.up) this.onState('down', 'The service has lost the brokers, trying again' + (link.reason ? ': ' + link.reason : '') + '. What you see is old.');
    else if (!link.caught_up) this.onState('catching', 'Reading what the topics hold…' + (link.reason ? ' ' + link.reason : ''));
    else this.onState('live', 'Live' + clocks(link.clock_behind_ms));
  }

  /** Asks for the sources of interfaces, by comma-joined IDs. */
  watch(ids) {
    if (ids === this.watched) return;
    this.watched = ids;
    if (!this.id) return;
    fetch('api/watch?' + new URLSearchParams({ stream: this.id, ids })).catch(() => {});
  }
}

const clocks = (behind) => (behind ? `, but the brokers' clock is ${span(Math.abs(behind))} ${behind > 0 ? 'behind' : 'ahead of'} the service's` : '');
