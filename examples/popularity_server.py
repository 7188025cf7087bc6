"""A served model for arms of `recommender: http` (docs/http.md): the most popular items that the user has not seen.

python examples/popularity_server.py 8080 models     # the folder keeps what was trained
pushback run quickstart --set arms[0].recommender=http --set arms[0].config.url=http://127.0.0.1:8080
"""

import base64
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import log
from pathlib import Path

TRAITS = {"protocol": 1, "name": "popularity", "version": "1", "fit": True, "history_length": 50}
LONG_DWELL, LIKE = 2, 8
FOLDER, PARTS = Path(sys.argv[2] if len(sys.argv) > 2 else "models"), {}


def file_of(version):
    return FOLDER / Path(version).name  # whatever a client says, nothing outside the folder


def fit(ask):
    parts = PARTS.setdefault(ask["fit"], {})
    parts[ask["part"]] = ask
    for part in range(ask["parts"]):
        if part not in parts:
            return 200, {"next_part": part}
    count = [0] * len(parts[0]["catalogue"]["creator"])
    for part in PARTS.pop(ask["fit"]).values():
        for item, feedback in zip(part["log"]["item"], part["log"]["feedback"], strict=True):
            count[item] += feedback & (LONG_DWELL | LIKE) > 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    file_of(ask["fit"]).write_text(json.dumps(count))
    return 200, {"model_version": ask["fit"]}


def recommend(ask):
    if not file_of(ask["model_version"]).exists():
        return 409, {"error": "no such model"}
    count, k = json.loads(file_of(ask["model_version"]).read_text()), ask["k"]
    bits = base64.b64decode(ask["eligible"])
    eligible = [item for item in range(ask["n_items"]) if bits[item // 8] >> (7 - item % 8) & 1]
    ranked = sorted(eligible, key=lambda item: -count[item])
    seen = map(set, ask["history"]["item"])
    item = [sorted(ranked[: k + len(those)], key=those.__contains__)[:k] for those in seen]  # seen ones last
    score = [[log(count[i] + 1) for i in slate] for slate in item]
    return 200, {"model_version": ask["model_version"], "item": item, "score": score}


class Handler(BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm, wbufsize = "HTTP/1.1", True, -1  # keeps connections, writes at once

    def do_GET(self):
        ask = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "null")
        status, answer = {"/traits": lambda _: (200, TRAITS), "/fit": fit, "/recommend": recommend}[self.path](ask)
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
