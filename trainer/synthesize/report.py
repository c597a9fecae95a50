"""report.html: the run on one page, without scripts or anything to load. Texts of the corpus and the LLM are escaped: they are data."""

from collections import Counter
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from trainer.synthesize.charts import PAPER
from trainer.synthesize.statistics import Statistics, rises

TEMPLATE = Path(__file__).with_name("report.html")
LONG_QUERY = 160  # characters; shown in smaller type


def report(manifest: dict[str, Any], statistics: Statistics, chart: str, rows: list[dict[str, Any]]) -> str:
    """The page as a string; `rows` are the records that are shown."""
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title="Training data of graded hardness",
        subtitle=escape(_subtitle(manifest)),
        tiles=_tiles(manifest, statistics),
        chart=chart or "<p>No record passed, so there is nothing to draw.</p>",
        levels_note=escape(_levels_note(statistics)),
        funnel=_bars([("assignments", statistics.assignments), *statistics.funnel], statistics.assignments),
        reasons=_reasons(statistics),
        task_types=_bars(statistics.task_types.most_common(), statistics.records),
        languages=_bars(statistics.languages.most_common(8), statistics.records),
        sample_title=f"{len(rows)} random records" if rows else "No records",
        records="".join(map(_record, rows)),
    )


def _subtitle(manifest: dict[str, Any]) -> str:
    provider, encoder = manifest["provider"], manifest["encoder"]
    source = f"{manifest['corpus']['passages']:,} passages" if manifest["corpus"] else f"domain: {manifest['settings']['domain']}"
    author = "the corpus itself, without an LLM" if provider["provider"] == "corpus" else provider["model"]
    ended = manifest["sessions"][-1]
    return f"{source} · written by {author} · measured with {encoder['name']} {encoder['version']} · {ended['endedAt']} ({ended['ending']})"


def _tiles(manifest: dict[str, Any], statistics: Statistics) -> str:
    passed = statistics.records / statistics.assignments if statistics.assignments else 0
    spent = manifest["spent"]
    tiles = [(f"{statistics.records:,}", f"records of {manifest['wanted']:,} wanted", ""), (f"{passed:.0%}", f"of {statistics.assignments:,} assignments passed", ""),
             ("rises" if rises(statistics.measured) else "does not rise", "similarity, level by level", "good" if rises(statistics.measured) else "bad"),
             ("rises" if rises(statistics.asked) else "does not rise", "as it was asked for", "good" if rises(statistics.asked) else "bad")]
    if spent:
        about = "about " if spent["estimated"] else ""
        tiles += [(f"{spent['inputTokens'] + spent['outputTokens']:,}", f"{about}tokens in {spent['requests']:,} requests", "")]
        tiles += [(f"{spent['money']:,.2f}", "money spent", "")] if spent["money"] else []
    return "".join(f'<div class="card tile {kind}"><b>{value}</b><span class="soft">{escape(text)}</span></div>' for value, text, kind in tiles)


def _levels_note(statistics: Statistics) -> str:
    if not statistics.measured:
        return ""
    ends = f"{statistics.measured[0].mean:.3f} to {statistics.measured[-1].mean:.3f}"
    return (f"Mean cosine {ends}. Levels are given by measured similarity within a record, so the blue line rises by construction; whether the author "
            f"grades is seen in the other line. The paper's runs from {PAPER[0]} to {PAPER[1]}, with another author and another encoder.")


def _bars(items: list[tuple[str, int]], of: int) -> str:
    return "".join(f'<span>{escape(str(name))}</span><div><div style="width:{100 * count / max(of, 1):.1f}%"></div></div><span>{count:,}</span>' for name, count in items)


def _reasons(statistics: Statistics) -> str:
    """One table of records, tries and negatives that were turned down."""
    groups = [("records dropped", statistics.reasons), ("asked again", statistics.asked_again), ("single negatives dropped", statistics.negatives_dropped)]
    rows = "".join(_group(name, counter) for name, counter in groups if counter)
    return f"<table>{rows}</table><p class='soft' style='margin-top:12px'>Each of them is in dropped.jsonl with its reason.</p>" if rows else "<p>Nothing.</p>"


def _group(name: str, counter: Counter[tuple[str, str]]) -> str:
    lines = "".join(f"<tr><td>{escape(gate)}</td><td>{escape(reason)}</td><td>{count:,}</td></tr>" for (gate, reason), count in counter.most_common(12))
    return f"<tr><th colspan='2'>{escape(name)}</th><th>{counter.total():,}</th></tr>{lines}"


def _record(row: dict[str, Any]) -> str:
    tags = "".join(f'<span class="tag">{escape(tag)}</span>' for tag in (row["task_type"], row["language"], row["passage_id"][:40]) if tag)
    size = "query long" if len(row["query"]) > LONG_QUERY else "query"
    zipped = zip(row["neg_levels"], row["neg_levels_asked"], row["neg_origins"], row["neg_similarities"], row["neg"], strict=True)
    negatives = "".join(_negative(*item) for item in zipped)
    return (f'<article class="card record"><div><div class="label">query</div><div class="{size}">{escape(row["query"])}</div>{tags}</div>'
            f'<div class="positive"><div class="label">positive · {row["pos_similarities"][0]:.3f}</div><div class="text">{escape(row["pos"][0])}</div>'
            f'{_meter(row["pos_similarities"][0])}</div><div>{negatives}</div></article>')


def _negative(level: int, asked: int, origin: str, similarity: float, text: str) -> str:
    note = f"asked {asked}" if asked != level else ""
    note += (" · " if note else "") + ("mined" if origin != "written" else "")
    return (f'<div class="negative"><div><div class="label">level {level}</div>{similarity:.3f}{_meter(similarity)}<span class="soft" style="font-size:11px">'
            f'{escape(note)}</span></div><div class="text">{escape(text)}</div></div>')


def _meter(similarity: float) -> str:
    return f'<div class="meter"><div style="width:{100 * min(max(similarity, 0), 1):.0f}%"></div></div>'
