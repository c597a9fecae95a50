"""Judgements of several encoders as JSON, as Markdown tables, and as a picture."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainer.evaluate.judge import Judgement, compare


def figures(judgements: dict[str, list[Judgement]], baseline: str) -> dict[str, Any]:
    """encoder -> set -> figures with intervals, in percent, and the paired difference to `baseline`."""
    result: dict[str, Any] = {}
    theirs = {judgement.set: judgement for judgement in judgements[baseline]}
    for encoder, rows in judgements.items():
        result[encoder] = {}
        for row in rows:
            entry: dict[str, Any] = {"metric": row.metric, "items": len(row.items),
                                     "figures": {name: _percent(asdict(interval)) for name, interval in row.figures.items()}}
            if encoder != baseline:
                difference, p_value = compare(row, theirs[row.set])
                entry["difference"] = {**_percent(asdict(difference)), "to": baseline, "pValue": round(p_value, 4)}
            result[encoder][row.set] = entry
    return result


def markdown(result: dict[str, Any], baseline: str) -> str:
    """A table of main metrics with 95% intervals; a figure that differs from the baseline's at p < 0.05 is marked * """
    encoders = list(result)
    sets = list(result[encoders[0]])
    lines = ["| set | metric | n | " + " | ".join(encoders) + " |", "|---|---|---|" + "---|" * len(encoders)]
    for name in sets:
        entry = result[encoders[0]][name]
        lines.append(f"| {name} | {entry['metric']} | {entry['items']} | " + " | ".join(_cell(result[encoder][name]) for encoder in encoders) + " |")
    means = [sum(_main(result[encoder][name])["value"] for name in sets) / len(sets) for encoder in encoders]
    lines.append("| mean | | | " + " | ".join(f"{mean:.2f}" for mean in means) + " |")
    note = f"In brackets: 95% bootstrap intervals. `*`: differs from {baseline} at p < 0.05 (paired bootstrap, not corrected for the number of tests)."
    return "\n".join(lines) + f"\n\n{note}\n"


def write_report(folder: Path, judgements: dict[str, list[Judgement]], baseline: str, about: dict[str, Any]) -> dict[str, Any]:
    """evaluation.json, evaluation.md and evaluation.png in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    result = figures(judgements, baseline)
    (folder / "evaluation.json").write_text(json.dumps({**about, "encoders": result}, indent=2) + "\n", encoding="utf-8")
    (folder / "evaluation.md").write_text(markdown(result, baseline), encoding="utf-8")
    draw(result, folder / "evaluation.png")
    return result


def draw(result: dict[str, Any], path: Path) -> None:
    """One row of points with intervals a set, one colour an encoder."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    encoders, sets = list(result), list(result[next(iter(result))])
    figure, axes = pyplot.subplots(1, len(sets), figsize=(2.6 * len(sets) + 1.5, 0.35 * len(encoders) + 1.6), sharey=True, squeeze=False)
    for axis, name in zip(axes[0], sets, strict=True):
        for row, encoder in enumerate(encoders):
            main = _main(result[encoder][name])
            axis.errorbar(main["value"], row, xerr=[[main["value"] - main["low"]], [main["high"] - main["value"]]], fmt="o", capsize=3)
        axis.set_title(f"{name}\n{result[encoders[0]][name]['metric']}", fontsize=9)
        axis.grid(axis="x", alpha=0.3)
        axis.set_yticks(range(len(encoders)), encoders, fontsize=8)
    axes[0][0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _main(entry: dict[str, Any]) -> dict[str, float]:
    return entry["figures"][entry["metric"]]


def _cell(entry: dict[str, Any]) -> str:
    main = _main(entry)
    mark = "*" if entry.get("difference", {}).get("pValue", 1) < 0.05 else ""
    return f"{main['value']:.2f}{mark} [{main['low']:.2f}, {main['high']:.2f}]"


def _percent(interval: dict[str, float]) -> dict[str, float]:
    return {key: round(100 * value, 3) for key, value in interval.items()}
