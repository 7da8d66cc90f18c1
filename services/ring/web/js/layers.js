// The layers in 3D: one ring per network layer, stacked by CSS transforms, so
// that it needs no WebGL. Turned with the mouse or the arrow keys.
import { Ring } from './ring.js';
import { el } from './text.js';
import { sectors } from './layout.js';
import { layers } from './counters.js';

/** Whether the browser can; else the flat view stays. */
export const canStack = () => CSS.supports('transform-style', 'preserve-3d');

/** How the stack is turned at first, in degrees. */
const home = { x: 63, z: -25 };

export class Stack {
  constructor(element, store, colours, on) {
    this.store = store;
    this.colours = colours;
    this.element = element;
    this.x = home.x;
    this.z = home.z;
    this.world = el('div', { class: 'world' });
    this.rings = layers.map((layer, n) => {
      const plane = el('div', { class: 'plane' });
      const holder = el('div', { class: 'level' }, plane);
      this.world.append(holder);
      return { layer, holder, plane, name: el('div', { class: 'planename' }, layer.name), ring: null, n };
    });
    element.replaceChildren(this.world, ...this.rings.map((r) => r.name));
    for (const r of this.rings) {
      r.ring = new Ring(r.plane, colours, { hover: (s, e) => on.hover(s, e, r.layer), click: on.click });
    }
    this.drag();
    this.turn();
  }

  drag() {
    let from = null;
    this.element.addEventListener('pointerdown', (e) => { from = { x: e.clientX, y: e.clientY, ax: this.x, az: this.z }; });
    this.element.addEventListener('pointermove', (e) => {
      if (!from || !(e.buttons & 1)) { from = null; return; }
      this.z = from.az - (e.clientX - from.x) * 0.4;
      this.x = Math.max(0, Math.min(85, from.ax - (e.clientY - from.y) * 0.3));
      this.turn();
    });
    this.element.addEventListener('pointerup', () => { from = null; });
    this.element.addEventListener('keydown', (e) => {
      const step = { ArrowLeft: [0, 6], ArrowRight: [0, -6], ArrowUp: [4, 0], ArrowDown: [-4, 0], Home: [home.x - this.x, home.z - this.z] }[e.key];
      if (!step) return;
      e.preventDefault();
      this.x = Math.max(0, Math.min(85, this.x + step[0]));
      this.z += step[1];
      this.turn();
    });
  }

  turn() {
    this.world.style.transform = `rotateX(${this.x}deg) rotateZ(${this.z}deg)`;
    const h = this.element.clientHeight, gap = h * 0.235, eye = 1500;
    const tilt = (this.x * Math.PI) / 180;
    for (const r of this.rings) {
      const z = (r.n - (this.rings.length - 1) / 2) * gap;
      r.holder.style.transform = `translateZ(${z}px)`;
      // Names stand beside the stack, level with the middle of their ring.
      r.name.style.top = h / 2 - (z * Math.sin(tilt) * eye) / (eye - z * Math.cos(tilt)) + 'px';
    }
  }

  show(root, size) {
    for (const r of this.rings) {
      const items = sectors(this.store, root, { size, layer: r.layer });
      const worst = new Map();
      for (const s of items) if (s.kind === 'interface' && !s.stale) worst.set(s.node.host, Math.max(worst.get(s.node.host) ?? 0, this.colours.level(s.pps)));
      for (const s of items) if (s.kind === 'host') s.hostColour = this.colours.of(worst.get(s.key) ?? 0);
      r.ring.show(items);
    }
  }

  /** The sectors drawn in a layer. */
  items(layer) { return this.rings.find((r) => r.layer === layer)?.ring.items ?? []; }

  theme() { for (const r of this.rings) r.ring.theme(); }

  dispose() { for (const r of this.rings) r.ring.dispose(); this.element.replaceChildren(); }
}
