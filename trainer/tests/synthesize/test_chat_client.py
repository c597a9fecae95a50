"""Endpoints that behave badly: each is a real server on loopback, and each ends as the client's table says."""

import contextlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chat_server import Behaviour, ChatServer, Handler

from trainer.errors import InputError
from trainer.synthesize.chat.budget import Budget, Prices, Usage
from trainer.synthesize.chat.client import ChatClient, Endpoint, Question
from trainer.synthesize.chat.journal import JournaledChat
from trainer.synthesize.chat.replies import parse, schema_of
from trainer.synthesize.errors import EndpointFailed, StopRun, Unusable

SCHEMA = schema_of({"query": {"type": "string"}})
QUESTION = Question(({"role": "system", "content": "rules"}, {"role": "user", "content": 'Write "query".\n"Lock gates hold the water of a canal back."'}),
                    SCHEMA, 200, 0.5, 3)
Start = Callable[..., ChatServer]


def client(server: ChatServer, stop: threading.Event, **options: Any) -> ChatClient:
    return ChatClient(Endpoint(server.url, "m", "k", **{"timeout_seconds": 2.0, "backoff_seconds": 0.01, "attempts": 3, **options}), stop)


def first(count: int, behaviour: Behaviour) -> Behaviour:
    """`behaviour` for the first `count` requests; the author answers the others."""
    return lambda handler, body: len(handler.chat.requests) <= count and behaviour(handler, body)


def answering(status: int, body: Any = None, **headers: str) -> Behaviour:
    def behave(handler: Handler, _: dict[str, Any]) -> bool:
        handler.answer(status, body or {"error": {"message": f"status {status}"}}, **headers)
        handler.chat.refused.set()
        return True

    return behave


def saying(text: str, finish_reason: str = "stop", **message: Any) -> Behaviour:
    def behave(handler: Handler, _: dict[str, Any]) -> bool:
        handler.complete(text, finish_reason, **message)
        return True

    return behave


def hang(handler: Handler, _: dict[str, Any]) -> bool:
    handler.chat.closing.wait(20)
    return True


def drip(handler: Handler, _: dict[str, Any]) -> bool:
    """A byte now and then: each read is answered in time, the whole never is."""
    handler.send_response(200)
    handler.send_header("content-length", "100000")
    handler.end_headers()
    with contextlib.suppress(OSError):
        while not handler.chat.closing.wait(0.05):
            handler.wfile.write(b" ")
    return True


