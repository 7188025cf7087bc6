"""A served model as an arm, against real servers on loopback that do everything wrong that a server can do."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from pydantic import ValidationError

from recommenders.adapters import http, http_client
from recommenders.adapters.http import HttpRecommender
from recommenders.adapters.http_config import HttpConfig
from recommenders.adapters.http_messages import FitAnswer, ServerTraits
from recommenders.base import Recommender, RecommenderError
from recommenders.registry import build
from simulator.cli import main
from tests.recommenders.adapters.model_server import (
    Fault,
    Handler,
    Models,
    ModelServer,
    drip,
    hang_up,
    last_word,
    slow,
    status,
    truncated,
    wrong_bytes,
)
from tests.recommenders.cases import ask, assert_same, make_items, make_log, make_requests

FAST = {"connect_timeout_seconds": 5.0, "answer_timeout_seconds": 5.0, "backoff_seconds": 0.01, "tries": 4}
IMPATIENT = {"answer_timeout_seconds": 0.5, "fit_timeout_seconds": 0.5}
TOO_SLOW = slow(0.8)
Serve = Callable[..., ModelServer]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    servers: list[ModelServer] = []

    def start(
        name: str = "popularity", config: dict[str, Any] | None = None, draws: int | str = 0, tls: Any = None
    ) -> ModelServer:
        servers.append(ModelServer(Models(name, tmp_path / f"models{len(servers)}", config, draws), tls))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def arm(server: ModelServer, **settings: Any) -> HttpRecommender:
    return HttpRecommender(HttpConfig(url=server.url, **FAST | settings))


def fitted(server: ModelServer, **settings: Any) -> HttpRecommender:
    recommender = arm(server, **settings)
    recommender.fit(make_log(), make_items(), seed=3)
    return recommender


def here(name: str = "popularity", config: dict[str, Any] | None = None) -> Recommender:
    recommender = build(name, config)
    recommender.fit(make_log(), make_items(), seed=3)
    return recommender


SERVED = {
    "popularity": ("popularity", {}, 0),
    "markov": ("markov", {"window": 6}, 0),
    "random": ("random", {}, "k"),
    "popularity hot": ("popularity", {"temperature": 1.0}, 7),
}


@pytest.mark.parametrize("case", SERVED)
def test_a_served_model_answers_bit_for_bit_like_the_same_in_process(serve: Serve, case: str) -> None:
    name, config, draws = SERVED[case]
    served, eligible = fitted(serve(name, config, draws), batch_size=7), np.arange(40) % 3 > 0
    requests = make_requests(5, n=20, width=60, eligible=eligible)
    slates = ask(served, requests, 7)
    assert_same(slates, ask(here(name, config), requests, 7))
    order = np.random.default_rng(1).permutation(20)
    shuffled = ask(served, requests.take(order), 7)
    np.testing.assert_array_equal(shuffled.item, slates.item[order])
    loaded = HttpRecommender(served.config)
    loaded.load_state_dict(served.state_dict(), make_items())
    assert_same(ask(loaded, requests, 7), slates)
    assert ask(served, requests.take(slice(0, 0)), 7).item.shape == (0, 7)


def test_a_request_tells_what_is_documented_and_no_padding(serve: Serve) -> None:
    server = serve("popularity", {"window": 3})
    served, requests = fitted(server), make_requests(2, n=8, width=6)
    ask(served, requests, 5)
    told = json.loads(server.asked[-1][3])
    assert set(told) == {
        "model_version", "k", "n_items", "eligible", "user", "session", "step", "tick", "history",
    }  # fmt: skip
    for name, rows in told["history"].items():
        column = getattr(requests, f"history_{name}")
        known = (requests.history_item >= 0).sum(1).clip(max=3)
        assert rows == [row[6 - n :].tolist() for row, n in zip(column, known, strict=True)]


def test_nothing_is_asked_before_the_engine_builds_the_arm_and_then_only_the_traits(serve: Serve) -> None:
    server = serve()
    arm(server)
    assert server.asked == []
    assert build("http", {"url": server.url}).traits.history_length == 50
    assert [path for _, path, *_ in server.asked] == ["/traits"]


def test_one_connection_serves_many_requests(serve: Serve) -> None:
    server = serve()
    served = fitted(server)
    for _ in range(5):
        ask(served, make_requests(), 5)
    assert len(server.connections) == 1


@pytest.mark.parametrize(("framing", "n_connections"), [("chunked", 1), ("close", 5)])
def test_an_answer_may_end_in_any_way_that_http_knows(serve: Serve, framing: str, n_connections: int) -> None:
    server = serve("markov")
    server.framing = framing
    served = fitted(server, tries=1)
    for seed in range(3):
        requests = make_requests(seed)
        assert_same(ask(served, requests, 5), ask(here("markov"), requests, 5))
    assert len(server.connections) == n_connections
    with pytest.raises(RecommenderError, match=r"answer of more than 1000 bytes, expected at most 1000"):
        ask(fitted(server, max_answer_bytes=1_000), make_requests(n=40), 5)


PASSING: dict[str, Fault] = {
    "too slow": TOO_SLOW,
    "hangs up": hang_up,
    "truncated": truncated,
    "no JSON": wrong_bytes(b"<html>busy</html>"),
    "broken JSON": wrong_bytes(b'{"item": [[1, 2'),
    "JSON without end": wrong_bytes(b"[" * 100_000),
    "500": status(500),
    "503": status(503, Retry_After="0"),
}


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_tried_again_and_changes_nothing(serve: Serve, fault: str) -> None:
    server = serve("markov")
    server.faults = {path: [PASSING[fault]] for path in ("/traits", "/fit", "/recommend")}
    requests, settings = make_requests(n=9), IMPATIENT if fault == "too slow" else {}
    assert_same(ask(fitted(server, **settings), requests, 5), ask(here("markov"), requests, 5))
    keys = [headers["Idempotency-Key"] for _, path, headers, _ in server.asked if path == "/recommend"]
    assert len(keys) >= 2
    assert len(set(keys)) == 1


def test_a_kept_connection_that_the_server_closed_is_no_failed_try(serve: Serve) -> None:
    server = serve()
    served = fitted(server, tries=1)
    for _ in range(3):
        server.faults["/recommend"] = [last_word]
        ask(served, make_requests(), 5)
    assert len(server.connections) == 3


def test_a_server_that_dies_is_waited_for(serve: Serve) -> None:
    server = serve("markov")
    served, requests = fitted(server, tries=8, backoff_seconds=0.05), make_requests(n=9)
    server.faults["/recommend"] = [server.die_for(0.3)]
    assert_same(ask(served, requests, 5), ask(here("markov"), requests, 5))


def test_a_server_that_never_comes_back_is_an_error_within_bounded_time(serve: Serve) -> None:
    server = serve()
    served = fitted(server)
    server.faults["/recommend"] = [server.die_for(None)]
    start = perf_counter()
    with pytest.raises(RecommenderError) as caught:
        ask(served, make_requests(), 5)
    assert perf_counter() - start < 5
    message = (
        rf"POST {re.escape(server.url)}/recommend: gave up after 4 tries in 0\.\d s; the last: Connection.*refused"
    )
    assert re.search(message, str(caught.value))
    server.start()


def test_nobody_listening_is_an_error_before_the_run_begins() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(RecommenderError, match=rf"GET http://127.0.0.1:{port}/traits: gave up after 2 tries"):
        build("http", {"url": f"http://127.0.0.1:{port}", **FAST, "tries": 2})


def test_a_server_that_drips_is_held_to_the_same_deadline(serve: Serve) -> None:
    server = serve()
    served = fitted(server, tries=2, answer_timeout_seconds=0.5)
    server.faults["/recommend"] = [drip, drip]
    start = perf_counter()
    with pytest.raises(RecommenderError, match=r"2 tries.*time ran out \(5 s to connect, 0\.5 s to answer\)"):
        ask(served, make_requests(), 5)
    assert 1 <= perf_counter() - start < 5


REFUSED: dict[str, tuple[Fault, str]] = {
    "redirect": (status(307, Location="http://evil.example/"), "got a redirect to 'http://evil.example/', expected"),
    "redirect here": (status(302, Location="/recommend/"), "got a redirect to '/recommend/'"),
    "not found": (status(404), 'status 404: .*"told to answer 404'),
    "bad request": (status(400), "status 400: "),
    "lost model": (status(409), "the server has lost the model '[0-9a-f]{32}'"),
    "says it is huge": (
        wrong_bytes(b"1", Content_Length="2000000"),
        "answer of 2000000 bytes, expected at most 100000",
    ),
    "is huge": (wrong_bytes(b"1" * 200_000, Content_Length="x"), "answer of more than 100000 bytes"),
    "compressed": (wrong_bytes(b"1", Content_Encoding="gzip"), "encoded by 'gzip', expected plain JSON"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_will_not_pass_is_an_error_at_once(serve: Serve, fault: str) -> None:
    server = serve()
    served = fitted(server, max_answer_bytes=100_000)
    server.faults["/recommend"] = [REFUSED[fault][0]]
    with pytest.raises(RecommenderError, match=REFUSED[fault][1]):
        ask(served, make_requests(), 5)
    assert [path for _, path, *_ in server.asked].count("/recommend") == 1
    assert ask(served, make_requests(), 5).item.shape == (5, 5)


def test_what_is_no_http_is_shown_without_its_control_characters(serve: Serve) -> None:
    def ring(handler: Handler) -> bool:
        handler.wfile.write(b"\x1b[31mSSH-2.0\x07 hello\r\n")
        return hang_up(handler)

    server = serve()
    server.faults["/traits"] = [ring] * 4
    with pytest.raises(RecommenderError, match=r"the last: BadStatusLine: '\\x1b\[31mSSH-2.0\\x07 hello"):
        fitted(server)


def test_a_second_server_has_not_the_models_of_the_first(serve: Serve) -> None:
    other = arm(serve())
    other.load_state_dict(fitted(serve()).state_dict(), make_items())
    with pytest.raises(RecommenderError, match=r"status 409: .*no such model.* has lost the model"):
        ask(other, make_requests(), 5)


def test_a_wait_that_the_server_asks_for_is_kept_up_to_a_limit(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server, waits = serve(), list[float]()
    served = fitted(server)
    monkeypatch.setattr(http_client, "sleep", waits.append)
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    server.faults["/recommend"] = [status(429, Retry_After="7"), status(503, Retry_After=later), status(503)]
    ask(served, make_requests(), 5)
    assert waits[0] == 7
    assert 15 < waits[1] <= 20
    assert waits[2] < 1
    server.faults["/recommend"] = [status(503, Retry_After="3600")]
    with pytest.raises(RecommenderError, match=r"after 1 try .*asks to wait 3600 s, longer than longest_wait_seconds"):
        ask(served, make_requests(), 5)


def test_pauses_grow_differ_between_requests_and_are_the_same_again(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, waits = serve(), list[float]()
    monkeypatch.setattr(http_client, "sleep", waits.append)
    served = fitted(server, tries=5, backoff_seconds=1.0, longest_wait_seconds=5.0)
    for seed in (1, 1, 2):
        server.faults["/recommend"] = [status(500)] * 4
        ask(served, make_requests(seed), 5)
    first, again, other = waits[:4], waits[4:8], waits[8:]
    assert first == again != other
    for pauses in (first, other):
        assert all(longest / 2 <= pause <= longest for pause, longest in zip(pauses, (1, 2, 4, 5), strict=True))


def cell(name: str, value: object) -> Callable[[Any], Any]:
    """An answer with one wrong value, for the third request's second slot."""

    def change(answer: Any) -> Any:
        answer[name][2][1] = value
        return answer

    return change


