"""The page of `facesr demo` as a Hugging Face Space, which forwards port 7860 of all addresses."""

from facesr.config.demo import DemoConfig
from facesr.workflows.demo import demo

demo(DemoConfig(host="0.0.0.0", port=7860, browser=False, max_pixels=2_000_000), print)  # noqa: S104