def cut_body(handler: Handler, _: dict[str, Any]) -> bool:
    """Fewer bytes than announced, then the end of the connection."""
    handler.send_response(200)
    handler.send_header("content-length", "5000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.close_connection = True
    return True


@pytest.mark.parametrize("behaviour", [answering(500), answering(503, b"<html>upstream</html>"), answering(200, b"<html>login</html>"),
                                       answering(200, {"choices": []}), answering(200, {"choices": [{"message": {"content": 7}}]}),
                                       answering(200, {"choices": [{"message": None}]}), answering(200, {"choices": [{"message": {"content": "x"}}], "usage": "n/a"}),
                                       cut_body])
def test_a_broken_answer_is_asked_for_again(chat_server: Start, stop: threading.Event, behaviour: Behaviour) -> None:
    server = chat_server(first(2, behaviour))
    assert "query" in json.loads(client(server, stop).complete(QUESTION).text)
    assert len(server.requests) == 3


@pytest.mark.parametrize("behaviour", [answering(500), cut_body])
def test_an_endpoint_that_never_answers_well_is_given_up_with_the_last_reason(chat_server: Start, stop: threading.Event, behaviour: Behaviour) -> None:
    server = chat_server(behaviour)
    with pytest.raises(EndpointFailed, match="3 attempts; the last: (HTTP 500: status 500|IncompleteRead)"):
        client(server, stop).complete(QUESTION)
    assert len(server.requests) == 3


@pytest.mark.parametrize("behaviour", [hang, drip])
def test_an_endpoint_that_hangs_or_drips_is_left_at_the_deadline(chat_server: Start, stop: threading.Event, behaviour: Behaviour) -> None:
    started = time.monotonic()
    with pytest.raises(EndpointFailed, match="(?i)timed? ?out|in time"):
        client(chat_server(behaviour), stop, timeout_seconds=0.3, attempts=2).complete(QUESTION)
    assert time.monotonic() - started < 5


def test_after_429_every_worker_waits_as_long_as_retry_after_says(chat_server: Start, stop: threading.Event) -> None:
    server = chat_server(first(1, answering(429, retry_after="0.4")))
    asking = client(server, stop)
    started = time.monotonic()
    asker = threading.Thread(target=asking.complete, args=(QUESTION,))
    asker.start()
    server.refused.wait(10)
    asking.complete(QUESTION)
    asker.join()
    assert 0.4 <= time.monotonic() - started < 5
    assert len(server.requests) == 3, "the second worker did not ask before its time"


def test_a_rate_limit_spaces_requests(chat_server: Start, stop: threading.Event) -> None:
    asking = client(chat_server(), stop, requests_per_minute=600)
    started = time.monotonic()
    for _ in range(4):
        asking.complete(QUESTION)
    assert time.monotonic() - started >= 0.3


@pytest.mark.parametrize(("status", "reason"), [(401, "refuses the key"), (403, "refuses the key"), (404, "no such path or model")])
def test_a_wrong_key_or_model_stops_the_run_at_once(chat_server: Start, stop: threading.Event, status: int, reason: str) -> None:
    server = chat_server(answering(status))
    with pytest.raises(StopRun, match=reason):
        client(server, stop).complete(QUESTION)
    assert len(server.requests) == 1


def test_a_used_up_quota_stops_the_run(chat_server: Start, stop: threading.Event) -> None:
    server = chat_server(answering(429, {"error": {"code": "insufficient_quota", "message": "check your plan"}}))
    with pytest.raises(StopRun, match="quota is used up") as caught:
        client(server, stop).complete(QUESTION)
    assert caught.value.reason == "budget"


def test_an_endpoint_without_json_schema_is_asked_without_from_then_on(chat_server: Start, stop: threading.Event) -> None:
    def no_format(handler: Handler, body: dict[str, Any]) -> bool:
        return "response_format" in body and answering(400)(handler, body)

    server = chat_server(no_format)
    asking = client(server, stop)
    asking.complete(QUESTION)
    asking.complete(QUESTION)
    assert [body.get("response_format", {}).get("type") for body in server.requests] == ["json_schema", "json_object", None, None]


def test_an_endpoint_that_rejects_the_request_itself_costs_one_assignment(chat_server: Start, stop: threading.Event) -> None:
    with pytest.raises(Unusable, match="rejected by the endpoint .*context length"):
        client(chat_server(answering(400, {"error": {"message": "context length exceeded"}})), stop).complete(QUESTION)


def test_an_interrupt_ends_a_request_under_way(chat_server: Start, stop: threading.Event) -> None:
    server = chat_server(hang)
    asking = client(server, stop, timeout_seconds=30)
    interrupting = threading.Thread(target=lambda: (server.arrived.wait(10), asking.interrupt()))
    interrupting.start()
    started = time.monotonic()
    with pytest.raises(StopRun):
        asking.complete(QUESTION)
    interrupting.join()
    assert time.monotonic() - started < 5


def test_an_address_that_is_no_url_is_refused(stop: threading.Event) -> None:
    with pytest.raises(InputError, match="no http or https URL"):
        ChatClient(Endpoint("localhost:8080", "m"), stop)


@pytest.mark.parametrize("text", ['{"query": "a b"}', 'Sure, here it is:\n```json\n{"query": "a b"}\n```\nAnything else?', '{"query": "a\n b",}',
                                  'I use {braces} first. {"query": " a  b ", "more": 1}'])
def test_an_object_is_found_in_whatever_is_around_it(chat_server: Start, stop: threading.Event, text: str) -> None:
    assert parse(client(chat_server(saying(text)), stop).complete(QUESTION), SCHEMA) == {"query": "a b"}


@pytest.mark.parametrize(("behaviour", "reason"), [
    (saying('{"query": "half a', "length"), "reply: cut JSON"), (saying('{"outer": {"query": "inner"}', "length"), "reply: cut JSON"),
    (saying("I'm sorry, but I can't help with that."), "reply: refused"), (saying("", refusal="No."), "reply: refused"),
    (saying('{"query": ' + "[" * 5000), "reply: cut JSON"), (saying("", refusal=True), "reply: refused"),
    (saying("A query could be: canals?"), "reply: no JSON"), (saying(""), "reply: empty"), (saying('{"question": "x"}'), "schema: without query"),
    (saying('{"query": ["x"]}'), "schema: query is no string"), (saying('{"query": " "}'), "schema: query is no string")])
def test_an_answer_that_cannot_be_used_says_why(chat_server: Start, stop: threading.Event, behaviour: Behaviour, reason: str) -> None:
    reply = client(chat_server(behaviour), stop).complete(QUESTION)
    with pytest.raises(Unusable, match=reason):
        parse(reply, SCHEMA)


@pytest.mark.parametrize("text", ['{"query": "half \\ud83d"}', '{"query": "half \ud83d"}'])
def test_half_a_surrogate_pair_becomes_a_question_mark(chat_server: Start, stop: threading.Event, text: str) -> None:
    assert parse(client(chat_server(saying(text)), stop).complete(QUESTION), SCHEMA) == {"query": "half ?"}


def test_a_journal_answers_what_was_asked_before_and_remembers_the_price(chat_server: Start, stop: threading.Event, tmp_path: Path) -> None:
    server = chat_server()
    prices = Prices(input=10.0, output=20.0)
    before = JournaledChat(client(server, stop), Budget(prices=prices), tmp_path / "journal.jsonl")
    answer = before.ask(QUESTION)
    before.close()
    with (tmp_path / "journal.jsonl").open("ab") as torn:
        torn.write(b'{"key": "a line that a kill has to')
    budget = Budget(prices=prices)
    after = JournaledChat(client(server, stop), budget, tmp_path / "journal.jsonl")
    assert after.ask(QUESTION) == answer
    assert len(server.requests) == 1
    assert budget.money == pytest.approx((100 * 10 + 50 * 20) / 1e6)


def test_a_budget_reserves_the_worst_case_so_that_workers_together_never_overdraw_it() -> None:
    budget = Budget(tokens=1000)
    budget.reserve(Usage(300, 300))
    with pytest.raises(StopRun, match="budget of 1000 tokens"):
        budget.reserve(Usage(300, 300))
    budget.settle(Usage(300, 300), Usage(100, 50))
    budget.reserve(Usage(300, 300))
    assert (budget.input_tokens, budget.output_tokens) == (100, 50)
    with pytest.raises(StopRun, match="budget of 0.01 "):
        Budget(money=0.01, prices=Prices(output=30.0)).reserve(Usage(0, 500))
