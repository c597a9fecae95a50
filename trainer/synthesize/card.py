"""README.md of the data set: the hub's metadata, so that `datasets` finds both layouts, and what a person must know of it."""

import json
from typing import Any

import yaml

from trainer.synthesize.settings import Settings
from trainer.synthesize.statistics import Statistics
from trainer.synthesize.task_types import TASK_TYPES


def card(settings: Settings, manifest: dict[str, Any], statistics: Statistics, rows: list[dict[str, Any]]) -> str:
    """Markdown with YAML front matter."""
    return "\n".join([
        "---", yaml.safe_dump(_metadata(settings, statistics), sort_keys=False, allow_unicode=True).strip(), "---", "",
        f"# {settings.output.resolve().name}", "",
        f"{statistics.records:,} queries, each with a positive and {settings.levels} negatives of rising hardness (MGH, arXiv 2509.00842), "
        f"{_made(settings, manifest)}. Made by `python -m trainer synthesize`; manifest.json has every setting, seed, prompt hash and model.", "",
        "## Load it", "", _LOADING, "", "## Hardness", "",
        "Mean cosine of the negatives to their query, by level. Levels are the order of measured similarity; *as asked* are the levels that the "
        "author or the miner was asked for.", "", _level_table(statistics), "",
        *(["![similarity by level](levels.svg)", ""] if statistics.measured else []),
        f"Measured with {manifest['encoder']['name']} {manifest['encoder']['version']} ({_pooling(manifest)}).", "",
        "## Counts", "", _counts(statistics), "", "## Sources and licence", "", _sources(settings, manifest), "",
        "## Samples", "", *[_sample(row) for row in rows]]) + "\n"


_LOADING = """```python
from datasets import load_dataset

load_dataset("path/to/this/folder", split="train")  # query, pos, neg as FlagEmbedding has them, neg_levels and more
load_dataset("path/to/this/folder", "triplets", split="train")  # query, positive, negative_1, ...: for sentence-transformers
```"""


def _metadata(settings: Settings, statistics: Statistics) -> dict[str, Any]:
    languages = [code for code in statistics.languages if len(code) == 2]
    return {
        **({"license": "other", "license_name": settings.license} if settings.license else {}),
        **({"language": languages} if languages else {}),
        "task_categories": ["sentence-similarity", "text-retrieval"],
        "tags": ["sentence-transformers", "hard-negatives", "synthetic"],
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": "train.jsonl"}]},
            {"config_name": "triplets", "data_files": [{"split": "train", "path": "triplets.jsonl"}]},
        ],
    }


def _made(settings: Settings, manifest: dict[str, Any]) -> str:
    ground = f"grounded in {manifest['corpus']['passages']:,} passages" if manifest["corpus"] else f"for the domain “{settings.domain}”"
    author = "taken from the passages themselves, without an LLM" if settings.provider == "corpus" else f"written by {manifest['provider']['model']}"
    return f"{author}, {ground}"


def _level_table(statistics: Statistics) -> str:
    if not statistics.measured:
        return "No record passed."
    asked = {level.level: f"{level.mean:.4f}" for level in statistics.asked}
    rows = [f"| {level.level} | {level.mean:.4f} | {level.low:.3f} to {level.high:.3f} | {asked.get(level.level, '')} |" for level in statistics.measured]
    positive = f"| positive | {statistics.positive.mean:.4f} | {statistics.positive.low:.3f} to {statistics.positive.high:.3f} | |" if statistics.positive else ""
    return "\n".join(["| level | mean | 10th to 90th percentile | as asked |", "|---|---|---|---|", *rows, positive]).strip()


def _counts(statistics: Statistics) -> str:
    lines = [f"- {statistics.assignments:,} assignments, {statistics.records:,} records."]
    lines += [f"- {count:,} dropped: {gate}, {reason}." for (gate, reason), count in statistics.reasons.most_common()]
    lines += [f"- {count:,} of type {name}: {TASK_TYPES[name].describes}." for name, count in statistics.task_types.most_common()]
    lines += [f"- {count:,} negatives {name}." for name, count in statistics.origins.most_common()]
    return "\n".join(lines)


def _sources(settings: Settings, manifest: dict[str, Any]) -> str:
    lines = [f"- Passages: {', '.join(path.name for path in settings.corpus)}; "
             f"{settings.license or '**no licence was given: find it out before you pass this data set on**'}."] if settings.corpus else []
    if settings.provider != "corpus":
        lines.append(f"- Texts by {manifest['provider']['model']}: its licence and its provider's terms apply to what it wrote.")
    return "\n".join(lines)


def _sample(row: dict[str, Any]) -> str:
    """One record as a list; texts as JSON strings in code spans, so that no text of a corpus becomes markup."""
    lines = [f"- {row['task_type']}, query {_code(row['query'])}", f"  - positive {row['pos_similarities'][0]:.3f} {_code(row['pos'][0])}"]
    lines += [f"  - level {level} {value:.3f} {_code(text)}" for level, value, text in zip(row["neg_levels"], row["neg_similarities"], row["neg"], strict=True)]
    return "\n".join(lines)


def _code(text: str) -> str:
    short = text if len(text) <= 200 else text[:200] + " …"
    return "`" + json.dumps(short, ensure_ascii=False).replace("`", "'") + "`"


def _pooling(manifest: dict[str, Any]) -> str:
    pooling = manifest["encoder"]["pooling"]
    return pooling["mode"] + (f", gamma {pooling['gamma']:g}" if "gamma" in pooling else "")
