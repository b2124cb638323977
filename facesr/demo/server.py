"""From an address and a model to a page that answers, until Ctrl-C."""

import os
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from facesr.config.demo import DemoConfig
from facesr.demo.service import Service
from facesr.errors import FacesrError
from facesr.inference.stream import load_for
from facesr.weights.find import WeightFiles

# No photograph within the limit of pixels takes more.
_MAX_FILE_BYTES = 200 << 20


def serve(config: DemoConfig, weights: WeightFiles, ready: Callable[[str], None]) -> None:
    """Load the model once, serve the page, and delete all files when Ctrl-C or a signal ends it.

    Raises:
        FacesrError: Unusable weights or device, or an address that cannot be listened on.
    """
    model = load_for(weights, config.runtime)
    with tempfile.TemporaryDirectory(prefix="facesr-demo-", ignore_cleanup_errors=True) as folder:
        # Gradio reads these when it is imported and when it makes a component.
        os.environ["GRADIO_TEMP_DIR"] = folder
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        from facesr.demo.page import HEAD, STYLE, make_page, make_theme

        page = make_page(Service(config, model, Path(folder)))
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
                max_file_size=_MAX_FILE_BYTES,
                footer_links=[],
                theme=make_theme(),
                css=STYLE,
                head=HEAD,
            )
        except OSError as error:
            where = f"{config.host}:{config.port}" if config.port else config.host
            hint = "choose another `--port` or `--host`, or leave them out"
            raise FacesrError(
                f"cannot listen on {where}, it is in use or not available", hint=hint
            ) from error
        try:
            ready(url)
            with suppress(KeyboardInterrupt):
                threading.Event().wait()
        finally:
            page.close(verbose=False)
