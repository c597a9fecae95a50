"""Collections as users have them, and as nobody would want them."""

import gzip
import json
import random
from pathlib import Path

import pytest

from trainer.errors import InputError
from trainer.synthesize.corpus import Fields, cut, read_corpus

GOOD = "Lock gates are doors that hold the water of a canal back."


def test_bad_lines_are_counted_by_reason_and_the_good_ones_kept(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    noise = random.Random(1).randbytes(300)
    path.write_bytes(b"\n".join([
        json.dumps({"_id": "a", "title": "Gates", "text": GOOD}).encode(), b"not json", b'{"body": "no text field"}', b'{"text": 5}', b'["a list"]', noise.replace(b"\n", b""),
        json.dumps({"text": GOOD}).encode(), json.dumps({"text": "Two words"}).encode(), json.dumps({"text": ""}).encode(),
        json.dumps({"text": "\x00\x01\x02\x03 PNG \x1a\x04 IHDR \x08\x06 data here"}).encode(), json.dumps({"text": "1234 5678 90 12 34 56 -- 78"}).encode(),
        json.dumps({"text": "word " * 6000}).encode(), json.dumps({"id": 7, "text": "A lone \ud800 surrogate stands in this text."}).encode()]))
    corpus = read_corpus((path,))
    assert [passage.id for passage in corpus.passages] == ["a", "7"]
    assert corpus.passages[1].text == "A lone ? surrogate stands in this text."
    assert corpus.rejected == {"line without JSON or its 'text' field": 4, "line whose 'text' is no string": 1, "repeated": 1, "shorter than 3 words": 1,
                               "empty": 1, "binary": 1, "without words": 1, "longer than 20000 characters": 1}
    assert corpus.examples["binary"] == "corpus.jsonl line 10"


def test_passages_of_files_with_one_name_have_ids_of_their_own(tmp_path: Path) -> None:
    for folder, text in (("a", GOOD), ("b", "Sluices let water through."), ("c", GOOD)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "README.md").write_text(text)
    ids = [passage.id for passage in read_corpus((tmp_path,)).passages]
    assert ids[0] == "README#1" and len(set(ids)) == 2 and ids[1].startswith("README#1~")


def test_a_folder_of_binary_junk_is_refused_with_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(random.Random(2).randbytes(4000))
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match=r"no passage that can be used: 1 file that is not UTF-8 text \(a.txt\), 1 file of another kind \(photo.png\)"):
        read_corpus((tmp_path,))


def test_gzip_and_other_field_names_are_read(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl.gz"
    with gzip.open(path, "wt") as lines:
        lines.write(json.dumps({"query": "Gates", "positive": GOOD}) + "\n")
    passage = read_corpus((path,), Fields("positive", "query")).passages[0]
    assert (passage.title, passage.text, passage.id, passage.source) == ("Gates", GOOD, "pairs.jsonl.gz#1", "pairs.jsonl.gz")


def test_plain_text_is_cut_at_headings_and_paragraphs() -> None:
    paragraph = "The gates stand in the water all year. " * 8
    pieces = list(cut(f"# Canals\n\n{paragraph}\n\n{paragraph}\n\n{paragraph}\n\n## Gates\n\nShort text on gates."))
    assert [title for title, _ in pieces] == ["Canals", "Canals", "Gates"]
    assert pieces[-1][1] == "Short text on gates."
    assert " ".join(text for title, text in pieces if title == "Canals") == " ".join([paragraph.strip()] * 3)


def test_a_corpus_in_other_scripts_is_a_corpus(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    texts = ["船闸的闸门用来挡住运河里的水。", "Шлюзовые ворота удерживают воду в канале.", "بوابات القفل تحجز مياه القناة عن الجانب الآخر."]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    assert [passage.text for passage in read_corpus((path,)).passages] == texts
