/**
 * Every metric of the product: name, help, labels, buckets, once. Always true here: names follow Prometheus' conventions
 * (base units, `_total` for counters), label values come from bounded sets, and a series whose labels are known ahead is
 * present from the first scrape. docs/metrics.md is held to this file by a test.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

const REQUEST_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const STAGE_SECONDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];
const COMMIT_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5];
const JOB_SECONDS = [1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400];
const POWERS_OF_TWO_TO_1024 = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
const BATCH_TOKENS = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768];
/** Entropy of the anchor weights over the log of the token count: 0 is one anchor, 1 is mean pooling. */
const ENTROPY_RATIO = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.975, 1];

/** Gauges of prom-client's own that end in `_total`, which promtool refuses; their counts by type are exported besides. */
const MISNAMED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total'];

export const LANES = ['query', 'bulk'] as const;
export const STAGES = ['tokenize', 'queue', 'inference', 'pool'] as const;
export const REJECTION_REASONS = ['queue_full', 'body_too_large', 'too_many_texts', 'unauthorized'] as const;
export const SEARCH_MODES = ['dense', 'sparse', 'hybrid'] as const;
export const SEARCH_PATHS = ['hnsw', 'exact', 'fulltext'] as const;

export const DEPLOYMENT_OUTCOMES = ['flipped', 'refused'] as const;

export type Metrics = ReturnType<typeof createMetrics>;

