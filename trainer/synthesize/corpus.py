"""Reading the user's collection: passages that can be searched for, and a count of everything that cannot.

Accepted are JSON lines (plain or gzipped; BEIR's corpus.jsonl and any file with a text field), .txt and .md files, and
folders of these. Plain text is cut into passages at headings and paragraphs. Nothing that is read is ever executed or
followed: a passage is data, whatever it says.
"""

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trainer.errors import InputError
from trainer.gzipped import opened
from trainer.synthesize.records import Passage
from trainer.synthesize.words import encodable, words

SUFFIXES = (".jsonl", ".jsonl.gz", ".txt", ".md")
PASSAGE_WORDS = 150  # plain text is cut here, at the nearest paragraph or sentence
MIN_WORDS = 3
MAX_CHARACTERS = 20_000


@dataclass(frozen=True)
class Fields:
    """Names of the JSON fields; where `id` is missing the line's place is the id."""

    text: str = "text"
    title: str = "title"


@dataclass
class Corpus:
    """Passages in the order of their files, without exact repeats, and what was left out: reason -> count, with one example each."""

    passages: list[Passage] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def fingerprint(self) -> str:
        """SHA-256 over every passage's id, title and text."""
        digest = hashlib.sha256()
        for passage in self.passages:
            digest.update("\0".join((passage.id, passage.title, passage.text, "")).encode("utf-8", "replace"))
        return digest.hexdigest()


def read_corpus(paths: tuple[Path, ...], fields: Fields = Fields(), limit: int = 0) -> Corpus:
    """Read up to `limit` passages (0: all); raises InputError when not one can be used, saying what was found instead. Ids are unique: one that
    comes again is followed by a part of its text's hash."""
    corpus, seen, ids = Corpus(), set(), set()
    for path in _files(paths, corpus):
        for place, id_, title, text in _entries(path, fields, corpus):
            if limit and len(corpus.passages) >= limit:
                return corpus
            fault = _fault(text)
            key = hashlib.sha256(text.encode("utf-8", "replace")).digest()
            if fault or key in seen:
                _reject(corpus, fault or "repeated", place)
                continue
            seen.add(key)
            # Files of one name in several folders, or several files that count from 1, give an id twice.
            own = f"{id_}~{key.hex()[:12]}" if id_ in ids else id_
            ids.add(own)
            corpus.passages.append(Passage(own, text, title, path.name))
    if not corpus.passages:
        found = ", ".join(f"{count} {reason} ({corpus.examples[reason]})" for reason, count in corpus.rejected.items())
        raise InputError(f"the corpus has no passage that can be used: {found or 'its files are empty'}")
    return corpus


def _files(paths: tuple[Path, ...], corpus: Corpus) -> Iterator[Path]:
    for path in paths:
        if not path.exists():
            raise InputError(f"the corpus {path} does not exist")
        if path.is_file():
            yield path
            continue
        for file in sorted(item for item in path.rglob("*") if item.is_file()):
            if file.name.endswith(SUFFIXES):
                yield file
            else:
                _reject(corpus, "file of another kind", file.name)


def _entries(path: Path, fields: Fields, corpus: Corpus) -> Iterator[tuple[str, str, str, str]]:
    """(place, id, title, text) of each entry of one file."""
    if ".jsonl" in path.name:
        yield from _json_entries(path, fields, corpus)
        return
    try:
        content = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        _reject(corpus, "file that is not UTF-8 text", path.name)
        return
    for number, (title, text) in enumerate(cut(content), start=1):
        yield f"{path.name} passage {number}", f"{path.stem}#{number}", title, text


def _json_entries(path: Path, fields: Fields, corpus: Corpus) -> Iterator[tuple[str, str, str, str]]:
    with opened(path, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            place = f"{path.name} line {number}"
            try:
                row = json.loads(line.decode("utf-8"))
                text, title = row[fields.text], row.get(fields.title) or ""
            except (ValueError, KeyError, TypeError, AttributeError):
                _reject(corpus, f"line without JSON or its {fields.text!r} field", place)
                continue
            if not isinstance(text, str) or not isinstance(title, str):
                _reject(corpus, f"line whose {fields.text!r} is no string", place)
                continue
            yield place, str(row.get("_id", row.get("id", f"{path.name}#{number}"))), _clean(title), _clean(text)


def cut(content: str) -> Iterator[tuple[str, str]]:
    """(nearest heading, passage) of plain text or Markdown, in passages of about PASSAGE_WORDS words."""
    heading, held = "", []
    for block in re.split(r"\n\s*\n|(?m:^(?=#{1,6} ))", content):
        block = block.strip()
        marked = re.match(r"#{1,6}\s+(.+)", block)
        if marked:
            yield from _passage(heading, held)
            heading, held = _clean(marked[1]), []
            block = block[marked.end() :].strip()
        if held and len(words(" ".join(held))) + len(words(block)) > PASSAGE_WORDS:
            yield from _passage(heading, held)
            held = []
        held.append(block)
    yield from _passage(heading, held)


def _passage(heading: str, blocks: list[str]) -> Iterator[tuple[str, str]]:
    text = _clean(" ".join(blocks))
    if text:
        yield heading, text


def _clean(text: str) -> str:
    """Runs of white space to one space; NFC, so that equal texts are equal bytes; lone surrogates, which no encoding takes, to "?"."""
    return " ".join(encodable(unicodedata.normalize("NFC", text)).split())


def _fault(text: str) -> str:
    """Why a text is no passage, or nothing."""
    if not text:
        return "empty"
    strange = sum(unicodedata.category(character) in ("Cc", "Cn", "Co", "Cs") or character == "\ufffd" for character in text)
    if strange > 0.02 * len(text):
        return "binary"
    if len(text) > MAX_CHARACTERS:
        return f"longer than {MAX_CHARACTERS} characters"
    found = words(text)
    if len(found) < MIN_WORDS:
        return f"shorter than {MIN_WORDS} words"
    if sum(map(len, found)) / len(found) > 40 or sum(map(str.isalpha, text)) < 0.25 * len(text):
        return "without words"
    return ""


def _reject(corpus: Corpus, reason: str, place: str) -> None:
    corpus.rejected[reason] += 1
    corpus.examples.setdefault(reason, place)
