"""A small web server, a cache of the test's own, and small sets of model files."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from omote.weights import Origin, SetFile, WeightSet, registry
from omote.weights.sets import MIT

CONTENT = np.random.default_rng(0).integers(0, 256, 700_000, dtype=np.uint8).tobytes()


@dataclass
class Server:
    """What the local web server does with the next requests, and what it was asked for."""

    url: str = ""
    content: bytes = CONTENT
    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: list[int | None] = field(default_factory=list)
    ranges_supported: bool = True
    status: int = 200
    etag: str | None = None
    announced: str | None = None  # X-Linked-Etag, in a redirection
    lengths: bool = True
    requests: list[str | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if state.announced is not None and not self.path.startswith("/blob"):
                self.send_response(302)
                self.send_header("Location", f"/blob{self.path}")
                self.send_header("X-Linked-Etag", f'"{state.announced}"')
                self.end_headers()
                return
            asked = self.headers.get("Range")
            state.requests.append(asked)
            state.paths.append(self.path)
            content = state.files.get(self.path.removeprefix("/blob"), state.content)
            if state.status != 200:
                self.send_error(state.status)
                return
            ranged = asked and state.ranges_supported
            if ranged and self.headers.get("If-Range") not in (None, state.etag):
                ranged = False
            start = int(asked.split("=")[1].rstrip("-")) if asked and ranged else 0
            body = content[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            if state.etag:
                self.send_header("ETag", state.etag)
            if state.lengths:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            cut = state.cut_after.pop(0) if state.cut_after else None
            try:
                self.wfile.write(body[:cut])
            except OSError:  # the other side hung up
                return

        def log_message(self, *_: Any) -> None:
            """Silent."""

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{httpd.server_port}/model.bin"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield state
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "キャッシュ home"
    monkeypatch.setenv("OMOTE_HOME", str(folder))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    return folder


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    """What a small network's checkpoint holds."""
    random = torch.Generator().manual_seed(seed)
    return {
        "conv.weight": torch.randn(4, 3, 3, 3, generator=random),
        "conv.bias": torch.randn(4, generator=random),
        "norm.num_batches_tracked": torch.tensor(7),
    }


@pytest.fixture
def small_set(monkeypatch: pytest.MonkeyPatch) -> WeightSet:
    """A system of two files, one plain and one with dictionaries inside, and its sister for animals."""

    def file(key: str, folder: str) -> SetFile:
        paths = (f"small/{folder}/{key}.pth", f"{key}.safetensors")
        return SetFile(key, 50_000, tuple(Origin(path, f"https://huggingface.co/x/{path}") for path in paths))

    known = WeightSet(
        "small", "Small", "https://example.org/small", MIT, (file("body", "base"), file("mlps", "top"))
    )
    animal = Origin("small_animals/base/body.pth", "https://huggingface.co/x/small_animals/base/body.pth")
    sister = replace(
        known,
        name="small_animals",
        files=(SetFile("body", 50_000, (animal,)),),
        borrowed=(("small", "mlps"),),
        marks=("animal",),
    )
    monkeypatch.setattr(registry, "_SETS", {"small": known, "small_animals": sister})
    return known
