"""Readers of what people write about the people, places, films, teams and pictures of the world: questions, statements, captions, articles.

The sources that distillation_sources.py reads are strong in science, software and books; on texts of these kinds a student trained over them was up to
two and a half times as far from its teachers. Labels and answers are not read.
"""

import csv
import json
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from distillation_sources import Folders, Pairs

NOTE = re.compile(r"«FN:.*?«/FN»")  # of the encyclopedia's own marks
MARK = re.compile(r"«[^»]*»")
PARAGRAPH_WORDS_MIN = 40
REQUEST_WORDS_MIN = 5
FIELDS = ("ai", "literature", "music", "politics", "science")  # of CrossNER, beside which CoNLL-2003 lies, which is Reuters'


def articles(folders: Folders) -> Pairs:
    """Sections of articles as lists of sentences."""
    for name in ("dev", "test"):
        for section in _json(folders.sources / f"emorynlp/selqa/ass/selqa-ass-{name}.json"):
            yield f"{section['article']}, {section['section']}", " ".join(section["candidates"])
            yield from pairwise(section["candidates"])


def people(folders: Folders) -> Pairs:
    """Passages about people, from articles and from a knowledge graph's sources."""
    for name in ("development", "test", "validation"):
        for row in rows_of(folders.sources / f"google-research-datasets/gap-coreference/gap-{name}.tsv", "excel-tab"):
            yield row["URL"].rpartition("/")[2].replace("_", " "), row["Text"]
    for record in json_lines(folders.sources / "diffbot/knowledge-net/dataset/test-no-facts.json"):
        title, _, text = record["documentText"].partition("\n\n")
        yield title, " ".join(text.split())


def sentences(folders: Folders) -> Pairs:
    """Of articles, about the same relation of two things, or of one field."""
    for found in _json(folders.sources / "thunlp/FewRel/data/val_wiki.json").values():
        yield from _neighbours(_written(one["tokens"]) for one in found)
    for path in sorted(path for field in FIELDS for path in (folders.sources / "zliucr/CrossNER/ner_data" / field).glob("*.txt")):
        lines = path.read_text(encoding="utf-8").split("\n\n")
        yield from _neighbours(_written([token.split("\t")[0] for token in line.splitlines()]) for line in lines)


def encyclopedia(folders: Folders) -> Pairs:
    """Articles of the Encyclopaedia Britannica's 11th edition."""
    for path in sorted((folders.sources / "ahaspel/britannica-edition/tests/snapshots/render").glob("*.input.json")):
        article = _json(path)
        body = NOTE.sub("", article["body"]).replace("«P»", "\n")
        for paragraph in MARK.sub("", body).split("\n"):
            if len(words := paragraph.split()) >= PARAGRAPH_WORDS_MIN:
                yield article["title"].capitalize(), " ".join(words)


def statements(folders: Folders) -> Pairs:
    """True and false ones, about a thing and about what a table of an encyclopedia says."""
    for name in ("train", "dev"):
        for record in json_lines(folders.sources / f"yasumasaonoe/creak/data/creak/{name}.json"):
            yield record["sentence"], record["explanation"]
    for question in _json(folders.sources / "eladsegal/strategyqa/data/strategyqa/train.json"):
        yield f"{question['term']}, {question['description']}", " ".join(question["facts"])
        yield from pairwise(question["facts"])
    for _, one, other in _json(folders.sources / "wenhuchen/Table-Fact-Checking/pairwise_data/all_positive_negative_pairs.json"):
        yield one, other
    for sentence, _, page in _json(folders.sources / "wenhuchen/Table-Fact-Checking/challenge/blind_test.json").values():
        yield page, sentence
    for name in ("val", "test"):
        for found in _json(folders.sources / f"wenhuchen/LogicNLG/data/{name}_lm.json").values():
            yield from pairwise(sentence for sentence, *_ in found)


def questions(folders: Folders) -> Pairs:
    """People's to a search engine, and those about tables and passages of an encyclopedia; two that stand together."""
    asked = [one["qText"] for name in ("trainmodel", "val", "devtest", "test") for one in _json(folders.sources / f"brmson/dataset-factoid-webquestions/main/{name}.json")]
    for path in ("HybridQA/released_data/dev.json", "HybridQA/released_data/test.json", "OTT-QA/released_data/dev.json", "OTT-QA/released_data/test.blind.json"):
        asked += [_written(one["question"].split()) for one in _json(folders.sources / "wenhuchen" / path)]
    for question in _json(folders.sources / "eladsegal/strategyqa/data/strategyqa/train.json"):
        asked += [question["question"], *(part for part in question["decomposition"] if "#" not in part)]
    yield from zip(asked[::2], asked[1::2], strict=False)


