/** A picture of the result: throughput to the right, p99 latency upwards, both in logarithms; right and low is good. */

export interface ChartPoint {
  readonly name: string;
  readonly textsPerSecond: number;
  readonly p99Ms: number;
  readonly ours: boolean;
}

const WIDTH = 960;
const HEIGHT = 600;
const MARGIN = { left: 80, right: 40, top: 70, bottom: 70 };
const LABEL_HEIGHT = 15;
const CHARACTER_WIDTH = 6.6;

interface Axis {
  readonly at: (value: number) => number;
  readonly ticks: readonly number[];
}

/** Logarithmic, with ticks at 1, 2 and 5 times the powers of ten within a margin around the values. */
function axis(values: readonly number[], from: number, to: number): Axis {
  const low = Math.log10(Math.min(...values) / 1.5);
  const high = Math.log10(Math.max(...values) * 1.5);
  const powers = Array.from({ length: 12 }, (_, i) => 10 ** (i - 3));
  const ticks = powers.flatMap((power) => [power, 2 * power, 5 * power]);
  return {
    at: (value) => from + ((Math.log10(value) - low) / (high - low)) * (to - from),
    ticks: ticks.filter((tick) => Math.log10(tick) >= low && Math.log10(tick) <= high),
  };
}

/** @returns an SVG document. */
export function drawChart(title: string, subtitle: string, points: readonly ChartPoint[]): string {
  const x = axis(
    points.map((point) => point.textsPerSecond),
    MARGIN.left,
    WIDTH - MARGIN.right,
  );
  const y = axis(
    points.map((point) => point.p99Ms),
    HEIGHT - MARGIN.bottom,
    MARGIN.top,
  );
  const bottom = HEIGHT - MARGIN.bottom;
  const right = WIDTH - MARGIN.right;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    text(MARGIN.left, 28, title, 'font-size="18" font-weight="bold"'),
    text(MARGIN.left, 48, subtitle, 'fill="#555"'),
    ...x.ticks.flatMap((tick) => [
      line(x.at(tick), MARGIN.top, x.at(tick), bottom),
      text(x.at(tick), bottom + 18, String(tick), 'text-anchor="middle" fill="#555"'),
    ]),
    ...y.ticks.flatMap((tick) => [
      line(MARGIN.left, y.at(tick), right, y.at(tick)),
      text(MARGIN.left - 8, y.at(tick) + 4, String(tick), 'text-anchor="end" fill="#555"'),
    ]),
    text((MARGIN.left + right) / 2, HEIGHT - 24, 'texts a second, bulk (more is better)', 'text-anchor="middle"'),
    `<text transform="translate(24 ${(MARGIN.top + bottom) / 2}) rotate(-90)" text-anchor="middle">p99 of one query, ms (less is better)</text>`,
    ...drawPoints(points, x, y),
    '</svg>',
  ];
  return `${parts.join('\n')}\n`;
}

/** Points with their names beside them, each name moved down until it covers no other. */
function drawPoints(points: readonly ChartPoint[], x: Axis, y: Axis): string[] {
  const taken: { left: number; right: number; y: number }[] = [];
  return [...points]
    .sort((a, b) => b.p99Ms - a.p99Ms)
    .flatMap(({ name, textsPerSecond, p99Ms, ours }) => {
      const [cx, cy] = [x.at(textsPerSecond), y.at(p99Ms)];
      const width = name.length * CHARACTER_WIDTH;
      const left = cx + 10 + width > WIDTH ? cx - 10 - width : cx + 10;
      let labelY = cy + 4;
      const covered = (): boolean =>
        taken.some((t) => t.left < left + width && left < t.right && Math.abs(t.y - labelY) < LABEL_HEIGHT);
      while (covered()) labelY += LABEL_HEIGHT / 3;
      taken.push({ left, right: left + width, y: labelY });
      const color = ours ? '#c2410c' : '#1e5a8a';
      return [
        `<circle cx="${cx.toFixed(1)}" cy="${cy.toFixed(1)}" r="${ours ? 7 : 5}" fill="${color}"/>`,
        text(left, labelY, name, `fill="${color}"${ours ? ' font-weight="bold"' : ''}`),
      ];
    });
}

const line = (x1: number, y1: number, x2: number, y2: number): string =>
  `<line x1="${x1.toFixed(1)}" y1="${y1.toFixed(1)}" x2="${x2.toFixed(1)}" y2="${y2.toFixed(1)}" stroke="#e5e5e5"/>`;

const escaped = (words: string): string => words.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

const text = (x: number, y: number, words: string, attributes: string): string =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${attributes}>${escaped(words)}</text>`;
