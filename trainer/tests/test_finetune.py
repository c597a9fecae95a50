"""The training loop on tiny models: it learns, stops, resumes to the same loss, and refuses what it cannot use."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import trainer.finetune as finetuning
from trainer.batch_gradients import BatchGradients, length_sorted
from trainer.checkpoint import DiskFull, checkpoints
from trainer.data.batches import collate
from trainer.data.records import Record
from trainer.distributed import Processes
from trainer.errors import InputError
from trainer.evaluate.encoders import ModelEncoder
from trainer.evaluate.judge import judge
from trainer.evaluate.sets import load_set
from trainer.finetune import Diverged, finetune
from trainer.losses.info_nce import InfoNCE
from trainer.model import PoolingChoice, load_model, new_model
from trainer.recipe import Recipe, from_fields, load_recipe
from trainer.tests.tiny import WORDS, tiny_bert, tiny_mistral, tiny_qwen

ROOT = Path(__file__).parents[2]


def text(generator: random.Random, words: int) -> str:
    return " ".join(generator.choices(WORDS[:40], k=words))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the runs in processes of their own: with another number of threads, sums round otherwise and losses part at 1e-5."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Pairs that share words, with two graded negatives: the harder one shares some."""
    generator = random.Random(3)
    lines = []
    for _ in range(60):
        query = text(generator, generator.randint(3, 8))
        lines.append({"query": query, "pos": [query + " " + text(generator, 4)], "neg": [text(generator, 8), query[: len(query) // 2] + " " + text(generator, 5)],
                      "neg_levels": [1, 2], "pos_scores": [2.0], "neg_scores": [0.0, 1.0]})
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def sts(tmp_path: Path) -> Path:
    generator = random.Random(4)
    folder = tmp_path / "sts"
    folder.mkdir()
    rows = [f"{generator.uniform(0, 5):.2f}\t{text(generator, 5)}\t{text(generator, 5)}\n" for _ in range(40)]
    (folder / "test.tsv").write_text("score\tsentence1\tsentence2\n" + "".join(rows))
    return folder


def fields(base: Path, data: Path, output: Path, **changes: Any) -> dict[str, Any]:
    stage = {"sources": [{"path": str(data)}], "steps": 8, "batch": 8, **changes.pop("stage", {})}
    return {"base": str(base), "output": str(output), "stages": [stage], "micro_batch": 1, "device": "cpu",
            "pooling": {"mode": "ata", "gamma": 0.5, "learn_gamma": True}, "optimizer": {"learning_rate": 0.003, "schedule": "constant"}, **changes}


def recipe(*arguments: Any, **changes: Any) -> Recipe:
    return from_fields(Recipe, fields(*arguments, **changes), "")


def losses(output: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (output / "log.jsonl").read_text().splitlines()]


def start(arguments: list[str], recipe_fields: dict[str, Any], folder: Path) -> subprocess.Popen:
    """A real process of the trainer, for what only a process has: signals and neighbours."""
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe_fields))
    return subprocess.Popen([sys.executable, *arguments, "-m" if arguments == [] else "--module", "trainer", "finetune", "--recipe", str(path)],
                            cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_a_run_learns_and_leaves_a_model_its_recipe_and_what_made_it(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = finetune(recipe(tiny_bert(tmp_path / "base"), data, tmp_path / "out", stage={"steps": 30}, license="apache-2.0"))
    curve = losses(tmp_path / "out")
    assert len(curve) == 30 and sum(curve[-5:]) < 0.8 * sum(curve[:5])
    facts = json.loads((tmp_path / "out" / "run.json").read_text())
    assert facts["steps"] == 30 and facts["records"] == 240 and facts["sources"][0]["records"] == 60 and len(facts["sources"][0]["sha256"]) == 64
    assert facts["pooling"]["gamma"] != 0.5, "gamma was learned"
    assert yaml.safe_load((tmp_path / "out" / "recipe.yaml").read_text())["optimizer"]["clip"] == 1.0, "defaults are in the resolved recipe"
    assert load_model(folder)[1].gamma == pytest.approx(facts["pooling"]["gamma"])
    assert "trust_remote_code=True" in (folder / "README.md").read_text()
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    last = [event for event in events if event["event"] == "progress"][-1]
    assert last["step"] == last["of"] == 30 and last["tokensPerSecond"] > 0 and last["etaSeconds"] == 0


def test_sigterm_leaves_a_checkpoint_from_which_the_run_goes_on_to_the_same_losses(data: Path, tmp_path: Path) -> None:
    base = tiny_bert(tmp_path / "base", hidden_dropout_prob=0.1)
    changes = {"stage": {"steps": 60, "order": "progressive"}}
    finetune(recipe(base, data, tmp_path / "whole", **changes))
    process = start([], fields(base, data, tmp_path / "cut", **changes), tmp_path)
    for line in process.stdout:
        if json.loads(line)["event"] == "progress":
            process.send_signal(signal.SIGTERM)
            break
    rest = [json.loads(line) for line in process.stdout]
    assert process.wait() == 143
    done = len(losses(tmp_path / "cut"))
    assert 0 < done < 60 and rest[-1]["event"] == "error" and "go on" in rest[-1]["message"]
    finetune(recipe(base, data, tmp_path / "cut", **changes))
    assert losses(tmp_path / "cut") == pytest.approx(losses(tmp_path / "whole"), abs=1e-6)


def test_two_processes_have_the_loss_curve_of_one_at_the_same_global_batch(data: Path, tmp_path: Path) -> None:
    base = tiny_bert(tmp_path / "base", hidden_dropout_prob=0.1)
    loss = {"name": "hard_negative_mixing", "inner": {"name": "info_nce"}}
    changes = {"cached": True, "accumulate": 2, "stage": {"loss": loss}}
    finetune(recipe(base, data, tmp_path / "one", **changes))
    two = start(["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--standalone"],
                fields(base, data, tmp_path / "two", **changes), tmp_path)
    events = [json.loads(line) for line in two.stdout]
    assert two.wait() == 0
    assert events[-1]["event"] == "done" and sum(event["event"] == "done" for event in events) == 1
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)


def gradients_of(base: Path, records: list[Record], micro_batch: int, cached: bool) -> dict[str, torch.Tensor]:
    model = new_model(base, PoolingChoice(mode="ata", learn_gamma=True)).train()
    batch = collate([(record, range(len(record.negatives))) for record in records], 0)
    BatchGradients(model, Processes("cpu"), micro_batch, cached).add(batch, InfoNCE(0.1), seed=5)
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_cached_gradients_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    generator = random.Random(1)
    records = [Record(text(generator, 3), text(generator, 9), (text(generator, 5),), (1,)) for _ in range(6)]
    base = tiny_bert(tmp_path)
    whole = gradients_of(base, records, micro_batch=100, cached=False)
    for cached in (False, True):
        parts = gradients_of(base, records, micro_batch=1, cached=cached)
        assert parts.keys() == whole.keys() and "1.gamma_logit" in parts
        for name in whole:
            torch.testing.assert_close(parts[name], whole[name], atol=1e-5, rtol=1e-4, msg=lambda message, name=name: f"{name}: {message}")


def test_cached_gradients_drop_the_same_in_both_passes(tmp_path: Path) -> None:
    generator = random.Random(1)
    records = [Record(text(generator, 3), text(generator, 9)) for _ in range(6)]
    base = tiny_bert(tmp_path, hidden_dropout_prob=0.3)
    kept, again = (gradients_of(base, records, micro_batch=1, cached=cached) for cached in (False, True))
    for name in kept:
        torch.testing.assert_close(again[name], kept[name], atol=1e-6, rtol=1e-5)


def test_micro_batches_hold_texts_of_like_length() -> None:
    long, middle, short = 32, 17, 3
    # 2 x 32 tokens: two of 32, two with one of 17, then all that is left.
    assert length_sorted([short, long, middle, long, short, middle, long], 2, 32) == [[1, 3], [6, 2], [5, 0, 4]]
    # Of 17 tokens three would do, of 3 twenty-one: chunks are powers of two until few are left.
    assert [len(chunk) for chunk in length_sorted([middle] * 3 + [short] * 30, 2, 32)] == [2, 2, 16, 13]


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_checkpoint(data: Path, tmp_path: Path) -> None:
    changes = {"checkpoint_every": 1, "optimizer": {"learning_rate": 1e30, "schedule": "constant", "warmup": 0.0}}
    with pytest.raises(Diverged, match=r"at step \d, stage 1, source .*pairs.jsonl; stopped. The last good checkpoint is .*step-00000"):
        finetune(recipe(tiny_bert(tmp_path / "base"), data, tmp_path / "out", **changes))
    assert checkpoints(tmp_path / "out" / "checkpoints")


def test_too_little_disk_is_said_before_the_first_step(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("usage", "total used free")(10**9, 10**9, 1000))
    with pytest.raises(DiskFull, match="GB free and a checkpoint with the model beside it needs"):
        finetune(recipe(tiny_bert(tmp_path / "base"), data, tmp_path / "out"))
    assert not (tmp_path / "out" / "log.jsonl").exists()


def test_a_run_that_gets_no_better_stops_early_with_its_best_weights(data: Path, sts: Path, tmp_path: Path) -> None:
    changes = {"evaluation": {"sets": [str(sts)], "every": 2, "patience": 2}, "stage": {"steps": 60},
               "optimizer": {"learning_rate": 0.03, "schedule": "constant"}, "pooling": {"mode": "mean"}}
    folder = finetune(recipe(tiny_bert(tmp_path / "base"), data, tmp_path / "out", **changes))
    facts = json.loads((tmp_path / "out" / "run.json").read_text())
    assert facts["steps"] < 60 and facts["bestStep"] == facts["steps"] - 4
    again = judge(ModelEncoder(load_model(folder)), load_set(str(sts))).main.value
    assert again == pytest.approx(facts["bestEvaluation"], abs=1e-6)
    log = (tmp_path / "out" / "log.jsonl").read_text()
    finetune(recipe(tmp_path / "base", data, tmp_path / "out", **changes))
    assert (tmp_path / "out" / "log.jsonl").read_text() == log, "the same command once more trains no further"


def test_patience_may_come_with_the_command_that_goes_on(data: Path, sts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations before it kept no checkpoint of the best step."""
    base, changes = tiny_bert(tmp_path / "base"), {"stage": {"steps": 24}, "checkpoint_every": 5, "checkpoints_kept": 1}
    evaluation, saved = {"sets": [str(sts)], "every": 2}, finetuning.save_checkpoint

    def killed(folder: Path, step: int, *rest: Any) -> Path:
        if step == 10:
            raise KeyboardInterrupt
        return saved(folder, step, *rest)

    monkeypatch.setattr(finetuning, "save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        finetune(recipe(base, data, tmp_path / "out", evaluation=evaluation, **changes))
    monkeypatch.undo()
    [kept] = checkpoints(tmp_path / "out" / "checkpoints")
    state = json.loads((kept / "state.json").read_text())
    assert state["step"] == 5 and state["best_step"] in (2, 4)
    (kept / "state.json").write_text(json.dumps({**state, "best": 2.0}))  # nothing will be better
    finetune(recipe(base, data, tmp_path / "out", evaluation={**evaluation, "patience": 2}, **changes))
    assert json.loads((tmp_path / "out" / "run.json").read_text())["bestStep"] >= 6


def test_a_run_killed_before_its_first_checkpoint_leaves_no_steps_in_the_log(data: Path, tmp_path: Path) -> None:
    base = tiny_bert(tmp_path / "base")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "log.jsonl").write_text('{"step": 1, "loss": 9.0}\n{"step": 2, "lo')
    finetune(recipe(base, data, tmp_path / "out"))
    assert [json.loads(line)["step"] for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()] == list(range(1, 9))


def test_a_diverged_run_goes_on_with_a_lower_learning_rate(data: Path, tmp_path: Path) -> None:
    base, changes = tiny_bert(tmp_path / "base"), {"checkpoint_every": 2}
    finetune(recipe(base, data, tmp_path / "out", **changes))
    shutil.rmtree(checkpoints(tmp_path / "out" / "checkpoints")[-1])
    finetune(recipe(base, data, tmp_path / "out", optimizer={"learning_rate": 0.0, "schedule": "constant", "weight_decay": 0.0}, **changes))
    before, after = (load_file(path / "weights.safetensors") for path in checkpoints(tmp_path / "out" / "checkpoints")[-2:])
    assert all(torch.equal(before[name], after[name]) for name in before if not name.startswith("1."))


def test_any_seed_will_do(data: Path, tmp_path: Path) -> None:
    finetune(recipe(tiny_bert(tmp_path / "base"), data, tmp_path / "out", seed=20261129, stage={"steps": 1}))


def test_going_on_with_another_recipe_is_refused_by_what_differs(data: Path, tmp_path: Path) -> None:
    base = tiny_bert(tmp_path / "base")
    finetune(recipe(base, data, tmp_path / "out"))
    with pytest.raises(InputError, match="holds a run with another seed: go on with its own recipe"):
        finetune(recipe(base, data, tmp_path / "out", seed=2))


@pytest.mark.parametrize("base", [tiny_mistral, tiny_qwen])
def test_a_decoder_trains_by_adapters_in_bf16_with_recomputed_activations(base, data: Path, tmp_path: Path) -> None:
    changes = {"lora": {"rank": 4, "alpha": 8}, "precision": "bf16", "base_precision": "bf16", "gradient_checkpointing": True, "stage": {"steps": 30},
               "optimizer": {"learning_rate": 0.01, "schedule": "constant"}, "prompts": {"query": "query : "}}
    folder = finetune(recipe(base(tmp_path / "base"), data, tmp_path / "out", **changes))
    curve = losses(tmp_path / "out")
    assert sum(curve[-5:]) < 0.95 * sum(curve[:5])
    model = load_model(folder)
    assert model.prompts["query"] == "query : " and not any("lora" in name for name, _ in model.named_parameters())
    assert torch.isfinite(torch.tensor(model.encode(["the red cat"]))).all()


def test_exits_matryoshka_and_a_teacher_train_together(data: Path, tmp_path: Path) -> None:
    inner = {"name": "matryoshka", "dimensions": [32, 8], "inner": {"name": "info_nce"}}
    loss = {"name": "sum", "terms": [{"name": "distillation"}, {"name": "two_dimensional", "inner": inner, "weight": 0.5}]}
    base = tiny_bert(tmp_path / "base")
    teacher = finetune(recipe(base, data, tmp_path / "teacher", pooling={"mode": "mean"}))
    folder = finetune(recipe(base, data, tmp_path / "out", teacher=str(teacher), exit_layers=[1, 2], stage={"loss": loss, "steps": 20}))
    curve = losses(tmp_path / "out")
    assert sum(curve[-4:]) < sum(curve[:4])
    assert load_model(folder)[0].model.config.output_hidden_states is False


def test_two_stages_follow_one_another_with_their_own_losses(data: Path, sts: Path, tmp_path: Path) -> None:
    stages = [{"sources": [{"path": str(data)}], "steps": 3, "batch": 8},
              {"sources": [{"path": str(data)}, {"path": str(sts / "test.tsv"), "in_batch": False, "loss": {"name": "cosent"}}], "steps": 8, "batch": 4}]
    finetune(from_fields(Recipe, {**fields(tiny_bert(tmp_path / "base"), data, tmp_path / "out"), "stages": stages}, ""))
    log = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [line["source"] for line in log[:3]] == [0, 0, 0] and {line["source"] for line in log[3:]} == {0, 1}


@pytest.mark.parametrize(("changes", "message"), [
    (["stages.0.steps=0"], r"stages\[0\].steps must be at least 1"),
    (["optimizer.rate=1"], "optimizer.rate is not a recipe key; there are learning_rate"),
    (["seed=one"], "seed must be of type int, not 'one'"),
    (["precision=fp8"], "precision must be one of float32, bf16"),
    (["seed=-1"], "seed must be 0 or more"),
    (["seed"], "must read key=value"),
    (["notes=a: b: c"], "'a: b: c' is no YAML value; put quotes around a text"),
    (["stages.7.steps=1"], "there is no stages.7.steps to set"),
    (["evaluation.patience=2"], "evaluation.patience needs evaluation.every"),
])
def test_a_wrong_recipe_is_refused_by_its_key(changes: list[str], message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"base": "b", "output": "o", "stages": [{"sources": [{"path": "x"}], "steps": 1}]}))
    with pytest.raises(InputError, match=message):
        load_recipe(path, changes)


def test_flags_change_single_values_of_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("base: b\noutput: o\nstages:\n- sources: [{path: x}]\n  steps: 1\noptimizer: {learning_rate: 1e-3}\n")
    changed = load_recipe(path, ["optimizer.learning_rate=3e-5", "stages.0.batch=7", "pooling.mode=mean"])
    assert (changed.optimizer.learning_rate, changed.stages[0].batch, changed.pooling.mode) == (3e-5, 7, "mean")
