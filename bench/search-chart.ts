/** A picture of curves: recall to the right, queries a second upwards (logarithmic); right and high is good. */

export interface Curve {
  readonly name: string;
  readonly ours: boolean;
  readonly points: readonly { readonly recallAt10: number; readonly queriesPerSecond: number }[];
}

const WIDTH = 960;
const HEIGHT = 600;
const MARGIN = { left: 80, right: 190, top: 70, bottom: 70 };
const OURS = ['#c2410c', '#ea8a3a', '#f3b27a'];
const PEERS = ['#1e5a8a', '#3f8f5f', '#7a4fa3', '#555555'];
const RIGHT = WIDTH - MARGIN.right;
const BOTTOM = HEIGHT - MARGIN.bottom;

/** What no other point of the curve beats in both: more recall at the same speed, or more speed at the same recall. */
export function frontier<T extends Curve['points'][number]>(points: readonly T[]): T[] {
  return [...points]
    .sort((a, b) => b.recallAt10 - a.recallAt10 || b.queriesPerSecond - a.queriesPerSecond)
    .filter((point, at, sorted) => sorted.slice(0, at).every((one) => one.queriesPerSecond < point.queriesPerSecond))
    .reverse();
}

/** @param recallMin where the axis begins; points below it are left out. @returns an SVG document. */
export function drawCurves(title: string, subtitle: string, curves: readonly Curve[], recallMin: number): string {
  const shown = curves.map((curve) => ({
    ...curve,
    points: frontier(curve.points).filter(({ recallAt10 }) => recallAt10 >= recallMin),
  }));
  const rates = shown.flatMap(({ points }) => points.map(({ queriesPerSecond }) => queriesPerSecond));
  const low = Math.log10(Math.min(...rates) / 1.3);
  const high = Math.log10(Math.max(...rates) * 1.3);
  const x = (recall: number): number => MARGIN.left + ((recall - recallMin) / (1 - recallMin)) * (RIGHT - MARGIN.left);
  const y = (rate: number): number => BOTTOM - ((Math.log10(rate) - low) / (high - low)) * (BOTTOM - MARGIN.top);
  const recallTicks = Array.from({ length: 6 }, (_, i) => recallMin + (i / 5) * (1 - recallMin));
  const rateTicks = [1, 2, 5].flatMap((digit) => [1, 2, 3, 4].map((power) => digit * 10 ** power));
  let ours = 0;
  let peers = 0;
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    text(MARGIN.left, 28, title, 'font-size="18" font-weight="bold"'),
    text(MARGIN.left, 48, subtitle, 'fill="#555"'),
    ...recallTicks.flatMap((tick) => [
      gridLine(x(tick), MARGIN.top, x(tick), BOTTOM),
      text(x(tick), BOTTOM + 18, tick.toFixed(2), 'text-anchor="middle" fill="#555"'),
    ]),
    ...rateTicks
      .filter((tick) => Math.log10(tick) >= low && Math.log10(tick) <= high)
      .flatMap((tick) => [
        gridLine(MARGIN.left, y(tick), RIGHT, y(tick)),
        text(MARGIN.left - 8, y(tick) + 4, String(tick), 'text-anchor="end" fill="#555"'),
      ]),
    text((MARGIN.left + RIGHT) / 2, HEIGHT - 24, 'recall@10 (more is better)', 'text-anchor="middle"'),
    `<text transform="translate(24 ${(MARGIN.top + BOTTOM) / 2}) rotate(-90)" text-anchor="middle">queries a second, one at a time (more is better)</text>`,
    ...shown.flatMap((curve, at) => {
      const color = curve.ours ? OURS[ours++ % OURS.length]! : PEERS[peers++ % PEERS.length]!;
      const places = curve.points.map((point) => [x(point.recallAt10), y(point.queriesPerSecond)] as const);
      const path = places.map(([px, py]) => `${px.toFixed(1)},${py.toFixed(1)}`).join(' ');
      const nameAt = MARGIN.top + 20 * at;
      return [
        `<polyline points="${path}" fill="none" stroke="${color}" stroke-width="${curve.ours ? 3 : 2}"/>`,
        ...places.map(
          ([px, py]) =>
            `<circle cx="${px.toFixed(1)}" cy="${py.toFixed(1)}" r="${curve.ours ? 4 : 3}" fill="${color}"/>`,
        ),
        `<circle cx="${RIGHT + 20}" cy="${nameAt - 4}" r="5" fill="${color}"/>`,
        text(RIGHT + 30, nameAt, curve.name, `fill="${color}"${curve.ours ? ' font-weight="bold"' : ''}`),
      ];
    }),
    '</svg>',
  ].join('\n')}\n`;
}

const gridLine = (x1: number, y1: number, x2: number, y2: number): string =>
  `<line x1="${x1.toFixed(1)}" y1="${y1.toFixed(1)}" x2="${x2.toFixed(1)}" y2="${y2.toFixed(1)}" stroke="#e5e5e5"/>`;

const escaped = (words: string): string => words.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

const text = (x: number, y: number, words: string, attributes: string): string =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${attributes}>${escaped(words)}</text>`;