/** A registry of its own for each server, so that two servers in one process (tests) do not share counters. */
export function createMetrics() {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  for (const name of MISNAMED) registry.removeSingleMetric(name);
  /** Looked at in each scrape: an age that is set grows old itself. */
  const newestSnapshot: { writtenAtMs: number | undefined } = { writtenAtMs: undefined };
  const metrics = {
    registry,
    httpRequests: new Counter({
      name: 'anchorage_http_requests_total',
      help: 'Requests answered, by route pattern, method and status.',
      labelNames: ['route', 'method', 'status'],
      registers,
    }),
    httpDuration: new Histogram({
      name: 'anchorage_http_request_duration_seconds',
      help: 'Time from the request line to the last byte of the answer.',
      labelNames: ['route'],
      buckets: REQUEST_SECONDS,
      registers,
    }),
    embedTexts: new Counter({
      name: 'anchorage_embed_texts_total',
      help: 'Texts embedded by the model (cache hits are not counted).',
      labelNames: ['lane'],
      registers,
    }),
    embedTokens: new Counter({
      name: 'anchorage_embed_tokens_total',
      help: 'Tokens of texts run through the model, padding excluded.',
      labelNames: ['lane'],
      registers,
    }),
    paddingTokens: new Counter({
      name: 'anchorage_embed_padding_tokens_total',
      help: 'Padding tokens run through the model: work that gave nothing.',
      registers,
    }),
    stageDuration: new Histogram({
      name: 'anchorage_embed_stage_duration_seconds',
      help: 'Time in each stage of the embed path; tokenize, inference and pool are per batch, queue per text.',
      labelNames: ['stage'],
      buckets: STAGE_SECONDS,
      registers,
    }),
    batchSize: new Histogram({
      name: 'anchorage_batch_size',
      help: 'Texts a batch.',
      buckets: POWERS_OF_TWO_TO_1024,
      registers,
    }),
    batchTokens: new Histogram({
      name: 'anchorage_batch_tokens',
      help: 'Tokens a batch, padding included.',
      buckets: BATCH_TOKENS,
      registers,
    }),
    queueDepth: new Gauge({
      name: 'anchorage_queue_depth',
      help: 'Texts waiting for a worker.',
      labelNames: ['lane'],
      registers,
    }),
    rejected: new Counter({
      name: 'anchorage_rejected_total',
      help: 'Requests turned away before any work was done.',
      labelNames: ['reason'],
      registers,
    }),
    cacheHits: new Counter({
      name: 'anchorage_cache_hits_total',
      help: 'Texts answered from the embedding cache or joined to the same text in flight.',
      registers,
    }),
    cacheMisses: new Counter({
      name: 'anchorage_cache_misses_total',
      help: 'Texts that the embedding cache did not hold.',
      registers,
    }),
    cacheBytes: new Gauge({ name: 'anchorage_cache_bytes', help: 'Bytes held by the embedding cache.', registers }),
    workerRestarts: new Counter({
      name: 'anchorage_worker_restarts_total',
      help: 'Inference and tokenizer threads replaced after they died.',
      registers,
    }),
    modelInfo: new Gauge({
      name: 'anchorage_model_info',
      help: 'The live model version; always 1.',
      labelNames: ['name', 'version', 'pooling', 'quantization'],
      registers,
    }),
    anchorEntropy: new Histogram({
      name: 'anchorage_anchor_weight_entropy',
      help: "Entropy of a text's anchor weights over the log of its tokens: 1 is mean pooling, near 0 a single anchor.",
      buckets: ENTROPY_RATIO,
      registers,
    }),
    indexDocuments: new Gauge({
      name: 'anchorage_index_documents',
      help: 'Documents in a collection.',
      labelNames: ['collection'],
      registers,
    }),
    indexBytes: new Gauge({
      name: 'anchorage_index_bytes',
      help: "Bytes of a collection's vectors and graph in memory.",
      labelNames: ['collection'],
      registers,
    }),
    searchDuration: new Histogram({
      name: 'anchorage_search_duration_seconds',
      help: 'Time of one search inside the index, embedding excluded.',
      labelNames: ['mode', 'path'],
      buckets: STAGE_SECONDS,
      registers,
    }),
    recallEstimate: new Gauge({
      name: 'anchorage_search_recall_estimate',
      help: 'Recall@k of sampled live queries against exact search.',
      labelNames: ['collection'],
      registers,
    }),
    commitDuration: new Histogram({
      name: 'anchorage_index_commit_duration_seconds',
      help: 'Time of one durable commit.',
      buckets: COMMIT_SECONDS,
      registers,
    }),
    newestSnapshot,
    snapshotAge: new Gauge({
      name: 'anchorage_snapshot_age_seconds',
      help: 'Age of the newest index snapshot on disk; -1 where there is none.',
      registers,
      collect(): void {
        const { writtenAtMs } = newestSnapshot;
        this.set(writtenAtMs === undefined ? -1 : (Date.now() - writtenAtMs) / 1000);
      },
    }),
    jobs: new Gauge({
      name: 'anchorage_jobs',
      help: 'Jobs that are kept, by type and state.',
      labelNames: ['type', 'state'],
      registers,
    }),
    jobProgress: new Gauge({
      name: 'anchorage_job_progress_ratio',
      help: 'How far a running job is, from 0 to 1; the series goes when the job is over.',
      labelNames: ['id'],
      registers,
    }),
    deployments: new Counter({
      name: 'anchorage_deployments_total',
      help: 'Deployments that flipped to another model, or were refused by their gate.',
      labelNames: ['outcome'],
      registers,
    }),
    jobDuration: new Histogram({
      name: 'anchorage_job_duration_seconds',
      help: 'Time from the last start of a job to its end.',
      labelNames: ['type'],
      buckets: JOB_SECONDS,
      registers,
    }),
  };
  presentFromTheFirstScrape(metrics);
  return metrics;
}

interface Labelled {
  deployments: Counter<'outcome'>;
  stageDuration: Histogram<'stage'>;
  embedTexts: Counter<'lane'>;
  embedTokens: Counter<'lane'>;
  queueDepth: Gauge<'lane'>;
  rejected: Counter<'reason'>;
  searchDuration: Histogram<'mode' | 'path'>;
}

function presentFromTheFirstScrape(metrics: Labelled): void {
  for (const lane of LANES) {
    metrics.embedTexts.inc({ lane }, 0);
    metrics.embedTokens.inc({ lane }, 0);
    metrics.queueDepth.set({ lane }, 0);
  }
  for (const stage of STAGES) metrics.stageDuration.zero({ stage });
  for (const outcome of DEPLOYMENT_OUTCOMES) metrics.deployments.inc({ outcome }, 0);
  for (const reason of REJECTION_REASONS) metrics.rejected.inc({ reason }, 0);
  for (const mode of SEARCH_MODES) for (const path of SEARCH_PATHS) metrics.searchDuration.zero({ mode, path });
}
