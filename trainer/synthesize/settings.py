"""Everything that can be asked of `synthesize`: one field a flag and a recipe key, with its default and its help."""

import argparse
import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from trainer.errors import InputError
from trainer.synthesize.task_types import TASK_TYPES


def _of(default: Any, help_: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": help_, **more})


@dataclass(frozen=True)
class Settings:
    """`records` and those of BETWEEN_RUNS may change when a run is resumed; all others make another data set."""

    output: Path = _of(Path("dataset"), "folder of the data set; an unfinished one is gone on with")
    corpus: tuple[Path, ...] = _of((), "files or folders of passages: .jsonl, .jsonl.gz, .txt, .md", nargs="+")
    text_field: str = _of("text", "name of the text in JSON lines")
    title_field: str = _of("title", "name of the title in JSON lines")
    passages: int = _of(0, "read at most so many passages (0: all)", bounds=(0, 10_000_000))
    license: str = _of("", "licence of the sources, for the card; an SPDX name")
    provider: str = _of("corpus", "who writes", choices=("corpus", "openai", "llamacpp"))
    records: int = _of(1000, "finished records that are wanted", bounds=(1, 10_000_000))
    levels: int = _of(4, "negatives a record, of rising hardness", bounds=(2, 8))
    seed: int = _of(1, "decides passages, tasks, shapes and sampling", bounds=(0, 2**31 - 1))
    domain: str = _of("", "the domain in words; without a corpus the LLM writes everything for it")
    task_types: tuple[str, ...] = _of(("short-long", "short-short", "long-short", "long-long", "sts"), "task types of the paper",
                                      nargs="+", choices=tuple(TASK_TYPES))
    tasks_per_type: int = _of(3, "tasks that are brainstormed for each type", bounds=(1, 50))
    tasks: Path | None = _of(None, "JSON lines of {type, instruction} that take the place of brainstorming")
    queries_per_passage: int = _of(3, "rounds over the corpus, if the records are not reached earlier", bounds=(1, 100))
    language: str = _of("auto", "ISO 639-1 code that all texts must have; auto: query and positive must agree")
    negatives: str = _of("both", "written by the LLM, mined from the corpus, or both: mined where no written one is left",
                         choices=("written", "mined", "both"))
    encoder: Path = _of(Path("models/anchorage-small/6-int8"), "model version folder that measures similarity: the present model")
    encoder_threads: int = _of(0, "threads of the encoder (0: all cores)", bounds=(0, 256))
    prompts: Path | None = _of(None, "folder whose files replace the built-in prompts of the same name")
    round_trip_rank: int = _of(20, "the query must find its positive among so many passages", bounds=(1, 10_000))
    mined_ratio: float = _of(0.95, "a mined negative has at most this share of the positive's similarity", bounds=(0.1, 1.0))
    written_ratio: float = _of(1.0, "a written negative above this share may be an answer: dropped, or judged", bounds=(0.1, 2.0))
    hardness: str = _of("relabel", "what to do where hardness does not rise as asked", choices=("relabel", "reask", "drop"))
    judge: bool = _of(False, "let the LLM judge whether a suspected negative answers the query")
    llm_base_url: str = _of("https://api.openai.com/v1", "the OpenAI-compatible endpoint")
    llm_model: str = _of("", "the model's name at the endpoint")
    llm_api_key_env: str = _of("OPENAI_API_KEY", "name of the environment variable that holds the key")
    temperature: float = _of(0.8, "sampling temperature", bounds=(0.0, 2.0))
    max_reply_tokens: int = _of(1024, "tokens of one answer at most", bounds=(32, 32_768))
    llm_extra: str = _of("{}", 'more sampling fields as JSON, for example {"presence_penalty": 0.6}')
    attempts: int = _of(2, "how often one record is asked for, when gates turn it down", bounds=(1, 10))
    timeout_seconds: float = _of(180.0, "for one answer", bounds=(0.1, 3600.0))
    retries: int = _of(5, "tries of one request at an endpoint that fails", bounds=(1, 20))
    backoff_seconds: float = _of(1.0, "before the second try; doubled from then on", bounds=(0.0, 60.0))
    concurrency: int = _of(4, "requests at a time", bounds=(1, 256))
    requests_per_minute: float = _of(0.0, "rate limit (0: none)", bounds=(0.0, 1e6))
    budget_tokens: int = _of(0, "stop cleanly before more tokens are used (0: no bound)", bounds=(0, 10**12))
    budget_money: float = _of(0.0, "stop cleanly before more money is spent (0: no bound)", bounds=(0.0, 1e9))
    price_input: float = _of(0.0, "money for a million tokens of prompt", bounds=(0.0, 1e6))
    price_output: float = _of(0.0, "money for a million tokens of answer", bounds=(0.0, 1e6))
    llama_server: Path = _of(Path("llama-server"), "llama.cpp's server binary, for the llamacpp provider")
    gguf: Path = _of(Path("model.gguf"), "the GGUF model, for the llamacpp provider")
    llama_threads: int = _of(0, "threads of llama-server (0: its own choice)", bounds=(0, 256))


# Where and how fast, but not what: these may differ when a run is gone on with.
BETWEEN_RUNS = frozenset("""output records encoder_threads llm_base_url llm_api_key_env timeout_seconds retries backoff_seconds
    concurrency requests_per_minute budget_tokens budget_money price_input price_output llama_server llama_threads""".split())


def add_flags(parser: argparse.ArgumentParser) -> None:
    """A flag for every setting; only those given end up in the namespace."""
    parser.add_argument("--recipe", type=Path, help="YAML or JSON file of settings by their names; flags win over it")
    for item in dataclasses.fields(Settings):
        options: dict[str, Any] = {"help": f"{item.metadata['help']} (default {_shown(item.default)})".replace("%", "%%"), "default": argparse.SUPPRESS}
        if item.type is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options |= {"type": _scalar(item), "metavar": item.name.upper()}
            options |= {key: item.metadata[key] for key in ("nargs", "choices") if key in item.metadata}
        if "choices" in options:
            options.pop("metavar")
        parser.add_argument("--" + item.name.replace("_", "-"), **options)


def resolve(arguments: argparse.Namespace) -> Settings:
    """Defaults, then the recipe, then the flags; raises InputError that names the setting and its bound."""
    given = {key: value for key, value in vars(arguments).items() if key != "recipe"}
    values = {**(_recipe(arguments.recipe) if arguments.recipe else {}), **given}
    known = {item.name: item for item in dataclasses.fields(Settings)}
    for name, value in values.items():
        if name not in known:
            raise InputError(f"unknown setting {name!r} in {arguments.recipe}; known are {', '.join(known)}")
        values[name] = _checked(known[name], value)
    settings = Settings(**values)
    _check_relations(settings)
    return settings


def identity(settings: Settings) -> dict[str, Any]:
    """What must be the same for a run to be gone on with, as plain JSON."""
    return {key: value for key, value in as_json(settings).items() if key not in BETWEEN_RUNS}


def as_json(settings: Settings) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(settings), default=str))


