"""The mteb package's own harness over our encoders, on tasks that need no download. Skipped where mteb is not installed."""

from pathlib import Path

import pytest

from trainer.evaluate.encoders import ModelEncoder
from trainer.model import PoolingChoice, new_model
from trainer.tests.tiny import tiny_bert

mteb = pytest.importorskip("mteb")


@pytest.mark.parametrize("task", ["MockSTSTask", "MockRetrievalTask"])
def test_mteb_evaluates_an_encoder_of_ours_as_its_own(task: str, tmp_path: Path) -> None:
    from mteb.mocks import mock_tasks

    from trainer.evaluate.mteb_encoder import MtebEncoder

    model = new_model(tiny_bert(tmp_path), PoolingChoice(mode="mean"))
    ours, theirs = (mteb.evaluate(encoder, getattr(mock_tasks, task)(), cache=None, show_progress_bar=False).task_results[0].get_score()
                    for encoder in (MtebEncoder(ModelEncoder(model)), model))
    assert ours == pytest.approx(theirs, abs=1e-5)
