"""Evaluation sets that had no part in how the default model was made: no choice was made by them, and they are not among those that training texts are held against.

    python bench/training/sets_aside.py --sources FOLDER --output FOLDER [--texts FOLDER …]

--sources has checkouts, under owner/name, of brmson/dataset-sts (e1d3375), deepset-ai/COVID-QA (fb2eb5e), PsychoProg/tf-idf (beee251, a
copy of CISI) and jedick/MLE-capstone-project (667a819, a copy of Citation-Integrity). Written are folders for `trainer evaluate --set`. --texts are training texts, of which those are counted that have twelve words
in a row of a set. Do not choose by these sets, or they are aside no more.

| folder | what | size |
|---|---|---|
| sick | relatedness of captions (SICK, SemEval 2014 task 1, test) | 4,927 pairs |
| headlines | of SemEval 2013's task 6; its OnWN and FNWN are made of WordNet's definitions, which training texts are, too | 750 pairs |
| sts16 | SemEval 2016's task 1, all five parts | 1,186 pairs |
| covid_questions | questions about the pandemic, alike or not | 488 pairs |
| covid_qa | questions over papers about viruses, in chunks of 150 words (COVID-QA, April 2020) | 2,401 chunks, 1,360 queries |
| cisi | questions of library science over abstracts (CISI, 1983) | 1,460 documents, 76 queries |
| citations | sentences of biomedical papers, and what they cite (Citation-Integrity) | 3,063 documents, 3,056 queries |
"""

import argparse
import csv
import gzip
import json
import re
from collections.abc import Iterable
from pathlib import Path

from distillation_facts import json_lines, rows_of
from distillation_large import judged, runs_of, words_of

CHUNK_WORDS = 150

