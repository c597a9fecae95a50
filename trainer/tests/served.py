"""An encoder behind real HTTP, as the server serves it: POST /embed and GET /info."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from trainer.evaluate.encoders import TextEncoder


@contextmanager
def served(encoder: TextEncoder, fingerprint: str) -> Iterator[str]:
    """The URL of a server whose /embed refuses empty texts and "boom", and whose early exits give the opposite vectors."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 (http.server's name)
            self._answer(200, {"fingerprint": fingerprint})

        def do_POST(self) -> None:  # noqa: N802
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if "boom" in body["inputs"] or "" in body["inputs"]:
                self._answer(422, {"error": "`inputs` must not hold boom, nor be empty", "error_type": "Validation"})
            else:
                vectors = encoder.encode(body["inputs"], body.get("prompt_name", ""))
                self._answer(200, (vectors if body.get("layers", 0) == 0 else -vectors).tolist())

        def log_message(self, *_: object) -> None:
            """Quiet."""

        def _answer(self, status: int, answer: Any) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
