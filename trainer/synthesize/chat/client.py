"""Any OpenAI-compatible chat endpoint: one question, retried until it is answered or clearly never will be.

| answer | what is done |
|---|---|
| 200 with a completion | returned |
| 200 with anything else, 408, 409, 5xx, a broken or late answer | asked again after a backoff that doubles |
| 429 | every worker waits as long as Retry-After says; an exhausted quota stops the run |
| 400, 422 while a JSON schema is asked for | the schema is given up for a plain JSON mode, then for none, for the whole run |
| 400, 413, 422 otherwise | this assignment is dropped |
| 401, 403, 404 | the run stops: no further request could succeed |
"""

import email.utils
import http.client
import json
import random
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from trainer.events import emit
from trainer.synthesize.chat.budget import Usage, estimate_tokens
from trainer.synthesize.chat.http import Http, HttpReply
from trainer.synthesize.errors import EndpointFailed, StopRun, Unusable
from trainer.synthesize.prompts import Message
from trainer.synthesize.words import encodable

FORMATS = ("json_schema", "json_object", "none")


@dataclass(frozen=True)
class Endpoint:
    """Where and how to ask."""

    base_url: str
    model: str
    api_key: str = ""
    timeout_seconds: float = 120.0
    attempts: int = 5
    backoff_seconds: float = 1.0  # doubled at each attempt, up to a minute, with jitter
    requests_per_minute: float = 0.0  # 0: as many as the workers make
    extra_body: tuple[tuple[str, Any], ...] = ()  # sampling fields of the endpoint's own


@dataclass(frozen=True)
class Question:
    """One completion that is wanted; `schema` is the JSON schema of its answer."""

    messages: tuple[Message, ...]
    schema: dict[str, Any]
    max_tokens: int
    temperature: float
    seed: int

    @property
    def text(self) -> str:
        return "\n".join(message["content"] for message in self.messages)


@dataclass(frozen=True)
class Reply:
    text: str
    finish_reason: str
    refusal: str
    model: str
    usage: Usage


