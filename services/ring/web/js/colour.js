// Colours by received packets per second.

/** The report's scale: grey at 0, then up to each bound, then red. */
export const reportBounds = [700, 1400, 2100];

const palettes = {
  report: ['#8d949c', '#b8cc2e', '#7ed069', '#1f9d45', '#e0302a'],
  // Differs in lightness too, so that it also reads in print and by the colour-blind.
  safe: ['#8d949c', '#cfe3f2', '#7db7dd', '#2b7bba', '#e66100'],
};

export const levelNames = ['idle', 'low', 'middle', 'high', 'red'];

/** Steps of the auto scale: how many times the usual rate. */
const autoSteps = [1.5, 3, 6];
const autoFloor = 20; // packets per second that are never worth a colour

export class Colours {
  constructor() {
    this.scale = 'report';
    this.palette = 'report';
    this.bounds = reportBounds;
  }

  /** The level, 0 to 4, of pps packets per second where baseline is usual (-1: unknown). */
  level(pps, baseline = -1) {
    if (!(pps >= 0.5)) return 0;
    if (this.scale === 'auto' && baseline >= 0) {
      if (pps < autoFloor) return 1;
      const ratio = pps / Math.max(baseline, autoFloor / autoSteps[2]);
      return 1 + autoSteps.filter((s) => ratio > s).length;
    }
    return 1 + this.bounds.filter((b) => pps > b).length;
  }

  of(level) { return palettes[this.palette][level]; }

  /** What the legend says of a scale: [level, text]. */
  legend(scale) {
    if (scale === 'auto') return [[0, '0'], [1, '≤ 1.5 × usual'], [2, '≤ 3 ×'], [3, '≤ 6 ×'], [4, 'above']];
    const [a, b, c] = this.bounds.map((n) => n.toLocaleString('en-GB'));
    const next = (n) => (n + 1).toLocaleString('en-GB');
    return [[0, '0'], [1, `1–${a} pps`], [2, `${next(this.bounds[0])}–${b}`], [3, `${next(this.bounds[1])}–${c}`], [4, 'above']];
  }
}

/** A small canvas with diagonal lines: what was dropped. */
export function hatch(line) {
  const c = document.createElement('canvas');
  c.width = c.height = 8;
  const g = c.getContext('2d');
  g.strokeStyle = line;
  g.lineWidth = 1.5;
  g.beginPath();
  for (const o of [-8, 0, 8]) { g.moveTo(o - 1, 9); g.lineTo(o + 9, -1); }
  g.stroke();
  return c;
}

/** The colour of a class of packets in charts. */
export const classColours = {
  syn: '#d1495b', synack: '#edae49', rst: '#8d5a97', tcp_other: '#2b7bba', udp: '#3aa17e',
  icmp: '#f08a4b', frag_later: '#7a6f5d', other: '#8d949c',
};
export const classes = Object.keys(classColours);
