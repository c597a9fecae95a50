"""Where the default model's texts come from: one generator a source, each of two related texts, of which the second may be long.

Every licence lets a model be Apache-2.0 without share-alike: public domain, CC0, CC BY, MIT, BSD, Apache-2.0, PSF, WordNet's. `SOURCES` states
origin, commit and licence of each (read from the repository at that commit). Nothing here is part of an evaluation set, nor made from one.
distillation_formats.py makes plain text of what is in Markdown, CNXML and so on.
"""

import gzip
import json
import platform
import random
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

from distillation_formats import (
    DIGITS_MAX,
    SENTENCE_END,
    cnxml,
    commented,
    docstrings,
    functions,
    headed,
    inline,
    is_prose,
    markdown,
    plain_text,
    whole,
)
from topics import by_topic

Pairs = Iterator[tuple[str, str]]

PARAGRAPH_WORDS = (30, 150)  # of a book's paragraphs that are taken
# Repositories, and which of their pages are taken.
DOCUMENTATION = {"MicrosoftDocs/PowerShell-Docs": "reference/7.4/**/*.md", "MicrosoftDocs/WSL": "WSL/**/*.md", "rust-lang/book": "src/*.md",
                 "prometheus/docs": "**/*.md", "reactjs/react.dev": "src/content/**/*.md", "golang/website": "_content/blog/*.md"}
PROSE = {"GSA/digitalgov.gov": "content/**/*.md", "18F/guides": "content/**/*.md", "18F/handbook": "pages/**/*.md",
         "github/opensource.guide": "_articles/*.md"}
RECIPES = {"ronaldl29/public-domain-recipes": "content/*.md", "LukeSmithxyz/based.cooking": "content/*.md"}
TEXTBOOKS = ("college-success-bundle", "introduction-anthropology", "introduction-intellectual-property",
             "introduction-python-programming", "life-liberty-and-pursuit-happiness", "physics", "principles-economics-bundle")
BOOKS = ("adam-smith_the-wealth-of-nations", "arthur-conan-doyle_the-adventures-of-sherlock-holmes",
         "benjamin-franklin_the-autobiography-of-benjamin-franklin", "bertrand-russell_the-problems-of-philosophy",
         "charles-darwin_the-origin-of-species", "charles-darwin_the-voyage-of-the-beagle", "p-g-wodehouse_right-ho-jeeves",
         "jerome-k-jerome_three-men-in-a-boat", "mark-twain_roughing-it", "henry-david-thoreau_walden")
# BSD, MIT, PSF or Apache-2.0: the distribution, where its folder has another name.
PACKAGES = {"torch": "", "numpy": "", "scipy": "", "sklearn": "scikit-learn", "transformers": "", "sympy": "", "networkx": "", "fsspec": "", "pandas": "",
            "matplotlib": "", "mpmath": "", "joblib": "", "jinja2": "", "huggingface_hub": "", "datasets": "", "click": "", "rich": "", "attr": "attrs",
            "pydantic": "", "accelerate": "", "peft": "", "sentence_transformers": ""}


@dataclass(frozen=True)
class Folders:
    data: Path  # data/train has the pairs
    wordnet: Path
    sources: Path  # a checkout per repository, named as on GitHub


@dataclass(frozen=True)
class Source:
    what: str
    licence: str
    origin: str  # with the commit or version
    read: Callable[[Folders], Pairs]
    kept: int = sys.maxsize  # records
    sentences: float = 0.0  # share of chunks of which one sentence becomes a record of its own
    cut: bool = True  # the second text into chunks of a drawn length
    code: bool = False  # no prose


