"""Making a data set of the folder: flat triplets, level curve, card, report and the manifest's counts. Repeatable at any time."""

import hashlib
import json
from datetime import datetime, timezone
from typing import Any

from trainer.events import emit
from trainer.synthesize.build import Parts
from trainer.synthesize.card import card
from trainer.synthesize.charts import level_chart
from trainer.synthesize.folder import DatasetFolder
from trainer.synthesize.jsonl import write_text
from trainer.synthesize.report import report
from trainer.synthesize.sample import sample_rows
from trainer.synthesize.settings import Settings
from trainer.synthesize.statistics import Statistics, read_statistics

HASHED = ("train.jsonl", "triplets.jsonl", "dropped.jsonl", "tasks.jsonl", "journal.jsonl")


def publish(settings: Settings, parts: Parts, ending: str) -> Statistics:
    """Write everything that is made of the records; returns their statistics."""
    folder = parts.folder
    emit("progress", stage="publish")
    statistics = read_statistics(folder)
    _write_triplets(folder, settings.levels)
    manifest = _manifest(settings, parts, ending, statistics)
    rows = sample_rows(folder.records(), 20, settings.seed)
    chart = level_chart(statistics.measured, statistics.asked, statistics.positive)
    write_text(folder.path / "levels.svg", chart)
    write_text(folder.path / "README.md", card(settings, manifest, statistics, rows[:3]))
    write_text(folder.path / "report.html", report(manifest, statistics, chart, rows))
    folder.write_manifest(manifest)
    return statistics


def _write_triplets(folder: DatasetFolder, levels: int) -> None:
    """Columns query, positive, negative_1 to negative_k, and nothing else: what sentence-transformers' losses take as it is."""
    path = folder.path / "triplets.jsonl"
    staging = path.with_name(".triplets.jsonl.new")
    with staging.open("w", encoding="utf-8") as lines:
        for row in folder.records():
            flat = {"query": row["query"], "positive": row["pos"][0], **{f"negative_{i}": text for i, text in enumerate(row["neg"][:levels], start=1)}}
            lines.write(json.dumps(flat, ensure_ascii=False) + "\n")
    staging.replace(path)


def _manifest(settings: Settings, parts: Parts, ending: str, statistics: Statistics) -> dict[str, Any]:
    """The folder's manifest with this session closed and the counts of all sessions."""
    manifest = parts.folder.manifest()
    manifest["sessions"][-1] |= {"endedAt": datetime.now(timezone.utc).isoformat(timespec="seconds"), "ending": ending, "records": statistics.records}
    return {**manifest, "wanted": settings.records, "counts": statistics.as_json(), "spent": parts.spent(),
            "files": {name: _sha256(parts.folder, name) for name in HASHED if (parts.folder.path / name).is_file()}}


def _sha256(folder: DatasetFolder, name: str) -> str:
    digest = hashlib.sha256()
    with (folder.path / name).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
