"""A server of any recommender of ours that does what it is told to do wrong, dies, and comes back on the same port."""

from __future__ import annotations

import base64
import json
import socket
import ssl
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from time import sleep
from types import SimpleNamespace
from typing import Any

import numpy as np

from recommenders import storage
from recommenders.base import Interactions, ItemFeatures, Requests
from recommenders.registry import build

LOG = {"tick": np.int64, "user": np.int32, "item": np.int32, "feedback": np.uint8, "dwell_seconds": np.float32}
CATALOGUE = {"creator": np.int32, "topic": np.int32, "duration_seconds": np.float32, "release_tick": np.int64}
PADDING = {"item": -1, "feedback": 0, "dwell_seconds": 0, "tick": 0}

FRAMING = {"length": None, "chunked": {"Transfer_Encoding": "chunked"}, "close": {"Connection": "close"}}
"""How the end of an answer is told: the headers in place of a Content-Length."""

Fault = Callable[["Handler"], bool]
"""Takes the place of an answer, or comes before it: says whether to answer all the same."""


class Models:
    """What a server must do: train, keep what it has trained, answer."""

    def __init__(self, name: str, folder: Path, config: dict[str, Any] | None = None, draws: int | str = 0) -> None:
        self.name, self.folder, self.config, self.draws = name, folder, config or {}, draws
        self.parts: dict[str, list[Any]] = {}
        self.loaded: dict[str, Any] = {}
        self.lock = Lock()

    def traits(self, _: Any) -> Any:
        traits = build(self.name, self.config).traits
        own = {"history_length": traits.history_length, "batch_size": traits.batch_size, "draws": self.draws}
        return {"protocol": 1, "name": self.name, "version": "1", "fit": True, **own}

    def fit(self, ask: Any) -> Any:
        path = self.folder / ask["fit"]
        with self.lock:
            if not path.exists():
                parts = self.parts.setdefault(ask["fit"], [])
                if ask["part"] == len(parts):
                    parts.append(ask)
                if len(parts) < ask["parts"]:
                    return {"next_part": len(parts)}
                catalogue = parts[0]["catalogue"]
                columns = {name: np.array(catalogue[name], dtype) for name, dtype in CATALOGUE.items()}
                items = ItemFeatures(**columns, **{name: catalogue[name] for name in ("n_creators", "n_topics")})
                log = {name: np.array([v for p in parts for v in p["log"][name]], dtype) for name, dtype in LOG.items()}
                model = build(self.name, self.config)
                model.fit(Interactions(**log), items, seed=int(ask["seed"]))
                storage.save(path, model, self.name, self.config, items)
            return {"model_version": path.name}

    def recommend(self, ask: Any) -> Any:
        version, n = ask["model_version"], len(ask["user"])
        if version not in self.loaded:
            if not (self.folder / version).exists():
                return None
            self.loaded[version] = storage.load(self.folder / version).recommender
        model = self.loaded[version]
        history = {}
        for name, padding in PADDING.items():
            wide = np.full((n, model.traits.history_length), padding, LOG[name])
            for row, values in zip(wide, ask["history"][name], strict=True):
                row[len(row) - len(values) :] = values
            history[f"history_{name}"] = wide
        bits = np.frombuffer(base64.b64decode(ask["eligible"]), np.uint8)
        requests = Requests(
            **{name: np.array(ask[name], np.int32) for name in ("user", "session", "step")},
            tick=np.array(ask["tick"], np.int64),
            **history,
            eligible=np.unpackbits(bits, count=ask["n_items"]).astype(np.bool_),
        )
        draws: Any = SimpleNamespace(uniform=lambda columns: np.array(ask["uniform"])[:, :columns])
        slates = model.recommend(requests, ask["k"], draws)
        answer = {"model_version": version, "item": slates.item.tolist(), "score": slates.score.tolist()}
        return answer if slates.propensity is None else answer | {"propensity": slates.propensity.tolist()}


class Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self.server.control.connections.append(self.connection)

    def do_GET(self) -> None:
        control = self.server.control
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with control.lock:
            control.asked.append((self.command, self.path, dict(self.headers), body))
            fault = control.next_fault(self.path)
        if fault is not None and not fault(self):
            return
        models = control.models
        routes = {"/traits": models.traits, "/fit": models.fit, "/recommend": models.recommend}
        if self.path not in routes:
            return self.reply({"error": f"no {self.path}"}, 404)
        answer = routes[self.path](json.loads(body) if body else None)
        if answer is None:
            return self.reply({"error": "no such model"}, 409)
        self.reply(control.change(self.path, answer))

    do_POST = do_GET  # noqa: N815

    def reply(self, answer: object, status: int = 200, **headers: str) -> None:
        self.reply_bytes(json.dumps(answer).encode(), status, **headers)

    def reply_bytes(self, body: bytes, status: int = 200, **headers: str) -> None:
        """Headers are named with _ for -; Content_Length may lie."""
        framing = self.server.control.framing
        self.send_response(status)
        for name, value in (FRAMING[framing] or {"Content_Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body if framing != "chunked" else b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))

    def log_message(self, *_: Any) -> None: ...


class _Server(ThreadingHTTPServer):
    control: ModelServer
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Clients that give up are what these tests are about."""


class ModelServer:
    """A server in threads of this process.

    Attributes:
        models: what it serves.
        asked: method, path, headers and body of each request so far.
        faults: path -> what goes wrong with its next requests, in order; None: nothing.
        change: changes right answers into wrong ones.
        framing: one of `FRAMING`.
    """

    def __init__(self, models: Models, tls: ssl.SSLContext | None = None) -> None:
        self.models, self.tls = models, tls
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.faults: dict[str, list[Fault | None]] = {}
        self.change: Callable[[str, Any], Any] = lambda path, answer: answer
        self.framing = "length"
        self.connections: list[socket.socket] = []
        self.lock = Lock()
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    def next_fault(self, path: str) -> Fault | None:
        waiting = self.faults.get(path)
        return waiting.pop(0) if waiting else None

    def start(self) -> None:
        self._server = _Server(("127.0.0.1", self.port), Handler)
        self._server.control = self
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Die: nobody listens any more, and open connections break off."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # closed already
        self.connections.clear()

    def die_for(self, seconds: float | None) -> Fault:
        """A fault after which all that was in memory is gone; None: the server never comes back."""

        def die(_: Handler) -> bool:
            def back() -> None:
                self.stop()
                self.models = Models(self.models.name, self.models.folder, self.models.config, self.models.draws)
                if seconds is not None:
                    sleep(seconds)
                    self.start()

            Thread(target=back).start()
            return False

        return die


def slow(seconds: float) -> Fault:
    return lambda _: bool(sleep(seconds)) or True


def status(code: int, **headers: str) -> Fault:
    return lambda handler: bool(handler.reply({"error": f"told to answer {code}"}, code, **headers))


def wrong_bytes(body: bytes, **headers: str) -> Fault:
    return lambda handler: bool(handler.reply_bytes(body, **headers))


def truncated(handler: Handler) -> bool:
    handler.reply_bytes(b'{"model_version": ', Content_Length="1000")
    handler.close_connection = True
    return False


def hang_up(handler: Handler) -> bool:
    handler.close_connection = True
    return False


def last_word(handler: Handler) -> bool:
    """Answers well and then closes the connection, without saying so."""
    handler.close_connection = True
    return True


def drip(handler: Handler) -> bool:
    """A byte of the status line now and then, for ever."""
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1_000:
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        sleep(0.05)
    return False
