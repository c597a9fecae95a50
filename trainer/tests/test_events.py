"""Everything the training commands write to standard output is an event of docs/trainer-events.schema.json."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from trainer.checkpoint import DiskFull
from trainer.cli import main
from trainer.errors import InputError, ParityError
from trainer.finetune import Diverged
from trainer.interruption import Interrupted
from trainer.tests.tiny import tiny_bert

DOCS = Path(__file__).parents[2] / "docs"
SCHEMA = json.loads((DOCS / "trainer-events.schema.json").read_text())


def test_what_commands_write_are_events_of_the_schema(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = "red green blue cat dog bird tree house river".split()
    pairs = [json.dumps({"query": f"{a} {b}", "positive": f"the {a} {b} ."}) for a in words for b in words]
    (tmp_path / "pairs.jsonl").write_text("\n".join([*pairs, "{", ""]))
    sts = tmp_path / "sts"
    sts.mkdir()
    (sts / "test.tsv").write_text("score\tsentence1\tsentence2\n" + "".join(f"{i % 5}\t{a}\t{words[i % 4]}\n" for i, a in enumerate(words)))
    recipe = {"base": str(tiny_bert(tmp_path / "base")), "output": str(tmp_path / "run"), "device": "cpu",
              "stages": [{"sources": [{"path": str(tmp_path / "pairs.jsonl")}], "steps": 8, "batch": 4}],
              "optimizer": {"learning_rate": 0.03}, "evaluation": {"sets": [str(sts)], "every": 1, "patience": 1}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    model = str(tmp_path / "run" / "model")
    assert main(["finetune", "--recipe", str(tmp_path / "recipe.yaml")]) == 0
    assert main(["evaluate", "--encoder", model, "--set", str(sts)]) == 0
    assert main(["mine", "--encoder", model, "--data", str(tmp_path / "pairs.jsonl"), "--output", str(tmp_path / "mined.jsonl")]) == 0
    assert main(["evaluate", "--encoder", model]) == 2
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for event in events:
        jsonschema.validate(event, SCHEMA)
    assert {"progress", "evaluation", "checkpoint", "stopped", "warning", "done", "error"} == {event["event"] for event in events}


def test_the_page_lists_the_exit_codes_that_errors_have() -> None:
    page = (DOCS / "trainer-events.md").read_text()
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", page, flags=re.MULTILINE)}
    assert {error.exit_code for error in (InputError, ParityError, Diverged, DiskFull, Interrupted)} <= listed
