"""What a request to the page may hold. The application behind the guard is a stub that reads the body."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from facesr.demo.guard import Guard

FOLDER = Path("/tmp/facesr-demo-1")


def send(path: str, body: bytes = b"", *, method: str = "POST", length: int | None = -1) -> tuple[int, bytes]:
    """Return the status, and the body that reached the application or the reason that it did not."""
    messages = [
        {"type": "http.request", "body": body[:3], "more_body": True},
        {"type": "http.request", "body": body[3:]},
    ]
    sent: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        got = b""
        while True:
            message = await receive()
            got += message["body"]
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": got})

    async def receive() -> Any:
        return messages.pop(0)

    async def answer(message: Any) -> None:
        sent.append(message)

    stated = len(body) if length == -1 else length
    headers = [] if stated is None else [(b"content-length", str(stated).encode())]
    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    asyncio.run(Guard(application, folder=FOLDER, max_bytes=5 << 20)(scope, receive, answer))
    return sent[0]["status"], sent[1]["body"]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "http://example.com/a.png",
        "https://example.com/a.png",
        "a.png",
        f"{FOLDER}/../other/a.png",
        f"{FOLDER}-2/a.png",
    ],
)
def test_files_elsewhere_are_refused_wherever_they_are_named(path: str) -> None:
    assert send(f"/gradio_api/file={path}", method="GET")[0] == 403
    assert send(f"/gradio_api/file/{path}", method="HEAD")[0] == 403
    for body in ('{"data": [[{"path": "%s", "meta": {}}]]}', '[0, {"a": [{"b": {"path": "%s"}}]}]'):
        assert send("/gradio_api/call/restore", (body % path).encode())[0] == 400
        assert send("/gradio_api/queue/join/", (body % path).encode())[0] == 400


def test_requests_for_files_of_the_page_reach_it_unchanged() -> None:
    file = {"path": f"{FOLDER}/1/a b.png", "url": "http://127.0.0.1:7860/x"}
    body = json.dumps({"data": [[file], {"path": 4}]}).encode()
    assert send("/gradio_api/queue/join", body) == (200, body)
    assert send(f"/gradio_api/file={FOLDER}/1/a.png", method="GET") == (200, b"")
    assert send("/", method="GET", length=None) == (200, b"")
    assert send("/gradio_api/reset") == (200, b"")


@pytest.mark.parametrize("body", [b"not JSON", b"[" * 200_000, b'"\xff"', b"x=1&path=http://a"])
def test_bodies_that_are_not_json_are_refused(body: bytes) -> None:
    assert send("/gradio_api/queue/join", body)[0] == 400


def test_large_requests_are_refused_unread() -> None:
    assert send("/gradio_api/upload", b"form", length=5 << 20) == (200, b"form")
    assert send("/gradio_api/upload", b"form", length=(5 << 20) + 1) == (
        413,
        b"a request may have 5 MiB, upload fewer or smaller files",
    )
    assert send("/gradio_api/queue/join", b"{}", length=(1 << 20) + 1)[0] == 413
    assert send("/gradio_api/upload", b"form", length=None)[0] == 411
