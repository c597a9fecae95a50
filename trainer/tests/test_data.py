"""Reading, storing, ordering and batching of training records."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from trainer.data.batches import Stage, collate
from trainer.data.curriculum import LevelDifficulty, check_order, choose_negatives
from trainer.data.records import BadLine, Record, read_records
from trainer.data.store import open_store
from trainer.errors import InputError


def write_lines(path: Path, *lines: object) -> Path:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def pairs(count: int) -> list[dict]:
    return [{"query": f"q{i}", "positive": f"p{i}"} for i in range(count)]


def read(path: Path, **options: float) -> tuple[list[Record], list[BadLine]]:
    bad: list[BadLine] = []
    return list(read_records(path, bad.append, **options)), bad


def test_both_dialects_and_gzip_are_read(tmp_path: Path) -> None:
    records, bad = read(write_lines(
        tmp_path / "a.jsonl.gz", {"query": "q", "positive": "p", "negatives": ["n"]},
        {"query": "q", "pos": ["p"], "neg": ["m", "n"], "neg_levels": [2, 1], "pos_scores": [9], "neg_scores": [1, 2], "prompt": "Find: "}))
    assert bad == []
    assert records[0] == Record("q", "p", ("n",), (1,))
    assert records[1] == Record("q", "p", ("m", "n"), (2, 1), None, 9.0, (1.0, 2.0), "Find: ")


def test_sts_files_are_read_by_their_columns(tmp_path: Path) -> None:
    records, bad = read(write_lines(tmp_path / "sts.tsv", "score\tsentence1\tsentence2", '4.5\ta "quoted\tb', "1.0\tonly one"))
    assert records == [Record('a "quoted', "b", score=4.5)]
    assert [(line.line, line.reason) for line in bad] == [(3, "2 columns instead of score, sentence1, sentence2")]


@pytest.mark.parametrize(("line", "reason"), [
    ("{", "Expecting property name"),
    ("[1]", "not a JSON object"),
    ({"query": "q"}, "positive is missing"),
    ({"query": "  ", "positive": "p"}, "query is missing, empty"),
    ({"query": "q", "positive": "p", "negatives": ["n", "p"]}, "the positive is equal to one of its negatives"),
    ({"query": "q", "positive": "p", "negatives": ["n"], "neg_levels": [0]}, "neg_levels must be 1 whole numbers"),
    ({"query": "q", "positive": "p", "score": "high"}, "score must be a number"),
    ({"query": "q", "positive": "p", "neg": 5}, "negatives must be a list"),
    ({"query": "q", "positive": "p", "neg": ["n"], "neg_levels": 2}, "neg_levels must be a list"),
    ({"query": "q", "positive": "p", "neg": ["n"], "pos_scores": 0.9, "neg_scores": [0.1]}, "pos_scores must be a list"),
    ({"query": "q", "positive": "p", "neg": ["n"], "pos_scores": [0.9], "neg_scores": [None]}, "neg_scores must be 1 numbers"),
    ({"query": "q", "positive": "p", "neg": ["n"], "pos_scores": [None], "neg_scores": [1]}, "pos_scores must be a number"),
    ({"query": "half \ud83d", "positive": "p"}, "query holds half of a surrogate pair"),
])
def test_a_bad_line_is_named_by_file_and_line_and_the_rest_is_read(line: object, reason: str, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", *pairs(1), "", line, *pairs(1))
    records, bad = read(path)
    assert len(records) == 2
    assert (bad[0].file, bad[0].line) == (str(path), 3) and reason in bad[0].reason


def test_negatives_may_be_null(tmp_path: Path) -> None:
    assert read(write_lines(tmp_path / "a.jsonl", {"query": "q", "positive": "p", "neg": None}))[0] == [Record("q", "p")]


def test_a_line_that_is_no_utf8_is_bad_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"query": "caf\xe9", "positive": "p"}\n{"query": "q", "positive": "p"}\n')
    records, bad = read(path)
    assert len(records) == 1 and bad == [BadLine(str(path), 1, "not valid UTF-8")]


def test_bad_lines_above_the_bound_stop_the_run_and_below_it_do_not(tmp_path: Path) -> None:
    few = write_lines(tmp_path / "few.jsonl", *pairs(1200), *["x"] * 12)
    assert len(read(few, bad_share_max=0.01)[1]) == 12
    with pytest.raises(InputError, match=r"many.jsonl has 12 bad lines in its first 1112, the last one line 1112 .* more than 1% are not forgiven"):
        read(write_lines(tmp_path / "many.jsonl", *pairs(1100), *["x"] * 12), bad_share_max=0.01)


@pytest.mark.parametrize("lines", [[], ["x", "y"]])
def test_a_file_without_a_record_is_refused(lines: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no training record"):
        read(write_lines(tmp_path / "a.jsonl", *lines))


def test_a_store_gives_records_back_by_number_and_is_made_anew_when_its_source_changes(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = write_lines(tmp_path / "a.jsonl", {"query": "é", "positive": "p", "negatives": ["n"]}, "bad", *pairs(3))
    store = open_store(source, tmp_path / "stores", "a")
    assert len(store) == 4 and store[0] == Record("é", "p", ("n",), (1,)) and store[3].query == "q2"
    assert store.summary.bad_lines == 1 and f"{source}:2: " in json.loads(capsys.readouterr().out)["message"]
    write_lines(source, *pairs(2))
    assert len(open_store(source, tmp_path / "stores", "a")) == 2


def test_a_store_outlives_sources_that_cannot_be_read(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "a.jsonl", *pairs(3))
    open_store(source, tmp_path / "stores", "a")
    with pytest.raises(InputError, match="there is no training data"):
        open_store(tmp_path / "elsewhere.jsonl", tmp_path / "stores", "a")
    bad = write_lines(tmp_path / "bad.jsonl", *pairs(1), *["x"] * 20)
    with pytest.raises(InputError, match="bad lines"):
        open_store(bad, tmp_path / "stores", "a")
    assert open_store(source, tmp_path / "stores", "a")[2].query == "q2"
    assert sorted(path.name for path in (tmp_path / "stores").iterdir()) == ["a.json", "a.jsonl", "a.offsets"]


GRADED = Record("q", "p", ("n1", "n2", "n3", "n4"), (1, 2, 3, 4))


@pytest.mark.parametrize(("order", "levels"), [
    ("coarse-to-fine", [1, 1, 2, 2, 3, 3, 4, 4]), ("reverse", [4, 4, 3, 3, 2, 2, 1, 1]), ("level-3", [3] * 8)])
def test_an_order_meets_the_levels_in_equal_shares_of_the_run(order: str, levels: list[int]) -> None:
    generator = np.random.default_rng(0)
    met = [choose_negatives(GRADED, order, (1, 2, 3, 4), step / 8, generator, LevelDifficulty()) for step in range(8)]
    assert met == [[level - 1] for level in levels]


def test_all_gives_every_negative_none_no_negative_and_random_every_level(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    assert choose_negatives(GRADED, "all", (1, 2, 3, 4), 0.5, generator, LevelDifficulty()) == [0, 1, 2, 3]
    assert choose_negatives(GRADED, "none", (1, 2, 3, 4), 0.5, generator, LevelDifficulty()) == []
    drawn = {choose_negatives(GRADED, "random", (1, 2, 3, 4), 0, generator, LevelDifficulty())[0] for _ in range(60)}
    assert drawn == {0, 1, 2, 3}


def test_a_record_without_the_level_gives_its_nearest_easier_one() -> None:
    record = Record("q", "p", ("a", "b"), (1, 3))
    ask = lambda order: choose_negatives(record, order, (1, 2, 3, 4), 0, np.random.default_rng(0), LevelDifficulty())  # noqa: E731
    assert (ask("level-2"), ask("level-4")) == ([0], [1])


def test_progressive_leans_to_what_the_model_finds_easy_first_and_hard_last() -> None:
    difficulty = LevelDifficulty()
    np.testing.assert_allclose(difficulty.weights((1, 2), 0.0), [0.5, 0.5])
    for level, hardness in ((1, -0.6), (2, -0.1), (3, -0.3)):
        difficulty.observe(level, hardness)
    first, middle, last = (difficulty.weights((1, 2, 3), progress) for progress in (0.0, 0.5, 1.0))
    assert first[0] > first[2] > first[1] and last[1] > last[2] > last[0]
    np.testing.assert_allclose(middle, [1 / 3] * 3)


def test_an_order_that_does_not_exist_is_refused() -> None:
    check_order("level-12")
    with pytest.raises(InputError, match="order 'fine-to-coarse' must be one of all, none, coarse-to-fine"):
        check_order("fine-to-coarse")


def test_each_epoch_meets_every_record_once_and_steps_alone_decide_batches(tmp_path: Path) -> None:
    stores = [open_store(write_lines(tmp_path / f"{name}.jsonl", *pairs(size)), tmp_path / "s", name) for name, size in (("a", 8), ("b", 6))]
    stage = Stage(stores, [3, 1], batch=2, steps=40, order="all", seed=5)
    by_source: dict[int, list[int]] = {0: [], 1: []}
    for step in range(40):
        by_source[stage.source(step)] += stage.numbers(step)
    assert sorted(by_source[0][:8]) == list(range(8)) and sorted(by_source[1][:6]) == list(range(6))
    assert by_source[0][:8] != by_source[0][8:16], "epochs are shuffled anew"
    assert len(by_source[0]) > len(by_source[1])
    again = Stage(stores, [3, 1], batch=2, steps=40, order="all", seed=5)
    assert again.numbers(37) == stage.numbers(37)


def test_records_that_belong_together_share_a_batch_in_every_epoch(tmp_path: Path) -> None:
    store = open_store(write_lines(tmp_path / "a.jsonl", *pairs(16)), tmp_path / "s", "a")
    stage = Stage([store], [1], batch=8, steps=6, order="all", seed=5, together=[4])
    for step in range(6):
        numbers = stage.numbers(step)
        assert [numbers[i : i + 4] for i in (0, 4)] == [list(range(numbers[i], numbers[i] + 4)) for i in (0, 4)] and numbers[0] % 4 == numbers[4] % 4 == 0
    assert len({tuple(stage.numbers(step)) for step in range(6)}) > 2, "which stand together is fixed, beside which is drawn"
    assert sorted(stage.numbers(0) + stage.numbers(1)) == list(range(16))


def test_collating_gives_each_distinct_text_one_row_and_puts_prompts_before_texts() -> None:
    chosen = [(Record("q1", "shared", ("n",), (2,)), [0]), (Record("q2", "shared", prompt="Task: "), [])]
    batch = collate(chosen, 0, query_prompt="query: ", document_prompt="passage: ")
    assert batch.texts == ["query: q1", "Task: q2", "passage: shared", "passage: n"]
    indices = batch.indices
    assert indices.queries.tolist() == [0, 1] and indices.positives.tolist() == [2, 2]
    assert indices.negatives.tolist() == [[3], [0]] and indices.negatives_mask.tolist() == [[True], [False]]
    assert batch.levels.tolist() == [[2], [0]] and indices.scores is None
