"""Figures by hand, intervals that cover, tests that tell apart, and every kind of set and encoder."""

import gzip
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from trainer.cli import main
from trainer.errors import InputError
from trainer.evaluate import metrics, seeds
from trainer.evaluate.encoders import HttpEncoder, open_encoder
from trainer.evaluate.judge import Judgement, compare, judge
from trainer.evaluate.sets import load_set
from trainer.evaluate.statistics import mean_interval, paired_difference, statistic_interval
from trainer.model import PoolingChoice, new_model, save_model
from trainer.tests.served import served
from trainer.tests.tiny import WORDS, tiny_bert


def test_ndcg_and_recall_by_hand() -> None:
    relevance = {"a": 2, "b": 1, "z": 1}
    gained = 1 / math.log2(2) + 2 / math.log2(4)
    ideal = 2 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
    assert metrics.ndcg_at(10, ["b", "x", "a"], relevance) == pytest.approx(gained / ideal)
    assert metrics.recall_at(2, ["b", "x", "a"], relevance) == pytest.approx(1 / 3)


def test_spearman_is_scipys_ties_included() -> None:
    generator = np.random.default_rng(0)
    left, right = generator.integers(0, 5, 50).astype(float), generator.normal(size=50)
    assert metrics.spearman(left, right) == pytest.approx(spearmanr(left, right).statistic)


def test_top_documents_is_exact_search_over_any_blocks() -> None:
    generator = np.random.default_rng(1)
    queries, documents = generator.normal(size=(7, 4)), generator.normal(size=(30, 4))
    expected = np.argsort(-(queries @ documents.T), axis=1)[:, :5]
    np.testing.assert_array_equal(metrics.top_documents(queries, documents, 5, block=3), expected)
    assert metrics.top_documents(queries, documents[:3], 5).shape == (7, 3)


def test_classification_and_clustering_are_perfect_where_labels_are_apart_and_chance_where_they_are_not() -> None:
    generator = np.random.default_rng(2)
    labels = [str(i % 4) for i in range(400)]
    apart = np.eye(4)[[int(label) for label in labels]] + generator.normal(0, 0.05, (400, 4))
    noise = generator.normal(size=(400, 4))
    rounds = metrics.classification_rounds(labels[:200])
    assert [len(set(rows.tolist())) for rows in rounds] == [4 * 8] * 10 and rounds[0].tolist() != rounds[1].tolist()
    assert metrics.classification_accuracies(apart[:200], labels[:200], apart[200:], labels[200:], rounds).mean() == 1
    assert 0.1 < metrics.classification_accuracies(noise[:200], labels[:200], noise[200:], labels[200:], rounds).mean() < 0.4
    assert metrics.clustering_v_measures(apart, labels).mean() == pytest.approx(1)
    assert metrics.clustering_v_measures(noise, labels).mean() < 0.1


def test_intervals_cover_the_truth_nineteen_times_in_twenty() -> None:
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(60):
        interval = mean_interval(generator.normal(0.5, 1, 80))
        covered += interval.low <= 0.5 <= interval.high
    assert covered >= 52  # 57 expected; fewer than 52 of 60 has a probability below 1%


def test_a_paired_test_sees_a_small_steady_difference_that_intervals_alone_hide() -> None:
    generator = np.random.default_rng(4)
    one = generator.uniform(size=300)
    other = one - 0.02 + generator.normal(0, 0.02, 300)
    assert mean_interval(one).low < other.mean(), "the intervals overlap"
    difference, p_value = paired_difference(300, lambda rows: float((one - other)[rows].mean()))
    assert difference.low > 0.01 and p_value < 0.01
    shuffled = generator.permutation(one)
    assert paired_difference(300, lambda rows: float((one - shuffled)[rows].mean()))[1] > 0.5


def test_spearmans_interval_and_comparison_draw_pairs() -> None:
    generator = np.random.default_rng(5)
    gold = generator.uniform(0, 5, 200)
    good, poor = gold + generator.normal(0, 1, 200), gold + generator.normal(0, 3, 200)
    interval = statistic_interval(200, lambda rows: metrics.spearman(good[rows], gold[rows]))
    assert interval.low < interval.value < interval.high
    make = lambda items: Judgement("s", "spearman", {"spearman": interval}, items, gold)  # noqa: E731
    difference, p_value = compare(make(good), make(poor))
    assert difference.value > 0 and p_value < 0.01