def captions(folders: Folders) -> Pairs:
    """What may be seen in two photographs, and what is heard in a video."""
    for name in ("train", "val", "test"):
        yield from _neighbours(row["caption"] for row in rows_of(folders.sources / f"cdjkim/audiocaps/dataset/{name}.csv", "excel"))
    for name in ("dev", "test1", "test2"):
        yield from _neighbours(record["sentence"] for record in json_lines(folders.sources / f"lil-lab/nlvr/nlvr2/data/{name}.json"))


def short_sentences(folders: Folders) -> Pairs:
    """Of everyday life, by length."""
    lines = (folders.sources / "xxxmian/MT-Transformer/data/cmn.txt").read_text(encoding="utf-8").splitlines()
    yield from _neighbours(line.split("\t")[0] for line in lines)


def passages(folders: Folders) -> Pairs:
    """Of an encyclopedia: what its articles begin with, and whole ones whose facts change with time."""
    taken: set[str] = set()
    for path in sorted((folders.sources / "wenhuchen/OTT-QA/data/traindev_request_tok").glob("*.json")):
        for link, text in _json(path).items():
            if link not in taken:
                taken.add(link)
                yield link.removeprefix("/wiki/").replace("_", " "), _written(text.split())
    for name in ("train", "test"):
        for article in _json(folders.sources / f"wenhuchen/Time-Sensitive-QA/dataset/human_annotated_{name}.json"):
            title, *paragraphs = (_written(paragraph.split()) for paragraph in article["paras"])
            for paragraph in paragraphs:
                if len(paragraph.split()) >= PARAGRAPH_WORDS_MIN:
                    yield title, paragraph


def requests(folders: Folders) -> Pairs:
    """What customers ask and are told: of banks, insurers, airlines, broadcasters, software and others; and orders to a robot at home, of the same intent."""
    for path in sorted((folders.sources / "awslabs/multi-domain-goal-oriented-dialogues-dataset/data/paper_splits/splits_annotated_at_turn_level").glob("*/*.tsv")):
        yield from _neighbours(text for row in rows_of(path, "excel-tab") if len((text := row["utterance"] or "").split()) >= REQUEST_WORDS_MIN)
    for path in sorted((folders.sources / "RasaHQ/STAR/dialogues").glob("*.json"), key=lambda path: int(path.stem)):
        said = (event["Text"] for event in _json(path)["Events"] if event["Action"] in ("utter", "pick_suggestion"))
        yield from _neighbours(text for text in said if len(text.split()) >= REQUEST_WORDS_MIN)
    for path in sorted((folders.sources / "xliuhw/NLU-Evaluation-Data/CrossValidation/out4RasaReal").glob("**/merged/*KFold_[12]_*.json")):
        by_intent: dict[str, list[str]] = {}
        for example in _json(path)["rasa_nlu_data"]["common_examples"]:
            by_intent.setdefault(example["intent"], []).append(example["text"])
        for texts in by_intent.values():
            yield from _neighbours(texts)


def _written(tokens: Sequence[str]) -> str:
    """Tokens as a sentence, in which punctuation follows its word."""
    return re.sub(r"\s+([.,;:!?%)\]]|'s\b|n't\b)", r"\1", re.sub(r"([(\[])\s+", r"\1", " ".join(token for token in tokens if token.strip())))


def rows_of(path: Path, dialect: str) -> Iterable[dict[str, str]]:
    return csv.DictReader(path.read_text(encoding="utf-8").splitlines(), dialect=dialect)


def _neighbours(texts: Iterable[str]) -> Pairs:
    every = list(dict.fromkeys(texts))
    return zip(every[::2], every[1::2], strict=False)


def _json(path: Path) -> list | dict:
    return json.loads(path.read_text(encoding="utf-8"))


def json_lines(path: Path) -> Iterable[dict]:
    return map(json.loads, path.read_text(encoding="utf-8").splitlines())