def _check_relations(settings: Settings) -> None:
    if not settings.corpus and settings.provider == "corpus":
        raise InputError("the corpus provider needs --corpus")
    if settings.tasks and settings.provider == "corpus":
        raise InputError("the corpus provider has tasks of its own: leave --tasks out")
    if not settings.corpus and not settings.domain:
        raise InputError("give --corpus (grounded in your passages) or --domain (written from its description), or both")
    if not settings.corpus and settings.negatives == "mined":
        raise InputError("--negatives mined needs --corpus")
    if settings.provider == "openai" and not settings.llm_model:
        raise InputError("the openai provider needs --llm-model")
    try:
        extra = json.loads(settings.llm_extra)
    except ValueError as error:
        raise InputError(f"--llm-extra is no JSON: {error}") from error
    if not isinstance(extra, dict):
        raise InputError("--llm-extra must be a JSON object")


def _recipe(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))  # YAML reads JSON too
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"the recipe {path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"the recipe {path} must be a mapping of setting to value")
    return {str(key).replace("-", "_"): value for key, value in values.items()}


def _checked(item: "dataclasses.Field[Any]", value: Any) -> Any:
    """A value of the recipe or a flag as the field's type, within its bounds and choices."""
    many = "nargs" in item.metadata
    try:
        parts = [_scalar(item)(part) for part in (value if isinstance(value, list | tuple) else [value])]
    except (TypeError, ValueError) as error:
        raise InputError(f"{item.name}: {value!r} is no {_scalar(item).__name__}") from error
    if not many and len(parts) != 1:
        raise InputError(f"{item.name} takes one value, not {value!r}")
    choices, bounds = item.metadata.get("choices"), item.metadata.get("bounds")
    for part in parts:
        if choices and part not in choices:
            raise InputError(f"{item.name}: {part!r} is none of {', '.join(choices)}")
        if bounds and not bounds[0] <= part <= bounds[1]:
            raise InputError(f"{item.name}: {part:g} must be between {bounds[0]:g} and {bounds[1]:g}")
    return tuple(parts) if many else parts[0]


def _scalar(item: "dataclasses.Field[Any]") -> Any:
    default = item.default
    if item.type in (Path | None, tuple[Path, ...]) or isinstance(default, Path):
        return Path
    return str if isinstance(default, tuple) else type(default)


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return " ".join(map(str, default)) or "none"
    return "none" if default in ("", None) else str(default)
