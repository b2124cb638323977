"""Checks requests before Gradio reads them."""

import json
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

_MAX_JSON_BYTES = 1 << 20

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Guard:
    """An ASGI application that rejects large requests, and file paths outside the page's folder.

    If a request gives a URL instead of a file, Gradio downloads it, for any component. A page that others can
    open must not do that.
    """

    def __init__(self, app: App, *, folder: Path, max_bytes: int) -> None:
        """Guard `app`. Its uploads are in `folder`, and each request has at most `max_bytes`."""
        self._app, self._folder, self._max_bytes = app, folder, max_bytes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                receive = await self._checked(scope, receive)
            except _Refused as refused:
                await _answer(send, refused.status, refused.reason)
                return
        await self._app(scope, receive, send)

    async def _checked(self, scope: Message, receive: Receive) -> Receive:
        """Return a function that receives the request's body, checked first."""
        path = scope["path"].rstrip("/")
        if served := re.search(r"/file[=/](.*)", path, re.DOTALL):
            self._check_path(served[1], status=403)
        if scope["method"] != "POST":
            return receive
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or b"transfer-encoding" in headers:
            raise _Refused(411, "a request must state its length")
        is_upload = path.endswith("/upload")
        limit = self._max_bytes if is_upload else _MAX_JSON_BYTES
        if int(length) > limit:
            raise _Refused(413, f"a request may have {limit >> 20} MiB, upload fewer or smaller files")
        if is_upload:
            return receive
        body = await _read(receive)
        try:
            json.loads(body or b"null", object_hook=self._check_object)
        except (ValueError, RecursionError):
            raise _Refused(400, "a request must be JSON") from None
        messages: list[Message] = [{"type": "http.request", "body": body}]

        async def again() -> Message:
            return messages.pop() if messages else await receive()

        return again

    def _check_object(self, value: dict[str, Any]) -> None:
        if isinstance(path := value.get("path"), str):
            self._check_path(path, status=400)

    def _check_path(self, path: str, *, status: int) -> None:
        if not Path(os.path.normpath(path)).is_relative_to(self._folder):
            raise _Refused(status, "only uploads and results can be named as files")


class _Refused(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


async def _read(receive: Receive) -> bytes:
    parts = []
    while (message := await receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    return b"".join(parts)


async def _answer(send: Send, status: int, reason: str) -> None:
    content = reason.encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
