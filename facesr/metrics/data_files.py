"""Data files that metrics need and that facesr does not bring."""

from importlib.util import find_spec
from pathlib import Path


def folders(package: str, inside: str, *, named: Path | None = None) -> list[Path]:
    """Return where data files may lie: the folder that the user names, then one of an installed package.

    No code of the package is run.
    """
    spec = find_spec(package)
    installed = [Path(spec.origin).parent / inside] if spec and spec.origin else []
    return [*([named] if named else []), *installed]
