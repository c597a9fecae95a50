#!/usr/bin/env bash
# Index a few hundred abstracts and search them, with nothing but curl.
#   bash examples/curl.sh [url]          the server's address; default http://127.0.0.1:8080
set -euo pipefail

url=${1:-http://127.0.0.1:8080}
here=$(cd "$(dirname "$0")" && pwd)
post() { curl --silent --show-error --fail-with-body --header 'content-type: application/json' "$@"; }

echo '# One embedding, cut to 8 dimensions:'
post "$url/embed" --data '{"inputs": "The harbour is quiet tonight.", "dimensions": 8}'

echo -e '\n\n# The three tokens it hangs on most:'
post "$url/anchors" --data '{"inputs": "The harbour is quiet tonight.", "top": 3}'

echo -e '\n\n# Store the corpus; the answer comes when it is on disk:'
post "$url/documents" --data-binary "@$here/corpus/arxiv.json" | grep --only-matching '"upserted".*'

echo -e '\n# Search it:'
post "$url/search" --data '{
  "collection": "arxiv",
  "query": "hiding secret messages inside pictures",
  "k": 3,
  "include": ["metadata"]
}'

echo -e '\n\n# Search the short ones alone, by meaning alone:'
post "$url/search" --data '{
  "collection": "arxiv",
  "query": "quantum computing",
  "mode": "dense",
  "filter": {"words": {"$lt": 100}},
  "k": 2,
  "include": ["metadata"]
}'
echo
