"""`facesr demo`."""

from facesr.cli.console import Console
from facesr.cli.options import config_options
from facesr.config.demo import DemoConfig
from facesr.workflows import demo as workflow

EXAMPLES = (
    "facesr demo",
    "facesr demo --port 8000 --no-browser",
    "facesr demo --model runs/mine/best --device cuda",
)


@config_options(DemoConfig)
def demo(config: DemoConfig, console: Console) -> None:
    """Restore faces on a page in your browser (extra `demo`)."""

    def ready(url: str) -> None:
        console.data({"url": url}, [url])
        console.end(f"the page is at {url}, Ctrl-C ends it")

    with console.progress() as reporter:
        workflow.demo(config, ready, reporter)
