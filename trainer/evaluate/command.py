"""Judge encoders on retrieval, STS, classification and clustering sets.

An encoder is a saved model folder, a model version folder, or the URL of a running server (with ?layers=4 behind it, its exit
after four layers); NAME=PLACE gives it a name in the report. A set is a folder in BEIR's layout, or of tab-separated files: see
trainer/evaluate/sets.py. The first encoder is the baseline that the others are tested against. With --output, evaluation.json,
evaluation.md and evaluation.png are written.
"""

import argparse
import sys
import time
from pathlib import Path

from trainer.errors import InputError
from trainer.evaluate.encoders import open_encoder
from trainer.evaluate.judge import Judgement, judge
from trainer.evaluate.report import figures, markdown, write_report
from trainer.evaluate.sets import load_set, set_name
from trainer.events import emit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--encoder", action="append", required=True, metavar="[NAME=]PLACE", help="repeat to compare")
    parser.add_argument("--set", action="append", default=[], dest="sets", metavar="FOLDER[:SPLIT]", help="repeat for more")
    parser.add_argument("--mteb", action="append", default=[], metavar="TASK", help="an MTEB task by name; needs the mteb package and its data at hand")
    parser.add_argument("--queries-max", type=int, default=0, metavar="N", help="draw N queries, pairs or test texts of each set (default all)")
    parser.add_argument("--documents-max", type=int, default=0, metavar="N", help="keep the judged documents and fill up to N (default all)")
    parser.add_argument("--dimensions", type=int, metavar="N", help="cut vectors to their first N dimensions")
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32", help="of saved models; bf16 is several times as fast with AMX or on a GPU")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where the report goes")


def run(arguments: argparse.Namespace) -> None:
    if not arguments.sets and not arguments.mteb:
        raise InputError("name at least one --set or --mteb task")
    named = [_named(text) for text in arguments.encoder]
    _refuse_repeated("encoders", [name for name, _ in named], "give --encoder NAME=PLACE")
    _refuse_repeated("sets", [set_name(place) for place in arguments.sets], "judge them one after another")
    places = dict(named)
    judgements: dict[str, list[Judgement]] = {}
    of, step = len(places) * len(arguments.sets), 0
    for name, place in places.items():
        encoder = open_encoder(place, arguments.dimensions, arguments.precision == "bf16")
        judgements[name] = []
        for evaluation_set in arguments.sets:
            started = time.monotonic()
            judgement = judge(encoder, load_set(evaluation_set, arguments.queries_max, arguments.seed, arguments.documents_max))
            judgements[name].append(judgement)
            step += 1
            emit("evaluation", encoder=name, set=judgement.set, metric=judgement.metric, value=round(100 * judgement.main.value, 3),
                 low=round(100 * judgement.main.low, 3), high=round(100 * judgement.main.high, 3))
            emit("progress", stage="evaluate", step=step, of=of, seconds=round(time.monotonic() - started, 1))
        if arguments.mteb:
            _run_mteb(name, encoder, arguments.mteb)
    if arguments.sets:
        _report(judgements, next(iter(places)), arguments)


def _report(judgements: dict[str, list[Judgement]], baseline: str, arguments: argparse.Namespace) -> None:
    if arguments.output:
        about = {"sets": arguments.sets, "queriesMax": arguments.queries_max, "documentsMax": arguments.documents_max,
                 "dimensions": arguments.dimensions, "precision": arguments.precision, "seed": arguments.seed}
        write_report(arguments.output, judgements, baseline, about)
        emit("done", folder=str(arguments.output))
    else:
        emit("done")
    print(markdown(figures(judgements, baseline), baseline), file=sys.stderr)


def _run_mteb(name: str, encoder: object, tasks: list[str]) -> None:
    # Imported here: the package is large and only these runs need it.
    from trainer.evaluate.mteb_encoder import run_mteb_task

    for task in tasks:
        emit("evaluation", encoder=name, set=task, **run_mteb_task(task, encoder))


def _refuse_repeated(what: str, names: list[str], remedy: str) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"two {what} are called {repeated[0]}, and a report tells them apart by name: {remedy}")


def _named(text: str) -> tuple[str, str]:
    name, separator, place = text.partition("=")
    return (name, place) if separator and "/" not in name else (Path(text.rstrip("/")).name or text, text)
