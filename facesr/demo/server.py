"""Loads the model and serves the page until Ctrl-C."""

import os
import socket
import tempfile
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from facesr.config.demo import DemoConfig
from facesr.demo.guard import Guard
from facesr.demo.service import MAX_BYTES, MAX_FILE_BYTES, Service
from facesr.errors import FacesrError, reason_of
from facesr.inference.stream import load_for
from facesr.weights.find import WeightFiles

# Files are deleted this long after they were written, looked at every so often, seconds.
AGE_S, EVERY_S = 540.0, 30.0


def serve(config: DemoConfig, weights: WeightFiles, ready: Callable[[str], None]) -> None:
    """Load the model once, serve the page, and delete all files when Ctrl-C or a signal ends it.

    Raises:
        FacesrError: Unusable weights, an unavailable device, or an address that cannot be used.
    """
    _check_host(config.host)
    model = load_for(weights, config.runtime)
    with tempfile.TemporaryDirectory(prefix="facesr-demo-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        # Gradio reads these when it is imported and when it makes a component.
        os.environ["GRADIO_TEMP_DIR"] = str(folder)
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        from starlette.middleware import Middleware

        from facesr.demo.page import HEAD, STYLE, make_page, make_theme

        page = make_page(Service(config, model, folder))
        try:
            _, url, _ = page.launch(
                server_name=config.host,
                server_port=config.port,
                inbrowser=config.browser,
                prevent_thread_lock=True,
                quiet=True,
                share=False,
                ssr_mode=False,
                run_history=False,
                max_file_size=MAX_FILE_BYTES,
                app_kwargs={"middleware": [Middleware(Guard, folder=folder, max_bytes=MAX_BYTES)]},
                footer_links=[],
                theme=make_theme(),
                css=STYLE,
                head=HEAD,
            )
        except OSError as error:
            where = f"{config.host}:{config.port}" if config.port else config.host
            hint = "choose another `--port`, or leave it out"
            raise FacesrError(
                f"cannot listen on {where}, it is in use or not available", hint=hint
            ) from error
        try:
            ready(url)
            examples = set(folder.rglob("*"))
            with suppress(KeyboardInterrupt):
                while True:
                    time.sleep(EVERY_S)
                    delete_old(folder, AGE_S, keep=examples)
        finally:
            page.close(verbose=False)


def _check_host(host: str) -> None:
    """Reject an address that is not one of this machine's. Gradio would try a hundred ports of it first."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        raise FacesrError(
            f"cannot listen on `--host {host}`: {reason_of(error)}",
            hint="use an address of this machine, such as `--host 127.0.0.1`",
        ) from error


def delete_old(folder: Path, age_s: float, *, keep: Collection[Path] = ()) -> None:
    """Delete files and empty folders below a folder that are older than `age_s` seconds."""
    before = time.time() - age_s
    for path in sorted(folder.rglob("*"), reverse=True):  # the content of a folder ahead of it
        with suppress(OSError):  # deleted meanwhile, or a folder that is not empty
            if path not in keep and path.stat().st_mtime < before:
                path.rmdir() if path.is_dir() else path.unlink()
