/** Bounds of the index. Everything that a client can make large has one, and the relations between them hold here. */

/** Documents of one upsert; more are refused, and NDJSON is cut into groups below it. */
export const DOCUMENTS_PER_UPSERT_MAX = 10_000;
export const ID_BYTES_MAX = 512;
export const METADATA_BYTES_MAX = 64 * 1024;
/** Objects and lists inside each other. SQLite's JSON ends at 1,000. */
export const METADATA_DEPTH_MAX = 64;
export const TEXT_CHARACTERS_MAX = 4_000_000;
export const CHUNKS_PER_DOCUMENT_MAX = 10_000;

/** Results of one search, and documents of one page. */
export const K_MAX = 1_000;
export const PAGE_MAX = 1_000;
export const EF_SEARCH_MAX = 4_096;
export const EF_CONSTRUCTION_MAX = 1_024;
export const M_MAX = 128;
export const DIMENSIONS_MAX = 8_192;

export const FILTER_DEPTH_MAX = 16;
export const FILTER_CONDITIONS_MAX = 256;
export const FILTER_LIST_MAX = 4_096;
export const FILTER_STRING_BYTES_MAX = 8_192;
export const DECLARED_INDEXES_MAX = 32;

/** Collections of one data directory: each holds open files and a share of memory. */
export const COLLECTIONS_MAX = 1_000;

/**
 * Vectors that are stored and searched (exactly) but not yet in the graph. Writers wait above it: an exact pass over this
 * many vectors of 384 dimensions takes about 2 ms.
 */
export const BACKLOG_MAX = 20_000;

if (EF_SEARCH_MAX < K_MAX) throw new Error('efSearch must be able to reach k');