def stored_pairs(name: str) -> Callable[[Folders], Pairs]:
    def read(folders: Folders) -> Pairs:
        with gzip.open(folders.data / "train" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                yield record["query"], record["positive"]

    return read


def pages(repositories: dict[str, str], digits_max: float = DIGITS_MAX) -> Callable[[Folders], Pairs]:
    """Markdown: repository -> which of its pages."""

    def read(folders: Folders) -> Pairs:
        for repository, pattern in repositories.items():
            yield from markdown(folders.sources / repository, pattern, digits_max)

    return read


def factbook(folders: Folders) -> Pairs:
    """A folder a region, a file a country or ocean: {section: {field: {text} or {part: {text}}}}, with HTML in the texts."""
    for path in sorted((folders.sources / "factbook/factbook.json").glob("*/*.json")):
        sections = json.loads(path.read_text(encoding="utf-8"))
        names = sections.get("Government", {}).get("Country name", {})
        name = plain_text((names.get("conventional short form") or {}).get("text", "")).split(";")[0]
        if not name or name == "none":
            continue
        for fields in sections.values():
            for field, value in fields.items():
                parts = [value.get("text", ""), *(part.get("text", "") for part in value.values() if isinstance(part, dict))]
                if is_prose(text := " ".join(plain for part in parts if (plain := plain_text(part)))):
                    yield f"{field.replace(' - ', ', ').strip()} of {name}", text


def dictionary(folders: Folders) -> Pairs:
    """WordNet's data files: a synset a line, its words in fields 4, 6, ... and behind the bar the gloss and quoted examples."""
    for part in ("noun", "verb", "adj", "adv"):
        for line in (folders.wordnet / f"data.{part}").read_text(encoding="utf-8").splitlines():
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


def utterances(folders: Folders) -> Pairs:
    """What users say to assistants, two of the same intent. CLINC's out-of-scope queries have no intent in common, and are left out."""
    intents: dict[str, list[str]] = {}
    clinc = json.loads((folders.sources / "clinc/oos-eval/data/data_full.json").read_text(encoding="utf-8"))
    for part in ("train", "val", "test"):
        for text, intent in clinc[part]:
            intents.setdefault(intent, []).append(text)
    for path in sorted((folders.sources / "sonos/nlu-benchmark").glob("2017-06-custom-intent-engines/*/train_*_full.json")):
        for intent, examples in json.loads(path.read_bytes().decode("utf-8", errors="replace")).items():
            texts = (" ".join("".join(part["text"] for part in example["data"]).split()) for example in examples[:600])
            intents.setdefault(f"snips {intent}", []).extend(text for text in texts if "\ufffd" not in text)
    draw = random.Random(1)
    for texts in intents.values():
        texts = list(dict.fromkeys(texts))
        draw.shuffle(texts)
        yield from zip(texts[::2], texts[1::2], strict=False)


def turns(folders: Folders, first: int = 4) -> Pairs:
    """Taskmaster's dialogues, the first turns of each: what is said, and what is said to that."""
    for path in sorted((folders.sources / "google-research-datasets/Taskmaster/TM-4-2024/data").glob("*.json")):
        for dialogue in json.loads(path.read_text(encoding="utf-8")):
            said = [" ".join(turn.get("text", "").split()) for turn in dialogue["utterances"]]
            yield from ((first, second) for first, second in pairwise(said[:first]) if min(len(first.split()), len(second.split())) >= 6)


def spoken_sentences(folders: Folders) -> Pairs:
    """Common Voice's sentences stand alone: each beside that which is most like it by words."""
    path = folders.sources / "skanderbenalaya/common-voice/server/data/en/sentence-collector.txt"
    sentences = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if 5 <= len(line.split()) <= 40]
    drawn = random.Random(1).sample(sentences, 12_000)
    ordered = [sentence for sentence, _ in by_topic([(sentence, "") for sentence in drawn], 2, random.Random(1))]
    yield from zip(ordered[::2], ordered[1::2], strict=False)


def pubmed(folders: Folders) -> Pairs:
    """PubMedQA's expert-labelled questions: the conclusion answers one, the abstract's parts are what it rests on."""
    for entry in json.loads((folders.sources / "pubmedqa/pubmedqa/data/ori_pqal.json").read_text(encoding="utf-8")).values():
        yield entry["QUESTION"], entry["LONG_ANSWER"]
        yield entry["QUESTION"], " ".join(entry["CONTEXTS"])


def diseases(folders: Folders) -> Pairs:
    """The Disease Ontology: a disease and its other names -> its definition. What cites Wikipedia (share-alike) is left out."""
    for path in sorted((folders.sources / "DiseaseOntology/HumanDiseaseOntology/src/ontology/subsets").glob("*.obo")):
        for term in path.read_text(encoding="utf-8").split("[Term]")[1:]:
            definition = re.search(r'^def: "((?:[^"\\]|\\.)*)" \[(.*)\]', term, re.MULTILINE)
            name = re.search(r"^name: (.*)$", term, re.MULTILINE)
            if definition and name and "wikipedia" not in definition[2].lower():
                names = [name[1], *re.findall(r'^synonym: "([^"]+)" EXACT', term, re.MULTILINE)[:2]]
                yield ", ".join(names), re.sub(r"\\(.)", r"\1", definition[1]).replace("_", " ")


