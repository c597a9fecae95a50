"""A retrieval set of long documents out of one of paragraphs: those of an article, one behind another, as many as fit into so many tokens.

    python bench/training/long_documents.py --set DATA/eval/squad_dev --tokenizer FILE --output FOLDER [--tokens 500]

FOLDER is in BEIR's layout, for `trainer evaluate`: each query of the set, and as its answer the document that its paragraph went into. Articles are told by
their titles, which are left out of the texts; paragraphs longer than --tokens stay as they are.
"""

import argparse
import gzip
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parents[2]))

from trainer.gzipped import opened  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("set", "tokenizer", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=500)
    given = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(given.tokenizer))
    tokenizer.no_truncation()
    with opened(given.set / "corpus.jsonl.gz") as file:
        paragraphs = [json.loads(line) for line in file]
    sizes = [len(one.ids) for one in tokenizer.encode_batch([paragraph["text"] for paragraph in paragraphs], add_special_tokens=False)]
    documents = list(joined(paragraphs, sizes, given.tokens))
    document_of = {paragraph: number for number, parts in enumerate(documents) for paragraph in parts}
    (given.output / "qrels").mkdir(parents=True, exist_ok=True)
    with gzip.open(given.output / "corpus.jsonl.gz", "wt", encoding="utf-8") as file:
        for number, parts in enumerate(documents):
            file.write(json.dumps({"_id": str(number), "title": "", "text": "\n".join(paragraphs[place]["text"] for place in parts)}) + "\n")
    shutil.copyfile(given.set / "queries.jsonl.gz", given.output / "queries.jsonl.gz")
    place_of = {paragraph["_id"]: place for place, paragraph in enumerate(paragraphs)}
    with opened(given.set / "qrels" / "test.tsv.gz") as read, gzip.open(given.output / "qrels" / "test.tsv.gz", "wt", encoding="utf-8") as write:
        write.write(next(read))
        for query, paragraph, score in (line.rstrip("\n").split("\t") for line in read):
            write.write(f"{query}\t{document_of[place_of[paragraph]]}\t{score}\n")
    tokens = [sum(sizes[place] for place in parts) for parts in documents]
    print(f"{len(documents)} documents of {len(paragraphs)} paragraphs, {sum(tokens) / len(tokens):.0f} tokens on average, {max(tokens)} at most")


def joined(paragraphs: list[dict[str, str]], sizes: list[int], most: int) -> Iterator[list[int]]:
    """Places of the paragraphs of each document."""
    parts: list[int] = []
    for place, paragraph in enumerate(paragraphs):
        if parts and (paragraph["title"] != paragraphs[parts[-1]]["title"] or sum(sizes[part] for part in parts) + sizes[place] > most):
            yield parts
            parts = []
        parts.append(place)
    yield parts


if __name__ == "__main__":
    main()