def phrase(generator: random.Random, words: int) -> str:
    return " ".join(generator.choices(WORDS[:40], k=words))


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One of each kind, with a query that is a part of its document, so that any encoder finds something."""
    root, generator = tmp_path_factory.mktemp("sets"), random.Random(6)
    documents = [phrase(generator, 8) for _ in range(30)]
    retrieval = root / "find"
    (retrieval / "qrels").mkdir(parents=True)
    with gzip.open(retrieval / "corpus.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"_id": f"d{i}", "title": "", "text": text}) + "\n" for i, text in enumerate(documents))
    (retrieval / "queries.jsonl").write_text("".join(json.dumps({"_id": f"q{i}", "text": text[:20]}) + "\n" for i, text in enumerate(documents)))
    (retrieval / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"q{i}\td{i}\t1\n" for i in range(30)) + "q0\tgone\t1\n")
    for name, files in {"same": {"test": "score\tsentence1\tsentence2\n"}, "intent": {"train": "", "test": ""}, "topics": {"all": ""}}.items():
        (root / name).mkdir()
        for file, header in files.items():
            rows = [f"{i % 5}.0\t{phrase(generator, 4)}\t{phrase(generator, 4)}" if name == "same" else f"{'ab'[i % 2]}\t{phrase(generator, 5)}" for i in range(40)]
            (root / name / f"{file}.tsv").write_text(header + "\n".join(rows) + "\n")
    return {path.name: str(path) for path in root.iterdir()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("model")
    model = new_model(tiny_bert(root / "base"), PoolingChoice(mode="ata", gamma=0.5))
    model.prompts["query"] = "query : "
    save_model(model, root / "saved")
    return root / "saved"


def test_the_command_judges_encoders_on_every_kind_of_set_and_reports(sets: dict[str, str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ["evaluate", "--encoder", f"whole={folder}", "--encoder", f"again={folder}", "--output", str(tmp_path)]
    assert main(arguments + [word for place in sets.values() for word in ("--set", place)]) == 0
    report = json.loads((tmp_path / "evaluation.json").read_text())["encoders"]
    assert {name: entry["metric"] for name, entry in report["whole"].items()} == {
        "find": "ndcg@10", "same": "spearman", "intent": "accuracy", "topics": "v-measure"}
    for entry in report["again"].values():
        assert entry["difference"]["value"] == 0 and entry["difference"]["pValue"] == 1
    assert "recall@100" in report["whole"]["find"]["figures"] and report["whole"]["find"]["items"] == 30
    table = (tmp_path / "evaluation.md").read_text()
    assert table.startswith("| set | metric | n | whole | again |") and "95% bootstrap intervals" in table
    assert (tmp_path / "evaluation.png").read_bytes().startswith(b"\x89PNG")
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sum(event["event"] == "evaluation" for event in events) == 8 and events[-1]["event"] == "done"


@pytest.mark.parametrize(("encoders", "times", "message"), [
    (["one/model", "two/model"], 1, "two encoders are called model"), (["one/model"], 2, "two sets are called find"),
])
def test_names_that_a_report_would_mix_up_are_refused(
    encoders: list[str], times: int, message: str, sets: dict[str, str], capsys: pytest.CaptureFixture,
) -> None:
    assert main(["evaluate", *(word for place in encoders for word in ("--encoder", place)), *["--set", sets["find"]] * times]) == 2
    assert message in capsys.readouterr().err


def test_a_sample_of_queries_is_the_same_every_time(sets: dict[str, str]) -> None:
    one, two = (load_set(sets["find"], queries_max=5, seed=1) for _ in range(2))
    assert len(one.queries) == 5 and one.queries == two.queries and one.corpus.keys() == {f"d{i}" for i in range(30)}


def test_fewer_documents_keep_the_judged_ones(sets: dict[str, str]) -> None:
    small = load_set(sets["find"], queries_max=5, seed=1, documents_max=9)
    assert len(small.corpus) == 9 and all(document in small.corpus for query in small.queries for document in small.relevance[query])


def test_a_folder_that_is_no_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no evaluation set: it holds neither corpus.jsonl nor test.tsv nor all.tsv"):
        load_set(str(tmp_path))


@pytest.fixture
def server(folder: Path) -> Iterator[str]:
    with served(open_encoder(str(folder)), "some model") as url:
        yield url


def test_a_server_is_judged_as_the_model_that_it_serves(server: str, folder: Path, sets: dict[str, str]) -> None:
    served, local = judge(HttpEncoder(server, batch=7), load_set(sets["find"])), judge(open_encoder(str(folder)), load_set(sets["find"]))
    np.testing.assert_array_equal(served.items, local.items)


def test_a_servers_early_exit_is_asked_for_by_its_address(server: str) -> None:
    np.testing.assert_allclose(open_encoder(f"{server}?layers=2").encode(["red cat"], ""), -open_encoder(server).encode(["red cat"], ""))
    with pytest.raises(InputError, match="layers=N, or nothing"):
        open_encoder(f"{server}?layer=2")


def test_an_empty_text_is_like_nothing_to_a_server(server: str) -> None:
    one, empty, other = HttpEncoder(server, batch=2).encode(["red cat", " ", "blue dog"], "")
    assert not empty.any()
    np.testing.assert_allclose([one, other], HttpEncoder(server).encode(["red cat", "blue dog"], ""))


def test_what_a_server_refuses_is_passed_on(server: str) -> None:
    with pytest.raises(InputError, match="/embed answered 422: .*must not hold boom"):
        HttpEncoder(server).encode(["boom"], "")
    with pytest.raises(InputError, match="/embed gave no answer that can be read"):
        HttpEncoder("http://127.0.0.1:9").encode(["text"], "")


def test_prompts_belong_to_roles_and_vectors_can_be_cut(folder: Path) -> None:
    encoder, cut = open_encoder(str(folder)), open_encoder(str(folder), dimensions=8)
    assert not np.allclose(encoder.encode(["red cat"], "query"), encoder.encode(["red cat"], "document"))
    np.testing.assert_allclose(encoder.encode(["query : red cat"], ""), encoder.encode(["red cat"], "query"), atol=1e-6)
    short = cut.encode(["red cat"], "")
    np.testing.assert_allclose(short, encoder.encode(["red cat"], "")[:, :8] / np.linalg.norm(encoder.encode(["red cat"], "")[:, :8]), atol=1e-6)


def runs_of(values: np.ndarray, name: str = "s") -> seeds.Runs:
    """A judgement for each row of item values [runs, items]."""
    return seeds.Runs([Judgement(name, "ndcg@10", {"ndcg@10": mean_interval(row)}, row) for row in values])


def test_seeds_that_disagree_widen_the_interval_and_equal_ones_do_not() -> None:
    generator = np.random.default_rng(7)
    items = generator.uniform(size=400)
    alone = runs_of(items[None]).interval
    same = runs_of(np.stack([items] * 3)).interval
    apart = runs_of(np.stack([items - 0.2, items, items + 0.2])).interval
    assert same.value == pytest.approx(items.mean()) and apart.value == pytest.approx(items.mean())
    assert same.high - same.low == pytest.approx(alone.high - alone.low, rel=0.15)
    assert apart.high - apart.low > 3 * (same.high - same.low)


def test_a_steady_difference_over_seeds_is_seen_and_one_that_seeds_disagree_about_is_not() -> None:
    generator = np.random.default_rng(8)
    base = generator.uniform(size=(3, 200)) + generator.normal(0, 0.2, (3, 1))  # the runs differ widely, but alike for both
    steady, p_steady = seeds.difference([runs_of(base + 0.02)], [runs_of(base)])
    assert steady.value == pytest.approx(0.02) and steady.low == pytest.approx(0.02) and p_steady < 0.01
    lucky = base + np.array([[0.2], [-0.1], [-0.04]])
    assert seeds.difference([runs_of(lucky)], [runs_of(base)])[1] > 0.2
    both, _ = seeds.difference([runs_of(base + 0.02), runs_of(base + 0.04, "t")], [runs_of(base), runs_of(base, "t")])
    assert both.value == pytest.approx(0.03)


def test_runs_over_other_items_are_not_compared() -> None:
    with pytest.raises(ValueError, match="s: runs over other items"):
        seeds.difference([runs_of(np.ones((2, 5)))], [runs_of(np.ones((2, 6)))])