def word_problems(folders: Folders) -> Pairs:
    """GSM8K's training part: everyday arithmetic in words, and the way to the answer without the calculator's annotations."""
    with open(folders.sources / "openai/grade-school-math/grade_school_math/data/train.jsonl", encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            yield record["question"], re.sub(r"<<[^>]*>>", "", record["answer"].split("\n####")[0])


def textbooks(folders: Folders) -> Pairs:
    """OpenStax: a section's title -> its paragraphs, a glossary's term -> its meaning, an exercise's question -> its solution."""
    name = re.compile(r"^(.*\})?")
    for book in TEXTBOOKS:
        for path in sorted((folders.sources / f"openstax/osbooks-{book}/modules").glob("*/index.cnxml")):
            document = ElementTree.parse(path).getroot()
            for element in document.iter():
                element.tag = name.sub("", element.tag)
            title = document.findtext("title") or ""
            if title == "Preface":
                continue
            yield from _glossary_and_exercises(document)
            content = document.find("content")
            for section in [] if content is None else [content, *content.iter("section")]:
                if "objectives" in section.get("class", ""):
                    continue
                heading = section.findtext("title") or ""
                text = " ".join(cnxml(paragraph) for paragraph in section.findall("para"))
                if is_prose(text):
                    yield headed(title, heading), text


def _glossary_and_exercises(document: ElementTree.Element) -> Pairs:
    for definition in document.iter("definition"):
        term, meaning = definition.find("term"), definition.find("meaning")
        if term is not None and meaning is not None:
            yield cnxml(term), cnxml(meaning)
    for exercise in document.iter("exercise"):
        problem, solution = exercise.find("problem"), exercise.find("solution")
        if problem is not None and solution is not None and len(cnxml(solution).split()) >= 8 and len(cnxml(problem).split()) >= 5:
            yield cnxml(problem), cnxml(solution)


def stories(folders: Folders) -> Pairs:
    """African Storybook, those under CC BY: a title -> the story's beginning, and each page but the last -> the next."""
    for path in sorted((folders.sources / "global-asp/asp-source/en").glob("0*.md")):
        text = path.read_text(encoding="utf-8")
        pages = [" ".join(page.split()) for page in re.split(r"^##.*$", text, flags=re.MULTILINE)]
        title = pages[0].removeprefix("# ").strip()
        if not re.search(r"License: \[CC-BY\]", text):
            continue
        pages = [page for page in pages[1:] if page and "License:" not in page]
        yield title, " ".join(pages[:6])
        yield from ((first, second) for first, second in pairwise(pages) if min(len(first.split()), len(second.split())) >= 6)


def books(folders: Folders) -> Pairs:
    """Standard Ebooks' editions of books in the public domain: a sentence of a paragraph -> the rest of it."""
    draw = random.Random(1)
    for book in BOOKS:
        for path in sorted((folders.sources / "standardebooks" / book / "src/epub/text").glob("*.xhtml")):
            if path.stem in ("colophon", "imprint", "uncopyright", "titlepage", "halftitlepage", "endnotes", "toc", "dedication", "loi"):
                continue
            text = re.sub(r"<a [^>]*noteref[^>]*>.*?</a>", "", path.read_text(encoding="utf-8"))
            for paragraph in re.findall(r"<p>(.*?)</p>", text, re.DOTALL):
                plain = plain_text(re.sub(r"</?(i|b|em|abbr|span|strong|a)\b[^>]*>", "", paragraph)).replace("\u2060", "").replace("\ufeff", "")
                sentences = SENTENCE_END.split(plain)
                if PARAGRAPH_WORDS[0] <= len(plain.split()) <= PARAGRAPH_WORDS[1] and len(sentences) >= 2:
                    place = draw.randrange(len(sentences))
                    if len(sentences[place].split()) >= 5:
                        yield sentences[place], " ".join(sentences[:place] + sentences[place + 1 :])


def proposals(folders: Folders) -> Pairs:
    yield from list(markdown(folders.sources / "ethereum/EIPs", "EIPS/*.md"))[::10]  # a tenth: they are many, and alike
    yield from _python_proposals(folders)


def _python_proposals(folders: Folders) -> Pairs:
    """Python's enhancement proposals, reStructuredText: heading -> paragraphs. What is indented is code or a directive."""
    for path in sorted((folders.sources / "python/peps/peps").glob("pep-*.rst")):
        text = path.read_text(encoding="utf-8")
        title = re.search(r"^Title: (.*)$", text, re.MULTILINE)
        if "public domain" not in text.lower() or not title:
            continue
        parts = re.split(r"^([^\s=\-~'^].*)\n([=\-~'^])\2{3,}$", text, flags=re.MULTILINE)[1:]
        for heading, body in zip(parts[::3], parts[2::3], strict=True):
            lines = " ".join(line for line in body.splitlines() if not re.match(r"\s+\S|\.\. ", line))
            lines = re.sub(r"\[#?[\w-]+\]_", "", re.sub(r":pep:`(\d+)", r"PEP :pep:`\1", lines))
            plain = re.sub(r":[\w:-]+:`~?!?([^`<]*?)(\s*<[^>]*>)?`", r"\1", lines)
            plain = inline(re.sub(r"`([^`<]*?)\s*<[^>]*>`__?|`([^`]+)`_", r"\1\2", plain).replace("::", ":"))
            if heading not in ("Copyright", "References", "Footnotes") and is_prose(plain):
                yield f"{title[1]}: {heading}", plain


def code_versions() -> str:
    names = (distribution or package for package, distribution in PACKAGES.items())
    return ", ".join([f"CPython {platform.python_version()}", *(f"{name} {version(name)}" for name in names)])


def code(folders: Folders) -> Pairs:
    """What a function's docstring says first -> the function without it: Python's standard library and the installed packages."""
    del folders
    library, packages = Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))
    for root in (library, *(packages / package for package in PACKAGES)):
        for path in sorted(root.rglob("*.py")):
            inside = path.relative_to(root).parts
            if {"test", "tests", "testing", "site-packages", "dist-packages", "_vendor", "idlelib", "lib2to3"} & set(inside):
                continue
            yield from functions(path.read_text(encoding="utf-8", errors="ignore"))


