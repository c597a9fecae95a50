/** What the comparison prints: medians, and how many times as fast the first Anchorage is. */
import { median } from '../report.js';
import type { BulkResult, QueryResult } from './measure.js';
import type { Quality } from './quality.js';

const NAME_COLUMNS = 40;
const COLUMNS = 13;

export function printTable(title: string, head: readonly string[], rows: readonly (readonly string[])[]): void {
  console.log(`\n${title}`);
  for (const [name, ...cells] of [head, ...rows]) {
    console.log(`  ${name!.padEnd(NAME_COLUMNS)}${cells.map((cell) => cell.padStart(COLUMNS)).join('')}`);
  }
}

/** Median over the rounds of ours / theirs, each round's pair measured minutes apart at most. */
export const ratioTo = (theirs: readonly number[], ours: readonly number[]): number =>
  median(theirs.map((rate, round) => ours[round]! / rate));

export function printBulk(name: string, { texts, tokens, rates, batchSize }: BulkResult, ours: string): void {
  const rows = Object.entries(rates)
    .filter(([, all]) => all.length > 0)
    .map(([peer, all]) => ({ peer, rate: median(all), all }))
    .sort((a, b) => b.rate - a.rate)
    .map(({ peer, rate, all }) => [
      peer,
      rate.toFixed(1),
      ((rate * tokens) / texts).toFixed(0),
      String(batchSize[peer]),
      rates[ours]?.length === all.length ? `${ratioTo(all, rates[ours]).toFixed(2)}x` : '',
    ]);
  printTable(`${name}: ${texts} texts, ${tokens} tokens`, ['', 'texts/s', 'tokens/s', 'batch', 'ours/this'], rows);
}

const ms = (value: number): string => value.toFixed(1);

export function printQueries({ single, concurrent, besideIngest }: QueryResult): void {
  printTable(
    'one short query at a time',
    ['', 'p50 ms', 'p99 ms'],
    Object.entries(single).map(([peer, { p50Ms, p99Ms }]) => [peer, ms(p50Ms), ms(p99Ms)]),
  );
  printTable(
    'sixteen clients of short queries',
    ['', 'queries/s', 'p50 ms', 'p99 ms'],
    Object.entries(concurrent).map(([peer, one]) => [peer, ms(one.textsPerSecond), ms(one.p50Ms), ms(one.p99Ms)]),
  );
  printTable(
    'a query every 50 ms, idle and beside saturating ingest of passages',
    ['', 'idle p99', 'busy p99', 'times', 'ingest/s', 'beside', 'kept'],
    Object.entries(besideIngest).map(([peer, { idle, busy, ingestAlone, ingestBeside }]) => [
      peer,
      ms(idle.p99Ms),
      ms(busy.p99Ms),
      (busy.p99Ms / idle.p99Ms).toFixed(1),
      ms(ingestAlone),
      ms(ingestBeside),
      (ingestBeside / ingestAlone).toFixed(2),
    ]),
  );
}

export interface Facts {
  readonly quality?: Quality;
  readonly residentMiB?: number;
  readonly paddingShare?: number;
}

export function printFacts(facts: Readonly<Record<string, Facts>>): void {
  printTable(
    'cosine to float32 PyTorch with the same pooling; the same text alone and in a batch; memory; padding',
    ['', 'mean', 'worst', 'batch worst', 'MiB', 'padding'],
    Object.entries(facts).map(([peer, { quality, residentMiB, paddingShare }]) => [
      peer,
      quality?.meanCosine.toFixed(5) ?? '',
      quality?.worstCosine.toFixed(5) ?? '',
      quality?.worstAcrossBatches.toFixed(6) ?? '',
      residentMiB?.toFixed(0) ?? '',
      paddingShare === undefined ? '' : `${(100 * paddingShare).toFixed(1)}%`,
    ]),
  );
}
