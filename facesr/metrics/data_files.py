"""Data files that metrics need and that facesr does not include."""

from importlib.util import find_spec
from pathlib import Path


def folders(package: str, inside: str, *, named: Path | None = None) -> list[Path]:
    """Return the folders that may have data files: the one that the user names, then the package's.

    No code of the package is run.
    """
    spec = find_spec(package)
    installed = [Path(spec.origin).parent / inside] if spec and spec.origin else []
    return [*([named] if named else []), *installed]
