"""Teachers and their means, before anything is learned from them: each alone, and several as trainer/teachers.py makes one of them.

    python bench/training/teachers.py --teacher bge=FOLDER --teacher e5=FOLDER --mix bge=2,e5=1 --texts FOLDER --data FOLDER --output FILE

A FOLDER of --teacher is a sentence-transformers folder (`trainer base` makes one of an imported version), asked without prompts, so that a
text has the same vector in every role; NAME=FOLDER=QUERY=DOCUMENT gives it prompts. --texts has the records of distillation_texts.py,
whose first ones the means and spreads are taken from; FOLDER/eval has the sets. Every text is embedded once by each teacher.
"""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import numpy as np  # noqa: E402
import torch  # noqa: E402

from judged_sets import add_arguments, open_sets  # noqa: E402
from trainer.data.records import read_records  # noqa: E402
from trainer.evaluate.encoders import ModelEncoder  # noqa: E402
from trainer.evaluate.judge import compare, judge  # noqa: E402
from trainer.imitation import largest_directions  # noqa: E402
from trainer.model import load_model  # noqa: E402
from trainer.teacher import TextAndRole, ask_teacher  # noqa: E402
from trainer.teachers import SAMPLE_RECORDS, Ensemble  # noqa: E402

SETS = ("stsb", "sts15", "squad_dev", "nq_oracle", "cranfield", "cosqa")


class Remembering:
    """A Teacher that is asked for a text once."""

    def __init__(self, folder: Path, query_prompt: str, document_prompt: str, max_tokens: int, bf16: bool) -> None:
        model = load_model(folder)
        model.max_seq_length = max_tokens
        self.ask = ask_teacher(ModelEncoder(model, bf16=bf16), query_prompt, document_prompt, own_prompts=False)
        self.known: dict[TextAndRole, np.ndarray] = {}

    def __call__(self, texts: list[TextAndRole]) -> np.ndarray:
        missing = [text for text in dict.fromkeys(texts) if text not in self.known]
        if missing:
            self.known |= dict(zip(missing, self.ask(missing), strict=True))
        return np.stack([self.known[text] for text in texts])


class Projected:
    """A Teacher along the directions in which its vectors of a sample are largest, as a student imitates it (trainer/imitation.py)."""

    def __init__(self, teacher: Ensemble, dimensions: int, sample: list[TextAndRole]) -> None:
        self.teacher, self.directions = teacher, largest_directions(torch.from_numpy(teacher(sample)), dimensions).numpy()

    def __call__(self, texts: list[TextAndRole]) -> np.ndarray:
        vectors = self.teacher(texts) @ self.directions
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class AsEncoder:
    """A Teacher as a TextEncoder; of a pair of sentences, which have no role, both are asked for as queries."""

    def __init__(self, teacher: Remembering | Ensemble | Projected) -> None:
        self.teacher = teacher

    def encode(self, texts: list[str], role: str) -> np.ndarray:
        return self.teacher([(text, role or "query") for text in texts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", action="append", required=True, metavar="NAME=FOLDER[=QUERY=DOCUMENT]", help="the first is what the others are tested against")
    parser.add_argument("--mix", action="append", default=[], metavar="NAME=WEIGHT,...")
    parser.add_argument("--project", type=int, nargs="+", default=[], metavar="N", help="every mix along its N largest directions, too")
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="a JSON file; a table goes to standard output")
    add_arguments(parser, SETS)
    arguments = parser.parse_args()
    sets = open_sets(arguments)
    teachers: dict[str, Remembering | Ensemble | Projected] = {}
    for entry in arguments.teacher:
        name, folder, query, document = (*entry.split("="), "", "")[:4]
        teachers[name] = Remembering(Path(folder), query, document, arguments.max_tokens, arguments.precision == "bf16")
    sample = [text for path in sorted(arguments.texts.glob("*.jsonl.gz")) for text in _sample(path)]
    for mix in arguments.mix:
        shares = {name: float(weight) for name, weight in (part.split("=") for part in mix.split(","))}
        teachers[mix] = Ensemble([teachers[name] for name in shares], list(shares.values()), sample)
        teachers |= {f"{mix} in {size}": Projected(teachers[mix], size, sample) for size in arguments.project}
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in teachers}
    print("|", *(f"| {name}" for name in ("", *arguments.sets)), "| mean |")
    first: dict = {}
    for name, teacher in teachers.items():
        for place, one in sets.items():
            judgement = judge(AsEncoder(teacher), one)
            first.setdefault(place, judgement)
            difference, p = compare(judgement, first[place])
            found[name][place] = {"value": 100 * judgement.main.value, "difference": 100 * difference.value, "p": p}
        row = [f"{figures['value']:.2f}{'*' if figures['p'] < 0.05 else ''}" for figures in found[name].values()]
        print(f"| {name} |", " | ".join(row), f"| {np.mean([figures['value'] for figures in found[name].values()]):.2f} |", flush=True)
    about = {key: str(value) if isinstance(value, Path) else value for key, value in vars(arguments).items() if key in ("max_tokens", "precision", "queries_max", "documents_max")}
    arguments.output.write_text(json.dumps({"about": about, "figures": found}, indent=2) + "\n", encoding="utf-8")


def _sample(path: Path) -> list[TextAndRole]:
    """Texts of a file's first records, as a run takes them."""
    texts: dict[TextAndRole, None] = {}
    for number, record in enumerate(read_records(path, lambda _: None)):
        if number == SAMPLE_RECORDS:
            break
        texts |= dict.fromkeys([(record.query, "query"), (record.positive, "document")])
    return list(texts)


if __name__ == "__main__":
    main()