# Readers of the large plan (distillation_large.py).

NO_CHAPTERS = ("colophon", "imprint", "uncopyright", "titlepage", "halftitlepage", "endnotes", "toc", "dedication", "loi")
NO_CODE = {"docs", "test", "tests", "testing", "site-packages", "dist-packages", "_vendor", "vendor", "idlelib", "lib2to3"}
CODE_CHARACTERS = 1_000


def chapters(books: list[str]) -> Callable[[Folders], Pairs]:
    """Standard Ebooks: a book's title and chapter -> the whole of it."""

    def read(folders: Folders) -> Pairs:
        for book in books:
            for path in sorted((folders.sources / book / "src/epub/text").glob("*.xhtml")):
                if path.stem in NO_CHAPTERS:
                    continue
                text = re.sub(r"<a [^>]*noteref[^>]*>.*?</a>", "", path.read_text(encoding="utf-8"))
                title = re.search(r"<title>(.*?)</title>", text, re.DOTALL)
                paragraphs = (re.sub(r"</?(i|b|em|abbr|span|strong|a)\b[^>]*>", "", found) for found in re.findall(r"<p>(.*?)</p>", text, re.DOTALL))
                plain = " ".join(plain_text(paragraph) for paragraph in paragraphs).replace("\u2060", "").replace("\ufeff", "")
                if is_prose(plain):
                    yield headed(book.split("_", 1)[1].replace("-", " ").replace("_", ", "), plain_text(title[1]) if title else ""), plain

    return read


def all_spoken_sentences(folders: Folders) -> Pairs:
    """Common Voice's sentences, two beside one another that have nothing to do with one another."""
    folder = folders.sources / "skanderbenalaya/common-voice/server/data/en"
    sentences = [line.strip() for path in sorted(folder.glob("*.txt")) for line in path.read_text(encoding="utf-8").splitlines()]
    sentences = list(dict.fromkeys(sentence for sentence in sentences if 4 <= len(sentence.split()) <= 40))
    yield from zip(sentences[::2], sentences[1::2], strict=False)


def all_turns(folders: Folders) -> Pairs:
    yield from turns(folders, sys.maxsize)


def all_proposals(repositories: dict[str, str]) -> Callable[[Folders], Pairs]:
    def read(folders: Folders) -> Pairs:
        yield from pages(repositories)(folders)
        yield from _python_proposals(folders)

    return read


def how_tos(repositories: dict[str, str]) -> Callable[[Folders], Pairs]:
    def read(folders: Folders) -> Pairs:
        for repository, pattern in repositories.items():
            yield from whole(folders.sources / repository, pattern)

    return read


def all_code(repositories: list[str], packages: list[str] | None = None) -> Callable[[Folders], Pairs]:
    def read(folders: Folders) -> Pairs:
        for text in _python_files(folders, repositories, packages):
            yield from functions(text, CODE_CHARACTERS)

    return read


def all_docstrings(repositories: list[str]) -> Callable[[Folders], Pairs]:
    def read(folders: Folders) -> Pairs:
        for text in _python_files(folders, repositories, None):
            yield from docstrings(text)

    return read


def _python_files(folders: Folders, repositories: list[str], packages: list[str] | None) -> Iterator[str]:
    """Those of repositories and, where packages are asked for, of these and the standard library."""
    roots = [folders.sources / repository for repository in repositories]
    if packages:
        installed = Path(sysconfig.get_path("purelib"))
        roots = [Path(sysconfig.get_path("stdlib")), *(installed / package for package in packages), *roots]
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            if not NO_CODE & set(path.relative_to(root).parts):
                yield path.read_text(encoding="utf-8", errors="ignore")


def all_commented(repositories: dict[str, str]) -> Callable[[Folders], Pairs]:
    def read(folders: Folders) -> Pairs:
        for repository, pattern in repositories.items():
            for path in sorted((folders.sources / repository).glob(pattern)):
                if not NO_CODE & set(path.relative_to(folders.sources).parts):
                    yield from commented(path.read_text(encoding="utf-8", errors="ignore"), CODE_CHARACTERS)

    return read
