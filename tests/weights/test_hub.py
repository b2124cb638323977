"""The real client against a small local server, in child processes."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facesr.config.model import ModelConfig
from facesr.weights.hub import parse_reference
from facesr.weights.save import save_folder
from tests.conftest import TINY, needs_posix, noise, tiny_state

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Start = Callable[..., str]


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves `/user/tiny/resolve/<revision>/<file>` from a folder, and every kind of trouble by name."""

    folder: Path
    commit = COMMIT
    requests: list[str]

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        self.requests.append(self.path)
        _, repo, _, revision, name = (self.path.strip("/").split("?")[0].split("/") + [""] * 5)[:5]
        trouble = {
            "missing": (404, "RepoNotFound"), "private": (401, "RepoNotFound"), "gated": (403, "GatedRepo"),
            "down": (503, ""),
        }.get(repo)  # fmt: skip
        if repo in {"tiny", "broken"} and revision not in {"main", "v1", self.commit}:
            trouble = (404, "RevisionNotFound")
        path = self.folder / name
        if trouble is None and (repo == "empty" or not path.is_file()):
            trouble = (404, "EntryNotFound")
        if trouble is not None:
            self.send_response(trouble[0])
            if trouble[1]:
                self.send_header("X-Error-Code", trouble[1])
            self.send_header("X-Repo-Commit", self.commit)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            cut = repo == "broken" and name.endswith(".safetensors")
            self.wfile.write(content[: len(content) // 2] if cut else content)
            self.close_connection = cut

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(tiny_folder: Path) -> Iterator[http.server.ThreadingHTTPServer]:
    handler = type("Handler", (Hub,), {"folder": tiny_folder, "requests": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def upscale(hub: Any, tmp_path: Path, model: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "in").mkdir(exist_ok=True)
    Image.fromarray(noise(8, 8)).save(tmp_path / "in" / "a.png")
    arguments = ["upscale", "in", "out", "--overwrite", "-d", "cpu", "-m", model, "--json"]
    return start(hub, tmp_path, [sys.executable, "-m", "facesr", *arguments], **environment)


def start(
    hub: Any, tmp_path: Path, command: list[str], **environment: str
) -> subprocess.CompletedProcess[str]:
    host, port = hub.server_address[:2]
    variables = {
        **os.environ, "HF_ENDPOINT": f"http://{host}:{port}", "HF_HOME": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "0", "HF_HUB_DOWNLOAD_TIMEOUT": "3", "HF_HUB_ETAG_TIMEOUT": "3",
        "HF_HUB_DISABLE_XET": "1", **environment,
    }  # fmt: skip
    return subprocess.run(
        command, env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )


def test_a_repository_is_downloaded_once_and_then_works_offline(hub: Any, tmp_path: Path) -> None:
    done = upscale(hub, tmp_path, "user/tiny@v1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"] == "tiny"
    assert any("/resolve/v1/model.safetensors" in path for path in hub.RequestHandlerClass.requests)
    for model in ("user/tiny", "hf://user/tiny@main"):
        assert upscale(hub, tmp_path, model).returncode == 0
    hub.RequestHandlerClass.requests.clear()
    assert upscale(hub, tmp_path, "user/tiny@v1").returncode == 0
    assert hub.RequestHandlerClass.requests == []
    offline = upscale(hub, tmp_path, "user/tiny@v1", HF_HUB_OFFLINE="1")
    assert offline.returncode == 0, offline.stderr
    assert hub.RequestHandlerClass.requests == []
    unreachable = upscale(hub, tmp_path, "user/tiny@v1", HF_ENDPOINT="http://127.0.0.1:9")
    assert unreachable.returncode == 0, unreachable.stderr


def test_a_repository_that_changes_is_taken_anew_only_when_asked_for(
    hub: Any, tmp_path: Path, tiny_folder: Path
) -> None:
    def sha256(model: str) -> str:
        return str(json.loads(upscale(hub, tmp_path, model).stdout)["sha256"])

    old, new = hashlib.sha256((tiny_folder / "model.safetensors").read_bytes()).hexdigest(), "f" * 40
    assert sha256("user/tiny") == old
    folder = tmp_path / "newer"
    save_folder(folder, tiny_state(1), ModelConfig(name="tiny", arch="msrresnet", args=TINY))
    hub.RequestHandlerClass.folder, hub.RequestHandlerClass.commit = folder, new
    assert sha256("user/tiny") == old
    newer = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert sha256(f"user/tiny@{new}") == newer
    assert sha256("user/tiny") == old
    # As `hf download user/tiny` does, for each of its files.
    files = "config.json", "model.safetensors"
    code = f"import huggingface_hub as hub; [hub.hf_hub_download('user/tiny', name) for name in {files}]"
    done = start(hub, tmp_path, [sys.executable, "-c", code])
    assert done.returncode == 0, done.stderr
    assert sha256("user/tiny") == newer
    assert sha256(f"user/tiny@{COMMIT}") == old


@pytest.mark.parametrize(
    ("model", "environment", "part"),
    [
        ("user/missing", {}, "no such repository on the Hub"),
        ("user/private", {}, "no such repository on the Hub, or it is private"),
        ("user/gated", {}, "access must be requested on the Hub"),
        ("user/tiny@v9", {}, "no such revision"),
        ("user/empty", {}, "not a weight folder, it needs config.json and model.safetensors"),
        ("user/broken", {}, "the download failed"),
        ("user/tiny", {"HF_HUB_OFFLINE": "1"}, "cannot reach the Hub, and the cache does not have it"),
        pytest.param(
            "user/tiny", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot reach the Hub", marks=pytest.mark.slow
        ),
    ],
)
def test_every_trouble_is_one_clear_error(
    hub: Any, tmp_path: Path, model: str, environment: dict[str, str], part: str
) -> None:
    done = upscale(hub, tmp_path, model, **environment)
    assert done.returncode == 1, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert part in errors[0]
    assert model in errors[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


# As in a container whose user is not in /etc/passwd.
NO_HOME = """
import pwd, runpy

def unknown(uid):
    raise KeyError(uid)

pwd.getpwuid = unknown
runpy.run_module("facesr", run_name="__main__")
"""


@needs_posix
@pytest.mark.parametrize("offline", ["0", "1"])
@pytest.mark.parametrize("home", [["-u", "HOME"], ["HOME=in/a.png"]], ids=["none", "unusable"])
def test_without_a_home_bundled_models_work_and_the_hub_names_its_variable(
    hub: Any, tmp_path: Path, home: list[str], offline: str
) -> None:
    def call(model: str, *cache: str) -> subprocess.CompletedProcess[str]:
        command = [
            "env",
            "-u",
            "HF_HOME",
            "-u",
            "XDG_CACHE_HOME",
            *home,
            *cache,
            sys.executable,
            "-c",
            NO_HOME,
        ]
        arguments = ["upscale", "in", "out", "-d", "cpu", "-m", model]
        return start(hub, tmp_path, [*command, *arguments], HF_HUB_OFFLINE=offline)

    (tmp_path / "in").mkdir()
    Image.fromarray(noise(8, 8)).save(tmp_path / "in" / "a.png")
    refused = call("user/tiny")
    assert refused.returncode == 1
    error, hint = refused.stderr.splitlines()
    assert error.startswith("error: user/tiny: cannot ")
    assert "HF_HOME" in hint
    done = call("msrresnet-b20") if offline == "1" else call("user/tiny", "HF_HOME=cache")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"in", "out", "cache"}


def test_an_existing_path_wins(hub: Any, tmp_path: Path, tiny_folder: Path) -> None:
    import shutil

    shutil.copytree(tiny_folder, tmp_path / "user" / "missing")
    assert upscale(hub, tmp_path, "user/missing").returncode == 0
    assert hub.RequestHandlerClass.requests == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user/repo", ("user/repo", None)),
        ("user/repo@main", ("user/repo", "main")),
        ("hf://user/repo@refs/pr/1", ("user/repo", "refs/pr/1")),
        ("repo", None),
        ("a/b/c", None),
        ("user/re po", None),
        ("/absolute", None),
    ],
)
def test_references(text: str, expected: object) -> None:
    assert parse_reference(text) == expected
