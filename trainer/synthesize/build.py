"""The parts of a run, made from its settings and checked against what is in its folder already."""

import json
import os
import platform
import threading
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import onnxruntime

from trainer import __version__
from trainer.errors import InputError
from trainer.events import emit
from trainer.synthesize.chat.budget import Budget, Prices
from trainer.synthesize.chat.client import ChatClient, Endpoint
from trainer.synthesize.chat.journal import JournaledChat
from trainer.synthesize.corpus import Corpus, Fields, read_corpus
from trainer.synthesize.drafting import Drafting, Limits
from trainer.synthesize.encoder import Encoder
from trainer.synthesize.folder import DatasetFolder
from trainer.synthesize.gates.language import Languages
from trainer.synthesize.prompts import Prompts
from trainer.synthesize.providers.corpus import CorpusProvider
from trainer.synthesize.providers.llamacpp import LlamaCpp, LlamaServer
from trainer.synthesize.providers.llm import LlmProvider, Writing
from trainer.synthesize.providers.provider import Provider
from trainer.synthesize.search import CorpusSearch, index_corpus
from trainer.synthesize.settings import Settings, as_json, identity


@dataclass
class Parts:
    """What a run works with; `budget` is None where nothing is paid for."""

    folder: DatasetFolder
    corpus: Corpus | None
    encoder: Encoder
    search: CorpusSearch | None
    provider: Provider
    drafting: Drafting
    budget: Budget | None
    manifest: dict[str, Any]

    def spent(self) -> dict[str, object]:
        return self.budget.figures() if self.budget else {}


def build(settings: Settings, stop: threading.Event) -> Parts:
    """Read, load and connect everything; raises InputError or EndpointError."""
    encoder = Encoder(settings.encoder, settings.encoder_threads)
    corpus = read_corpus(settings.corpus, Fields(settings.text_field, settings.title_field), settings.passages) if settings.corpus else None
    if corpus:
        emit("corpus", passages=len(corpus.passages), rejected=dict(corpus.rejected), examples=corpus.examples)
        _check_size(corpus, settings)
    folder = DatasetFolder(settings.output)
    try:
        provider, budget = _provider(settings, folder, stop)
    except BaseException:
        folder.close()
        raise
    try:
        manifest = _manifest(settings, encoder, corpus, provider)
        folder.require_same_run(manifest)
        folder.write_manifest({**folder.manifest(), **manifest, "sessions": [*folder.manifest().get("sessions", []), _session(settings)]})
        search = index_corpus(corpus, encoder, folder.path / ".cache", stop) if corpus else None
    except BaseException:
        provider.close()
        folder.close()
        raise
    limits = Limits(settings.levels, "mined" if settings.provider == "corpus" else settings.negatives, settings.round_trip_rank,
                    settings.mined_ratio, settings.written_ratio, settings.hardness, settings.judge)
    drafting = Drafting(provider, encoder, search, Languages(settings.language), limits)
    return Parts(folder, corpus, encoder, search, provider, drafting, budget, manifest)


def _provider(settings: Settings, folder: DatasetFolder, stop: threading.Event) -> tuple[Provider, Budget | None]:
    if settings.provider == "corpus":
        return CorpusProvider(), None
    prompts = Prompts(settings.prompts)
    server, endpoint = None, _endpoint(settings)
    if settings.provider == "llamacpp":
        llama = LlamaCpp(settings.llama_server, settings.gguf, settings.concurrency, settings.llama_threads)
        server = LlamaServer(llama, folder.path / "llama-server.log", stop)
        endpoint = server.endpoint(endpoint)
    budget = Budget(settings.budget_tokens, settings.budget_money, Prices(settings.price_input, settings.price_output))
    chat = JournaledChat(ChatClient(endpoint, stop), budget, folder.path / "journal.jsonl")
    writing = Writing(0 if settings.negatives == "mined" else settings.levels, settings.domain, _language(settings), settings.temperature,
                      settings.max_reply_tokens, settings.attempts)
    return LlmProvider(chat, prompts, writing, server), budget


def _endpoint(settings: Settings) -> Endpoint:
    model = settings.llm_model or settings.gguf.name
    key = os.environ.get(settings.llm_api_key_env, "").strip()  # a file's or a secret's last line break is none of the key
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"the key in {settings.llm_api_key_env} has characters that no HTTP header takes")
    return Endpoint(settings.llm_base_url, model, key, settings.timeout_seconds, settings.retries,
                    settings.backoff_seconds, settings.requests_per_minute, tuple(sorted(json.loads(settings.llm_extra).items())))


def _language(settings: Settings) -> str:
    """The language as the prompts name it."""
    if settings.language != "auto":
        return f"ISO 639-1 code {settings.language}"
    return "the passage's own" if settings.corpus else "that of the domain's description"


def _check_size(corpus: Corpus, settings: Settings) -> None:
    """Mining needs a passage for every level beside the positive; below a hundred the levels are coarse."""
    count = len(corpus.passages)
    if settings.provider == "corpus" and count <= settings.levels:
        raise InputError(f"{count} passages are too few to mine {settings.levels} negatives for each: give more, or write them with an LLM")
    if count < 100:
        emit("warning", message=f"with {count} passages mined negatives are few and their levels coarse; some hundreds are better")


def _manifest(settings: Settings, encoder: Encoder, corpus: Corpus | None, provider: Provider) -> dict[str, Any]:
    """What makes the run what it is; without times and counts."""
    return {
        "schemaVersion": 1,
        "settings": identity(settings),
        "provider": provider.facts(),
        "encoder": encoder.facts(),
        "corpus": {"passages": len(corpus.passages), "sha256": corpus.fingerprint(), "rejected": dict(corpus.rejected),
                   "license": settings.license} if corpus else {},
    }


def _session(settings: Settings) -> dict[str, Any]:
    """One start of the run: what may differ from the other ones."""
    return {"startedAt": datetime.now(timezone.utc).isoformat(timespec="seconds"), "trainer": __version__, "python": platform.python_version(),
            "onnxruntime": onnxruntime.__version__, "machine": platform.machine(),
            "settings": {key: value for key, value in as_json(settings).items() if key not in identity(settings)}}