WRONG: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no object": (lambda a: [a], "the answer: got a list, expected an object"),
    "no item": (
        lambda a: {k: v for k, v in a.items() if k != "item"},
        "'item': got no such field, expected item, model",
    ),
    "more fields": (lambda a: a | {"propensities": 1}, "'propensities': got an unknown field"),
    "other model": (lambda a: a | {"model_version": "new"}, "model_version: got 'new', expected '[0-9a-f]{32}', which"),
    "part of the batch": (
        lambda a: a | {"item": a["item"][:3]},
        "item: got 3 rows, expected a list of 5, one for each",
    ),
    "item is no list": (lambda a: a | {"item": {}}, "item: got an object, expected a list of 5"),
    "short slate": (
        lambda a: a | {"score": [*a["score"][:4], [1.0]]},
        r"score\[4\] \(user \d+\): got 1 values, expected",
    ),
    "slate is no list": (
        lambda a: a | {"score": [*a["score"][:4], 7]},
        r"score\[4\] \(user \d+\): got 7, expected a list",
    ),
    "text": (cell("item", "7"), r"item\[2\]\[1\] \(user \d+\): got '7', expected an item in \[0, 40\)"),
    "fraction": (cell("item", 7.0), r"item\[2\]\[1\] .*got 7\.0, expected an item"),
    "true": (cell("item", True), r"item\[2\]\[1\] .*got True, expected an item"),
    "null": (cell("item", None), r"item\[2\]\[1\] .*got None, expected an item"),
    "outside": (cell("item", 40), r"item\[2\]\[1\] .*got 40, expected an item"),
    "padding": (cell("item", -1), r"item\[2\]\[1\] .*got -1, expected an item"),
    "astronomic": (cell("item", 10**100), r"item\[2\]\[1\] .*got 10{50}.*\.\.\., expected an item"),
    "nan": (cell("score", float("nan")), r"score\[2\]\[1\] .*got nan, expected a finite number"),
    "infinite": (cell("score", float("inf")), r"score\[2\]\[1\] .*got inf, expected a finite number"),
    "no float32": (cell("score", 1e300), r"score\[2\]\[1\] .*got 1e\+300, expected a finite number"),
    "impossible": (
        lambda a: a | {"propensity": [[0] * 5] * 5},
        r"propensity\[0\]\[0\] .*got 0, expected a number in \(0, 1\]",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_answer_is_told_as_it_is(serve: Serve, fault: str) -> None:
    server = serve()
    served = fitted(server)
    change, message = WRONG[fault]
    server.change = lambda path, answer: change(answer) if path == "/recommend" else answer
    with pytest.raises(RecommenderError, match=f"^POST {server.url}/recommend: {message}"):
        ask(served, make_requests(), 5)


@pytest.mark.parametrize(
    ("path", "change", "message"),
    [
        ("/traits", lambda a: [], "the answer: got a list, Input should be"),
        ("/traits", lambda a: a | {"protocol": 2}, "protocol: got 2, Input should be 1"),
        ("/traits", lambda a: a | {"history_lenght": 2}, "history_lenght: got 2, Extra inputs are not permitted"),
        (
            "/traits",
            lambda a: a | {"history_length": "9", "batch_size": 0},
            "history_length: got '9', .*; batch_size: got 0",
        ),
        ("/traits", lambda a: a | {"fit": False}, "expected a model_version where fit is false"),
        ("/fit", lambda a: {}, "expected either next_part or model_version"),
        ("/fit", lambda a: {"next_part": 1}, "next_part: got 1, expected one of the 1 parts"),
        ("/fit", lambda a: {"model_version": "a b"}, "model_version: got 'a b', String should match"),
        ("/fit", lambda a: {"next_part": 0}, "got no model_version after all 1 parts, sent more than once"),
    ],
)
def test_wrong_traits_and_wrong_answers_to_a_fit_are_told(serve: Serve, path: str, change: Any, message: str) -> None:
    server = serve()
    server.change = lambda asked, answer: change(answer) if asked == path else answer
    with pytest.raises(RecommenderError, match=rf"{path}: (the answer: .*)?{message}"):
        fitted(server)


def test_a_log_is_sent_in_parts_and_again_after_the_server_forgot_them(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "ROWS_PER_PART", 170)  # 600 rows: 4 parts
    server, told = serve("markov"), list[tuple[int, int]]()
    server.faults["/fit"] = [None, None, server.die_for(0.1)]
    served = arm(server, backoff_seconds=0.1, tries=8)
    served.fit(make_log(), make_items(), seed=3, progress=lambda done, total: told.append((done, total)))
    assert_same(ask(served, make_requests(), 5), ask(here("markov"), make_requests(), 5))
    parts = [json.loads(body) for _, path, _, body in server.asked if path == "/fit"]
    assert [part["part"] for part in parts] == [0, 1, 2, 2, 0, 1, 2, 3]
    assert ["catalogue" in part for part in parts] == [part["part"] == 0 for part in parts]
    assert told == [(1, 4), (2, 4), (0, 4), (1, 4), (2, 4), (3, 4)]


def test_a_fit_is_named_after_all_that_goes_into_it(serve: Serve) -> None:
    server = serve()
    names = set()
    for log, items, seed in (
        (make_log(), make_items(), 3),
        (make_log(), make_items(), 3),
        (make_log(), make_items(), 4),
        (make_log(1), make_items(), 3),
        (make_log(), make_items(n_creators=9), 3),
    ):
        served = arm(server)
        served.fit(log, items, seed=seed)
        names.add(served.state_dict()["model_version"].tobytes())
    assert len(names) == 4


def test_a_server_that_trains_elsewhere_is_sent_no_log(serve: Serve) -> None:
    server = serve()
    trained = fitted(server).state_dict()["model_version"].tobytes().decode()
    server.change = lambda path, a: a | {"fit": False, "model_version": trained} if path == "/traits" else a
    n_asked = len(server.asked)
    assert_same(ask(fitted(server), make_requests(), 5), ask(here(), make_requests(), 5))
    assert [path for _, path, *_ in server.asked[n_asked:]] == ["/traits", "/recommend"]


def test_a_warm_start_names_the_model_to_go_on_from(serve: Serve) -> None:
    server = serve()
    server.change = lambda path, a: a | {"warm_start": True} if path == "/traits" else a
    served = fitted(server)
    assert served.traits.warm_start
    first = served.state_dict()["model_version"].tobytes().decode()
    served.fit(make_log(), make_items(), seed=3)
    told = [json.loads(body)["from_model"] for _, path, _, body in server.asked if path == "/fit"]
    assert told == [None, first]
    assert served.state_dict()["model_version"].tobytes().decode() != first


def test_what_is_not_fitted_says_so(serve: Serve) -> None:
    for use in (lambda r: ask(r, make_requests(), 5), lambda r: r.state_dict()):
        with pytest.raises(RecommenderError, match="http: got no fitted state"):
            use(arm(serve()))


SECRET = "hunter2-very-secret"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"headers": {"Authorization": f"Bearer {SECRET}"}},
            "env:NAME for Authorization: the environment variable that holds",
        ),
        ({"headers": {"X-Api-Key": SECRET}}, "env:NAME for X-Api-Key"),
        ({"headers": {"Authorization": f"env:{SECRET}"}}, "env:NAME for Authorization"),
        ({"headers": {"Host": "env:HOST"}}, "no header Host, which is sent in any case"),
        ({"headers": {"A b": "env:HOST"}}, "names of HTTP headers"),
        ({"url": f"http://me:{SECRET}@localhost/"}, "a url without user and password"),
        ({"url": f"http://{SECRET}@localhost/"}, "a url without user and password"),
        ({"url": f"http://localhost/?key={SECRET}"}, "a url without a query"),
        ({"url": "ftp://localhost/"}, "a url that begins with http:// or https://"),
        ({"url": "localhost:80"}, "a url that begins with http:// or https://"),
        ({"url": "http://a..b/x"}, "a url with a host and a port that are valid"),
        ({"url": "http:///x"}, "a url with a host and a port that are valid"),
        ({"url": "http://localhost:99999"}, "a url with a host and a port that are valid"),
        ({"url": "http://[::1"}, "a url with a host and a port that are valid"),
        ({"url": "http://localhost/a b"}, "a url of printable characters of ASCII"),
        ({"ca_file": "ca.pem"}, "a url that begins with https:// where there is a ca_file"),
    ],
)
def test_a_scenario_can_hold_no_secret_and_its_error_does_not_repeat_one(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    settings = {"url": "http://localhost"} | settings
    with pytest.raises(ValidationError) as caught:
        HttpConfig(**settings)
    assert message in str(caught.value)
    assert SECRET not in f"{caught.value} {caught.value.errors()}"
    result = run(tmp_path, scenario(tmp_path, settings), code=2)
    assert message in result.output
    assert SECRET not in result.output


def test_headers_come_from_the_environment(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve()
    headers = {"Authorization": "env:TEST_TOKEN"}
    with pytest.raises(
        RecommenderError, match=r"headers\.Authorization: got no environment variable TEST_TOKEN, expected"
    ):
        arm(server, headers=headers)
    monkeypatch.setenv("TEST_TOKEN", f"{SECRET}\r\nX-Evil: 1")
    with pytest.raises(RecommenderError, match="expected printable characters of ASCII in TEST_TOKEN") as caught:
        arm(server, headers=headers)
    assert SECRET not in str(caught.value)
    monkeypatch.setenv("TEST_TOKEN", f"Bearer {SECRET}")
    served = fitted(server, headers=headers)
    assert {headers["Authorization"] for *_, headers, _ in server.asked} == {f"Bearer {SECRET}"}
    server.faults["/recommend"] = [wrong_bytes(f"neither Bearer {SECRET} nor {SECRET}".encode())] * 4
    with pytest.raises(RecommenderError, match=r"not JSON .* 'neither \(secret\) nor \(secret\)'"):
        ask(served, make_requests(), 5)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the command openssl, to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder / "cert.pem", folder / "key.pem"


def test_a_certificate_of_nobody_known_is_refused_unless_its_authority_is_given(
    serve: Serve, certificate: tuple[Path, Path]
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = serve(tls=context)
    with pytest.raises(RecommenderError, match=r"certificate that cannot be trusted \(self-signed .*see ca_file"):
        fitted(server)
    served = fitted(server, ca_file=str(certificate[0]), answer_timeout_seconds=0.5)
    assert_same(ask(served, make_requests(), 5), ask(here(), make_requests(), 5))
    server.faults["/recommend"] = [truncated, hang_up, drip]
    assert_same(ask(served, make_requests(), 5), ask(here(), make_requests(), 5))
    elsewhere = HttpConfig(url=server.url.replace("127.0.0.1", "localhost"), ca_file=str(certificate[0]))
    with pytest.raises(RecommenderError, match=r"certificate that cannot be trusted .*[Hh]ostname mismatch"):
        _ = HttpRecommender(elsewhere).traits


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_cannot_be_read_are_an_error(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(RecommenderError, match=r"ca_file: got '.*ca\.pem' \(.*\), expected a file of certificates"):
        build("http", {"url": "https://localhost", "ca_file": str(path)})


SCENARIO = """
question: Does a served model behave like one in process?
expected: It does.
run_time: a second
seed: 3
world:
  preset: lively
  catalogue: {items: 60, creators: 12, topics: 4}
  population: {users: 60}
platform: {slate_size: 5, retrain_every: 12h, training_delay: 1h}
warm_up: 1d
arms:
  - {name: here, recommender: MODEL}
  - {name: served, recommender: http, config: CONFIG}
control: here
ab_test: {duration: 1d}
counterfactual: {runs: 20, k: 6, slate_size: 10}
"""


def scenario(folder: Path, settings: dict[str, Any], model: str = "markov") -> Path:
    path = folder / "served.yaml"
    path.write_text(SCENARIO.replace("MODEL", model).replace("CONFIG", json.dumps(settings)))
    return path


def run(folder: Path, path: Path, *options: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["run", str(path), "--out", str(folder / "runs"), "--jobs", "1", *options])
    assert result.exit_code == code, result.output
    return result


def assert_served_like_here(folder: Path) -> None:
    """Every log of the served arm has the hash of the arm that served the same model in process."""
    written = next((folder / "runs" / "served").iterdir())
    manifest = json.loads((written / "manifest.json").read_text())
    hashes = manifest["log_sha256"]
    assert manifest["complete"]
    assert [name for name in hashes if name.startswith("served")] == [
        "served", "served.prefix", "served.base", "served.action",
    ]  # fmt: skip
    for name in ("", ".prefix", ".base", ".action"):
        assert hashes[f"served{name}"] == hashes[f"here{name}"]


def every(n: int, *faults: Fault) -> list[Fault | None]:
    """A fault at every nth request, the given ones in turn."""
    return [faults[i // n % len(faults)] if i % n == n - 1 else None for i in range(n * 40)]


@pytest.mark.parametrize("case", ["popularity", "markov"])
def test_a_run_through_all_faults_has_the_log_of_the_arm_in_process(serve: Serve, tmp_path: Path, case: str) -> None:
    server = serve(case)
    faults = [fault for name, fault in PASSING.items() if name != "too slow"]
    server.faults["/recommend"] = every(9, *faults)
    server.faults["/recommend"][4] = TOO_SLOW
    server.faults["/recommend"][20] = server.die_for(0.3)
    server.faults["/fit"] = [hang_up, None, truncated]
    settings = {"url": server.url, **FAST, **IMPATIENT, "tries": 8, "backoff_seconds": 0.03}
    run(tmp_path, scenario(tmp_path, settings, case))
    assert_served_like_here(tmp_path)
    assert len([path for _, path, *_ in server.asked if path == "/recommend"]) > 100


def test_a_run_in_worker_processes_has_the_same_logs(serve: Serve, tmp_path: Path) -> None:
    run(tmp_path, scenario(tmp_path, {"url": serve("markov").url}), "--jobs", "2")
    assert_served_like_here(tmp_path)


def twice(path: str, answer: Any) -> Any:
    return answer | {"item": [[row[0], *row[:-1]] for row in answer["item"]]} if path == "/recommend" else answer


def test_a_run_whose_server_fails_for_good_ends_with_one_message(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    path = scenario(tmp_path, {"url": server.url, **FAST}, "popularity")
    server.faults["/recommend"] = [None, None, server.die_for(None)]
    dead = run(tmp_path, path, code=2)
    server.start()
    server.change = twice
    wrong = run(tmp_path, path, code=2)
    for result, message in (
        (
            dead,
            r"arm served: recommend on a batch of \d+ .*/recommend: gave up after 4 tries in \d\.\d s; the last: Conn",
        ),
        (wrong, r"arm served: user \d+, session \d, step \d, slot 1: got \d+, which is in the slate already"),
    ):
        assert re.search(message, result.output)
        assert "Traceback" not in result.output
        assert len([line for line in result.output.splitlines() if "arm served" in line]) == 1


def test_the_example_serves_popularity(tmp_path: Path) -> None:
    example = Path(__file__).parents[3] / "examples" / "popularity_server.py"
    command = [sys.executable, str(example), "0", str(tmp_path / "models")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            run(tmp_path, scenario(tmp_path, {"url": url}, "popularity"))
        finally:
            process.terminate()
    assert_served_like_here(tmp_path)


def test_the_documentation_has_every_setting_and_field(serve: Serve) -> None:
    text = (Path(__file__).parents[3] / "docs" / "http.md").read_text(encoding="utf-8")
    server = serve("popularity", {"temperature": 1.0}, "k")
    ask(fitted(server), make_requests(), 5)
    told = [json.loads(body) for *_, body in server.asked if body]
    fields = {field for content in told for field in content} | {*told[0]["log"], *told[0]["catalogue"]}
    fields |= {*told[-1]["history"], *ServerTraits.model_fields, *FitAnswer.model_fields, *HttpConfig.model_fields}
    assert {"uniform", "from_model", "creator", "warm_start", "tries"} <= fields
    assert sorted(name for name in fields | {"score", "propensity"} if not re.search(rf"[`\"]{name}[`\"]", text)) == []
