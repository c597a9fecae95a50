"""A real HTTP server that speaks the chat completions protocol and can behave as badly as endpoints do.

It is a well-behaved author by default: it reads the prompt and answers with the object that is asked for, made of the
passage's own words. Each behaviour is a function of the request that answers in its place; one that returns False lets
the author answer.
"""

import json
import os
import random
import re
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from vocabulary import SHARED, WORDS

Behaviour = Callable[["Handler", dict[str, Any]], bool]


class ChatServer:
    """Listens on a free loopback port; `requests` holds the bodies it was sent, in order."""

    def __init__(self, behaviour: Behaviour | None = None, key: str = "", port: int = 0) -> None:
        self.behaviour, self.key = behaviour, key
        self.requests: list[dict[str, Any]] = []
        self.closing, self.arrived, self.refused = threading.Event(), threading.Event(), threading.Event()
        handler = type("BoundHandler", (Handler,), {"chat": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


class Handler(BaseHTTPRequestHandler):
    chat: ChatServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(200, {"status": "ok"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.chat.requests.append(body)
        self.chat.arrived.set()
        if self.chat.key and self.headers.get("authorization") != f"Bearer {self.chat.key}":
            self.answer(401, {"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}})
        elif self.chat.behaviour is None or not self.chat.behaviour(self, body):
            self.complete(json.dumps(compose(body)))

    def complete(self, text: str, finish_reason: str = "stop", **message: Any) -> None:
        """Answer with a completion."""
        self.answer(200, {"model": "test-author", "choices": [{"finish_reason": finish_reason, "message": {"role": "assistant", "content": text, **message}}],
                          "usage": {"prompt_tokens": 100, "completion_tokens": 50}})

    def answer(self, status: int, body: Any, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Silence: a test's output is its own."""


def passage_of(body: dict[str, Any]) -> str:
    """The passage, which the prompt holds as a JSON string on a line of its own."""
    lines = [line for line in body["messages"][-1]["content"].splitlines() if line.startswith('"') and line.endswith('"')]
    return json.loads(lines[0]) if lines else ""


def compose(body: dict[str, Any]) -> dict[str, Any]:
    """The object that the schema or the prompt asks for, from every second word of the passage; harder negatives share more of it."""
    prompt = body["messages"][-1]["content"]
    if '"answers"' in prompt:
        return {"answers": False}
    if '"tasks"' in prompt:
        count = int(re.search(r"a list of (\d+)", prompt)[1])
        return {"tasks": [f"Given a question of kind {i} about the collection, retrieve the passage that answers it" for i in range(count)]}
    words = passage_of(body).split() or random.Random(body["seed"]).choices(WORDS, k=40)
    levels = sorted({int(level) for level in re.findall(r'"negative_(\d)"', prompt)})
    query = words[8:32:3] + ["really"]
    answer = {"query": " ".join(query), **({"positive": " ".join(words)} if '"positive"' in prompt else {})}
    for level in levels:
        shared = query[: 2 * level]
        rng = random.Random(f"{body['seed']}/{level}")
        filler = [rng.choice(SHARED) for _ in range(max(len(words) - len(shared), 1))]
        answer[f"negative_{level}"] = " ".join(shared + filler)
    return answer


if __name__ == "__main__":  # in the place of llama.cpp's server: the same flags, the same environment
    flags = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    server = ChatServer(key=os.environ["LLAMA_API_KEY"], port=int(flags["--port"]))
    threading.Event().wait()
