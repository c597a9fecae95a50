"""What holds for every provider: the corpus, an OpenAI-compatible endpoint, and llama.cpp's server as a process of ours."""

import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chat_server import ChatServer

from trainer.synthesize.chat.budget import Budget
from trainer.synthesize.chat.client import ChatClient, Endpoint
from trainer.synthesize.chat.journal import JournaledChat
from trainer.synthesize.errors import StopRun
from trainer.synthesize.prompts import Prompts
from trainer.synthesize.providers.corpus import CorpusProvider
from trainer.synthesize.providers.llamacpp import LlamaCpp, LlamaServer
from trainer.synthesize.providers.llm import LlmProvider, Writing
from trainer.synthesize.providers.provider import Attempt, Provider, TaskOrder
from trainer.synthesize.records import Assignment, Passage, Task

PASSAGE = Passage("p1", "Lock gates are doors that hold the water of a canal back. They are opened when the water on both sides stands at the "
                  "same level, which takes about ten minutes. Boats wait in the chamber meanwhile, tied to bollards along the wall.", "Lock gates")
TASK = Task("t", "short-long", "Given a question about canals, retrieve the passage that answers it")
REAL_SERVER, REAL_MODEL = os.environ.get("TEST_LLAMA_SERVER"), os.environ.get("TEST_GGUF")


def llm(endpoint: Endpoint, folder: Path, server: LlamaServer | None = None) -> LlmProvider:
    chat = JournaledChat(ChatClient(endpoint, threading.Event()), Budget(), folder / "journal.jsonl")
    return LlmProvider(chat, Prompts(), Writing(levels=4), server)


def stand_in(folder: Path) -> Path:
    """An executable with llama-server's flags that is the well-behaved test author."""
    path = folder / "llama-server"
    path.write_text(f"#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name('chat_server.py')} \"$@\"\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return path


@pytest.fixture(params=["corpus", "openai", "llamacpp", "llamacpp with a real model"])
def provider(request: pytest.FixtureRequest, tmp_path: Path, chat_server: Callable[..., ChatServer]) -> Iterator[Provider]:
    made: Provider
    if request.param == "corpus":
        made = CorpusProvider()
    elif request.param == "openai":
        made = llm(Endpoint(chat_server(key="secret").url, "test-author", "secret", timeout_seconds=5), tmp_path)
    else:
        real = request.param.endswith("model")
        if real and not (REAL_SERVER and REAL_MODEL):
            pytest.skip("set TEST_LLAMA_SERVER and TEST_GGUF to run the contract with a real model")
        model = Path(REAL_MODEL or "") if real else tmp_path / "model.gguf"
        model.touch()
        server = LlamaServer(LlamaCpp(Path(REAL_SERVER or "") if real else stand_in(tmp_path), model), tmp_path / "log", threading.Event())
        made = llm(server.endpoint(Endpoint("", "local", timeout_seconds=300)), tmp_path, server)
    yield made
    made.close()


def test_a_draft_keeps_the_passage_as_its_positive_and_has_a_negative_for_every_level_or_none(provider: Provider) -> None:
    draft = provider.write(Assignment("a", TASK, PASSAGE, 7), Attempt())
    assert draft.query and draft.query != draft.positive
    assert set(draft.positive.split()) <= set(PASSAGE.text.split())
    assert [negative.level for negative in draft.negatives] in ([], [1, 2, 3, 4])
    assert draft.model and draft.prompt_version


def test_the_same_assignment_is_written_the_same(provider: Provider) -> None:
    assignment = Assignment("a", TASK, PASSAGE, 7)
    assert provider.write(assignment, Attempt()) == provider.write(assignment, Attempt())


def test_stage_one_gives_tasks_of_the_types_asked_for_with_stable_ids(provider: Provider) -> None:
    order = TaskOrder(["short-long", "long-short"], 2, "canals", [PASSAGE], 1)
    tasks = provider.tasks(order)
    assert {task.type for task in tasks} == {"short-long", "long-short"}
    assert all(len(task.instruction.split()) >= 5 for task in tasks)
    assert tasks == provider.tasks(order)
    assert len({task.id for task in tasks}) == len(tasks)


def test_a_provider_says_which_tasks_suit_a_passage(provider: Provider) -> None:
    assert provider.suits(TASK, PASSAGE)
    assert not provider.suits(TASK, Passage("p2", "Three short words"))


def test_an_interrupted_provider_writes_no_more(provider: Provider) -> None:
    provider.interrupt()
    with pytest.raises(StopRun):
        provider.write(Assignment("b", TASK, PASSAGE, 8), Attempt())


def test_facts_name_the_provider_and_hold_no_secret(provider: Provider) -> None:
    assert provider.facts()["provider"] in ("corpus", "llm")
    assert "secret" not in str(provider.facts())


def test_llama_server_that_dies_is_told_with_what_it_printed(tmp_path: Path) -> None:
    binary, model = tmp_path / "llama-server", tmp_path / "model.gguf"
    binary.write_text("#!/bin/sh\necho 'error loading model: bad magic'\nexit 1\n")
    binary.chmod(0o755)
    model.touch()
    with pytest.raises(Exception, match="ended with code 1: error loading model: bad magic"):
        LlamaServer(LlamaCpp(binary, model), tmp_path / "log", threading.Event())


def test_a_server_binary_in_the_working_folder_is_found_by_its_name_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("model.gguf").touch()
    LlamaServer(LlamaCpp(Path("llama-server"), Path("model.gguf")), Path("log"), threading.Event()).close()
