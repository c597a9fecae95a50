"""A local GGUF model: llama.cpp's own server is started on a free loopback port, asked like any other endpoint, and ended."""

import ctypes
import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from trainer.errors import InputError
from trainer.events import emit
from trainer.synthesize.chat.client import Endpoint
from trainer.synthesize.chat.http import Http
from trainer.synthesize.errors import EndpointError

START_SECONDS = 180.0
POLL_SECONDS = 0.1
PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(frozen=True)
class LlamaCpp:
    """The binary, the model and how the server runs; a slot is one request at a time with its own share of the context."""

    server: Path
    model: Path
    slots: int = 1
    threads: int = 0  # 0: llama.cpp chooses
    context_tokens: int = 4096  # a slot


class LlamaServer:
    """The server process. `log` gets what it prints; a death is told with that log's end."""

    def __init__(self, settings: LlamaCpp, log: Path, stop: threading.Event) -> None:
        for path, flag in ((settings.server, "--llama-server"), (settings.model, "--gguf")):
            if not path.is_file():
                raise InputError(f"{flag} {path} does not exist (docs/synthesis.md says how to build and fetch both)")
        self.log, self.port, self._key = log, _free_port(), secrets.token_hex(16)
        with log.open("wb") as output:
            # The key keeps other programs of this machine out; it goes through the environment, which ps does not show.
            self._process = subprocess.Popen(
                _command(settings, self.port), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env={**os.environ, "LLAMA_API_KEY": self._key}, start_new_session=True, preexec_fn=_die_with_parent)
        try:
            self._wait_ready(stop)
        except BaseException:
            self.close()
            raise

    def endpoint(self, asked: Endpoint) -> Endpoint:
        """`asked` with this server's address and key."""
        return replace(asked, base_url=f"http://127.0.0.1:{self.port}/v1", api_key=self._key)

    def close(self) -> None:
        """End the process; killed if it does not leave within five seconds."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait_ready(self, stop: threading.Event) -> None:
        emit("progress", stage="start llama-server")
        http_ = Http(f"http://127.0.0.1:{self.port}", {}, 5.0)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and not stop.wait(POLL_SECONDS):
            if self._process.poll() is not None:
                raise EndpointError(f"llama-server ended with code {self._process.returncode}: {self._log_end()}")
            try:
                if http_.request("GET", "/health").status == 200:
                    return
            except (OSError, http.client.HTTPException):
                continue
        raise EndpointError(f"llama-server was not ready in {START_SECONDS:g} s: {self._log_end()}")

    def _log_end(self) -> str:
        lines = self.log.read_bytes()[-2000:].decode("utf-8", "replace").strip().splitlines()
        return " | ".join(lines[-4:]) or "it printed nothing"


def _command(settings: LlamaCpp, port: int) -> list[str]:
    # Resolved, for a bare file name would be looked for in PATH.
    command = [str(settings.server.resolve()), "--model", str(settings.model), "--host", "127.0.0.1", "--port", str(port),
               "--parallel", str(settings.slots), "--ctx-size", str(settings.context_tokens * settings.slots)]
    return command + (["--threads", str(settings.threads)] if settings.threads else [])


def _die_with_parent() -> None:
    """In the child: ask the kernel for SIGTERM when the trainer dies, even by SIGKILL; gigabytes of model must not be left behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