Qrels = Iterable[tuple[str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--texts", type=Path, nargs="+", default=[])
    given = parser.parse_args()
    sts = given.sources / "brmson/dataset-sts/data/sts"
    similarity(given.output / "sick", ((row["relatedness_score"], row["sentence_A"], row["sentence_B"]) for row in rows_of(sts / "sick2014/SICK_test_annotated.txt", "excel-tab")))
    for name, pattern in (("headlines", "2013/headlines.test.tsv"), ("sts16", "2016/*.test.tsv")):
        rows = (line.split("\t") for path in sorted((sts / "semeval-sts").glob(pattern)) for line in lines(path))
        similarity(given.output / name, (tuple(row) for row in rows if row[0]))  # in 2016 some pairs have no score
    covid = given.sources / "deepset-ai/COVID-QA/data"
    similarity(given.output / "covid_questions", ((row["similar"], row["question_1"], row["question_2"]) for row in rows_of(covid / "eval_question_similarity_en.csv", "excel")))
    retrieval(given.output / "covid_qa", *covid_qa(covid / "question-answering/200423_covidQA.json"))
    retrieval(given.output / "cisi", *cisi(given.sources / "PsychoProg/tf-idf"))
    retrieval(given.output / "citations", *citations(given.sources / "jedick/MLE-capstone-project/data/citint"))
    if given.texts:
        print("\n".join(f"{name}: {count} training texts touch it" for name, count in touching(given.texts, given.output).items()))


def covid_qa(path: Path) -> tuple[dict[str, str], dict[str, str], Qrels]:
    """Each question's chunk is the one in which its answer starts; a question that is asked about two papers is of both."""
    corpus: dict[str, str] = {}
    asked: dict[str, set[str]] = {}
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            words = list(re.finditer(r"\S+", paragraph["context"]))
            starts = [word.start() for word in words]
            for first in range(0, len(words), CHUNK_WORDS):
                corpus[f"{paragraph['document_id']}-{first // CHUNK_WORDS}"] = " ".join(word[0] for word in words[first : first + CHUNK_WORDS])
            for question in paragraph["qas"]:
                place = max(0, sum(start <= question["answers"][0]["answer_start"] for start in starts) - 1)
                asked.setdefault(question["question"].strip(), set()).add(f"{paragraph['document_id']}-{place // CHUNK_WORDS}")
    queries = {str(number): text for number, text in enumerate(asked)}
    return corpus, queries, [(query, chunk) for query, text in queries.items() for chunk in sorted(asked[text])]


def cisi(folder: Path) -> tuple[dict[str, str], dict[str, str], Qrels]:
    """Titles and abstracts; queries that nothing answers are left out."""
    corpus = {number: " ".join(f"{fields.get('T', '')} {fields.get('W', '')}".split()) for number, fields in marked(folder / "CISI.ALL")}
    relevant = [(query, document) for query, document, *_ in (line.split() for line in lines(folder / "CISI.REL"))]
    queries = {number: " ".join(fields["W"].split()) for number, fields in marked(folder / "CISI.QRY") if number in {query for query, _ in relevant}}
    return corpus, queries, [(query, document) for query, document in relevant if query in queries]


def citations(folder: Path) -> tuple[dict[str, str], dict[str, str], Qrels]:
    """Of all three parts; marks of citations are left out of the sentences."""
    corpus = {str(record["doc_id"]): " ".join([record["title"], *record["abstract"]]).strip() for record in json_lines(folder / "corpus.jsonl")}
    cited: dict[str, set[str]] = {}
    for part in ("train", "dev", "test"):
        for record in json_lines(folder / f"claims_{part}.jsonl"):
            text = " ".join(re.sub(r"[(\[]?(<\|\w+\|>[,; ]*)+[)\]]?", " ", record["claim"]).split())
            cited.setdefault(text, set()).update(str(document) for document in record["cited_doc_ids"] if str(document) in corpus)
    queries = {str(number): text for number, text in enumerate(text for text, documents in cited.items() if documents)}
    return corpus, queries, [(query, document) for query, text in queries.items() for document in sorted(cited[text])]


def touching(folders: Iterable[Path], sets: Path) -> dict[str, int]:
    """How many training texts have a run of words in common with a set, by its name."""
    counts = {place.name: 0 for place in sorted(sets.iterdir()) if place.is_dir()}
    set_of = {run: name for name in counts for run in judged(sets / name).runs}
    for path in (path for folder in folders for path in sorted(folder.glob("*.jsonl.gz"))):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for text in (text for line in file for text in json.loads(line).values()):
                for name in {set_of[run] for run in runs_of(words_of(text)) if run in set_of}:
                    counts[name] += 1
    return counts


def marked(path: Path) -> Iterable[tuple[str, dict[str, str]]]:
    """Number and fields of each record of a file in SMART's format."""
    for record in re.split(r"^\.I ", path.read_text(encoding="utf-8", errors="replace"), flags=re.MULTILINE)[1:]:
        number, _, rest = record.partition("\n")
        parts = re.split(r"^\.([A-Z])\s*$", rest, flags=re.MULTILINE)
        yield number.strip(), dict(zip(parts[1::2], parts[2::2], strict=True))


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def similarity(folder: Path, rows: Iterable[tuple[str, ...]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(folder / "test.tsv.gz", "wt", encoding="utf-8", newline="") as file:
        write = csv.writer(file, dialect="excel-tab", quoting=csv.QUOTE_NONE, quotechar=None)
        write.writerow(("score", "sentence1", "sentence2"))
        count = sum(bool(write.writerow(row[:3])) for row in rows)
    print(f"{folder.name}: {count} pairs")


def retrieval(folder: Path, corpus: dict[str, str], queries: dict[str, str], relevant: Qrels) -> None:
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name, texts in (("corpus", corpus), ("queries", queries)):
        with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps({"_id": number, "title": "", "text": text}) + "\n" for number, text in texts.items())
    with gzip.open(folder / "qrels/test.tsv.gz", "wt", encoding="utf-8") as file:
        file.write("query-id\tcorpus-id\tscore\n")
        file.writelines(f"{query}\t{document}\t1\n" for query, document in relevant)
    print(f"{folder.name}: {len(corpus)} documents, {len(queries)} queries")


if __name__ == "__main__":
    main()
