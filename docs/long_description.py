"""Metadata hook of the build: the README as a package index shows it, far from the files that it links to."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

# Addresses and anchors are left alone.
_IMAGE = re.compile(r"!\[([^]]*)\]\((?!\w+:)([^)]+)\)\n(?P<caption>\n\*[^*]+\*\n)?")
_LINK = re.compile(r"(?<!!)\[([^]]*)\]\((?!\w+:|#)([^)]+)\)")


class LongDescription(MetadataHookInterface):
    """Fills in `readme`, by the address of the repository in `[project.urls]` if there is one."""

    def update(self, metadata: dict[str, Any]) -> None:
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        address = metadata.get("urls", {}).get("Repository", "")
        metadata["readme"] = {"content-type": "text/markdown", "text": render(text, address)}


def render(text: str, address: str) -> str:
    """Make links and images absolute. Without an address, leave out images, and of links keep the words."""
    if not address:
        return _LINK.sub(r"\1", _IMAGE.sub("", text))
    text = _IMAGE.sub(rf"![\1]({address}/raw/HEAD/\2)\n\g<caption>", text)
    return _LINK.sub(rf"[\1]({address}/blob/HEAD/\2)", text)
