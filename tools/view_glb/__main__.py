"""Render a GLB with three.js in headless Chromium and save a picture.

``python tools/view_glb take.glb -o sheet.png --times 0,0.5,1 --views take,front`` writes one sheet: a row per
view, a column per time. ``--report report.json`` also saves the vertices that three.js computed, for
comparison with the rig. ``--serve`` opens a server for a browser instead. Needs ``npm install`` (three) and a
``chromium`` program.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)


class ViewError(RuntimeError):
    """The page could not be shown."""


class Results:
    """What the page posted."""

    def __init__(self) -> None:
        self.shots: dict[int, bytes] = {}
        self.report: dict[str, Any] = {}
        self.error = ""
        self.done = threading.Event()


class Handler(BaseHTTPRequestHandler):
    """Serves the page, three.js and the model on the loopback address, and takes the results."""

    def __init__(self, glb: bytes, job: dict[str, Any], results: Results, *args: Any) -> None:
        self.glb, self.job, self.results = glb, job, results
        super().__init__(*args)

    def do_GET(self) -> None:
        """Static files."""
        path = self.path.split("?")[0]
        kind = {".html": "text/html", ".js": "text/javascript"}.get(Path(path).suffix)
        if path == "/":
            self._send((HERE / "page.html").read_bytes(), "text/html")
        elif path == "/model.glb":
            self._send(self.glb, "model/gltf-binary")
        elif path == "/job.json":
            self._send(json.dumps(self.job).encode(), "application/json")
        elif path.startswith("/three/"):
            base = (ROOT / "node_modules" / "three").resolve()
            file = (base / path.removeprefix("/three/")).resolve()
            if file.is_relative_to(base) and file.is_file():
                self._send(file.read_bytes(), kind or "application/octet-stream")
            else:
                self.send_error(404)
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        """Pictures, the report, or an error."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/shot/"):
            self.results.shots[int(self.path.rpartition("/")[2])] = body
        elif self.path == "/report":
            self.results.report = json.loads(body)
            self.results.done.set()
        elif self.path == "/error":
            self.results.error = body.decode()
            self.results.done.set()
        self._send(b"", "text/plain")

    def _send(self, data: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


def browser() -> str | None:
    """The first browser program found."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def available() -> str:
    """Empty where the tool can run, else what is missing."""
    if browser() is None:
        return "no chromium program (apt-get install chromium)"
    if not (ROOT / "node_modules" / "three").is_dir():
        return "three.js is not in node_modules (npm install)"
    return ""


def view(
    glb: Path,
    *,
    times: list[float],
    views: list[str],
    size: tuple[int, int] = (480, 480),
    stride: int = 1,
    timeout: float = 120.0,
) -> Results:
    """Show a GLB headless and collect pictures (times outer, views inner) and the vertices three.js computed.

    Raises:
        ViewError: nothing came back, or the page failed.
    """
    results = Results()
    job = {"times": times, "views": views, "size": list(size), "stride": stride}
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, glb.read_bytes(), job, results))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="omote-view-") as profile:
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        size_flag = f"--window-size={size[0]},{size[1]}"
        command = [browser() or "chromium", *FLAGS, f"--user-data-dir={profile}", size_flag]
        command += ["--remote-debugging-port=0", url]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            finished = results.done.wait(timeout)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            server.shutdown()
            server.server_close()
    if results.error:
        raise ViewError(results.error)
    if not finished:
        raise ViewError(f"no picture within {timeout:.0f} s")
    return results


def sheet(results: Results, rows: int, columns: int) -> Any:
    """All pictures as one image: a row per view, a column per time."""
    from PIL import Image

    shots = [Image.open(io.BytesIO(results.shots[i])).convert("RGB") for i in range(rows * columns)]
    width, height = shots[0].size
    out = Image.new("RGB", (width * columns, height * rows))
    for i, shot in enumerate(shots):
        out.paste(shot, ((i // rows) * width, (i % rows) * height))
    return out


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="view_glb", description=__doc__)
    parser.add_argument("glb", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("view.png"))
    parser.add_argument("--times", default="0", help="seconds, comma separated")
    parser.add_argument("--views", default="take,three_quarter", help="take,front,left,right,three_quarter")
    parser.add_argument("--size", default="480x480")
    parser.add_argument("--report", type=Path, help="save the vertices that three.js computed")
    parser.add_argument("--serve", action="store_true", help="serve an interactive page instead")
    given = parser.parse_args()
    width, height = (int(n) for n in given.size.split("x"))
    if given.serve:
        job = {"interactive": True, "size": [width, height]}
        handler = partial(Handler, given.glb.read_bytes(), job, Results())
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        print(f"http://127.0.0.1:{server.server_address[1]}/  (Ctrl-C ends)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    missing = available()
    if missing:
        print(missing, file=sys.stderr)
        return 2
    times, views = [float(t) for t in given.times.split(",")], given.views.split(",")
    results = view(given.glb, times=times, views=views, size=(width, height))
    sheet(results, len(views), len(times)).save(given.output)
    if given.report:
        given.report.write_text(json.dumps(results.report))
    clips = ", ".join(f"{name} {length:.2f} s" for name, length, _ in results.report["animations"])
    clips = clips or "no animation"
    print(f"{given.output}: three.js r{results.report['three']}, {clips}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
