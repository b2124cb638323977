"""`facesr demo`: a page in your browser."""

import importlib.util
import ipaddress
from collections.abc import Callable

from facesr.config.demo import DemoConfig
from facesr.errors import MissingExtra
from facesr.events import Reporter
from facesr.weights.find import find_model


def demo(config: DemoConfig, ready: Callable[[str], None], reporter: Reporter | None = None) -> None:
    """Serve the page until Ctrl-C, then delete every upload and result.

    Args:
        config: The options.
        ready: Called with the address of the page once it is online.
        reporter: Receives warnings.

    Raises:
        FacesrError: No such model, unusable weights, the extra `demo` is not installed, or an address that
            cannot be used.
    """
    config, reporter = config.resolved(), reporter or Reporter()
    weights = find_model(config.model)
    if importlib.util.find_spec("gradio") is None:
        raise MissingExtra("demo")
    if not _is_loopback(config.host):
        reporter.warn(
            f"`--host {config.host}` lets other machines open the page, which has no password or encryption"
        )
    from facesr.demo.server import serve

    serve(config, weights, ready)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