class ChatClient:
    """Asks one endpoint from any number of threads; `stop` ends waits and requests under way."""

    def __init__(self, endpoint: Endpoint, stop: threading.Event) -> None:
        headers = {"authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}
        self.endpoint, self.stop = endpoint, stop
        self._http = Http(endpoint.base_url, headers, endpoint.timeout_seconds)
        self._lock = threading.Lock()
        self._next_start = 0.0
        self._format = 0

    def complete(self, question: Question) -> Reply:
        """Raises Unusable, EndpointFailed or StopRun, as the table above says."""
        failure, attempt = "", 0
        while attempt < self.endpoint.attempts:
            self._wait_turn()
            format_ = self._format
            try:
                answer = self._http.request("POST", "/chat/completions", self._body(question, FORMATS[format_]))
                reply = _reply(answer, question) if answer.status == 200 else None
            except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
                answer, reply = None, None
                failure = f"{type(error).__name__}: {error}"
            if reply:
                return reply
            if answer is not None:
                failure = f"HTTP {answer.status}: {_message(answer)}"
                if self._step_down(answer.status, format_):
                    continue
                _raise_final(answer, failure)
            attempt += 1
            if attempt < self.endpoint.attempts:
                self._back_off(attempt, answer, failure)
        raise EndpointFailed(f"{self.endpoint.base_url} gave no answer in {attempt} attempts; the last: {failure}")

    def interrupt(self) -> None:
        """End waits and requests under way; from now on `complete` raises StopRun."""
        self.stop.set()
        self._http.close()

    def _body(self, question: Question, format_: str) -> dict[str, Any]:
        body = {"model": self.endpoint.model, "messages": list(question.messages), "max_tokens": question.max_tokens,
                "temperature": question.temperature, "seed": question.seed, **dict(self.endpoint.extra_body)}
        if format_ == "json_schema":
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": question.schema}}
        elif format_ == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body

    def _step_down(self, status: int, tried: int) -> bool:
        """Whether a 400 or 422 may be the fault of the response format, and a simpler one is left to try."""
        if status not in (400, 422) or FORMATS[tried] == "none":
            return False
        with self._lock:
            if self._format == tried:
                self._format += 1
                emit("warning", message=f"the endpoint does not take response_format {FORMATS[tried]}; trying {FORMATS[self._format]}")
        return True

    def _wait_turn(self) -> None:
        """Keep to the rate limit and to what the last 429 said."""
        with self._lock:
            start = max(self._next_start, time.monotonic())
            if self.endpoint.requests_per_minute:
                self._next_start = start + 60 / self.endpoint.requests_per_minute
        self._sleep(start - time.monotonic())

    def _back_off(self, attempt: int, answer: HttpReply | None, failure: str) -> None:
        self._sleep(0.0)  # a request that was broken off by `interrupt` is no failure to tell of
        backoff = min(60.0, self.endpoint.backoff_seconds * 2 ** (attempt - 1)) * random.uniform(0.75, 1.25)
        asked = _retry_after(answer) if answer else None
        seconds = backoff if asked is None else asked
        emit("retry", attempt=attempt, seconds=round(seconds, 2), message=failure)
        if answer is not None and answer.status == 429:
            with self._lock:
                self._next_start = max(self._next_start, time.monotonic() + seconds)
            return
        self._sleep(seconds)

    def _sleep(self, seconds: float) -> None:
        if self.stop.wait(max(seconds, 0.0)):
            raise StopRun("signal", "asked to stop")


def _reply(answer: HttpReply, question: Question) -> Reply:
    """Raises ValueError, KeyError, TypeError, IndexError, AttributeError or RecursionError when the body is no chat completion."""
    body = json.loads(answer.body)
    choice = body["choices"][0]
    message = choice["message"]
    text = message.get("content") or ""
    if not isinstance(text, str):
        raise TypeError("the completion's content is no string")
    text = encodable(text)
    usage = body.get("usage") or {}
    known = isinstance(usage.get("prompt_tokens"), int) and isinstance(usage.get("completion_tokens"), int)
    return Reply(
        text, choice.get("finish_reason") or "", encodable(str(message.get("refusal") or "")), str(body.get("model") or ""),
        Usage(usage["prompt_tokens"], usage["completion_tokens"]) if known else
        Usage(estimate_tokens(question.text), estimate_tokens(text), estimated=True),
    )


def _raise_final(answer: HttpReply, failure: str) -> None:
    """Raise for an answer that no further attempt can better."""
    if answer.status in (401, 403):
        raise StopRun("refused", f"the endpoint refuses the key: {failure}")
    if answer.status == 404:
        raise StopRun("refused", f"the endpoint knows no such path or model: {failure}")
    if answer.status == 429 and "insufficient_quota" in failure:
        raise StopRun("budget", f"the endpoint's quota is used up: {failure}")
    if answer.status in (400, 413, 422):
        raise Unusable("reply", "rejected by the endpoint", failure)


def _message(answer: HttpReply) -> str:
    """What the endpoint said, short; with OpenAI's error code where there is one."""
    try:
        error = json.loads(answer.body)["error"]
        return f"{error.get('code') or ''} {error.get('message') or error}".strip()[:300] if isinstance(error, dict) else str(error)[:300]
    except (ValueError, KeyError, TypeError):
        return answer.body[:200].decode("utf-8", "replace")


def _retry_after(answer: HttpReply) -> float | None:
    """Seconds that Retry-After asks for (a number or an HTTP date), at most ten minutes."""
    value = answer.headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (email.utils.parsedate_to_datetime(value) - datetime.now(timezone.utc)).total_seconds()
        except (TypeError, ValueError):
            return None
    return min(max(seconds, 0.0), 600.0)
