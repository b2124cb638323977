"""Finding the images in folders."""

import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

from facesr.errors import ConfigError, shorten
from facesr.files.paths import exists, identity

Warn = Callable[[str], object]

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".avif"}
)

# Read with the extra `heic`, which brings the package.
_HEIC_SUFFIXES = {".heic", ".heif", ".hif"}
HEIC_PACKAGE = "pillow_heif"

# No others, so that a file cannot call up a decoder that nobody needs, such as that of PostScript.
READ_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "AVIF")

# What storage devices and systems keep for themselves, such as thumbnails and deleted files, in lower case.
_SYSTEM_FOLDERS = {
    "@eadir", "@recycle", "@recently-snapshot", "@snapshot", "@tmp", "#recycle", "#snapshot", "$recycle.bin",
    "__macosx", "lost+found", "network trash folder", "recycler", "system volume information",
    "temporary items",
}  # fmt: skip

# What a camera or a phone may have put beside them.
_OTHER_SUFFIXES = {
    ".arw", ".cr2", ".cr3", ".dng", ".gif", ".jp2", ".jxl", ".nef", ".orf", ".psd", ".raf", ".rw2",
    *_HEIC_SUFFIXES,
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """An image, and its path relative to the folder that was named."""

    path: Path
    relative: Path


def list_images(
    inputs: Iterable[Path], *, recursive: bool = False, exclude: Iterable[Path] = (), warn: Warn | None = None
) -> list[Source]:
    """List images sorted by path: named files as they are, files in folders by suffix, hidden ones left out.

    System folders such as `@eaDir` count as hidden unless you name them. Links to folders are not followed.
    Folders in `exclude`, such as the output, are skipped. `warn` is called if images in unsupported formats
    were left out.

    Raises:
        ConfigError: A path does not exist, a folder cannot be listed, or there are no images at all.
    """
    found: list[Source] = []
    others: list[Path] = []
    inputs, exclude = list(inputs), {identity(path) for path in exclude}
    for path in inputs:
        if not exists(path):
            raise ConfigError(f"no such file or folder: {path}", hint="name an existing path")
        if path.is_dir():
            children = list(_walk(path, recursive, exclude))
            found += [Source(child, child.relative_to(path)) for child in children if _is_image(child)]
            suffixes = _OTHER_SUFFIXES - (_HEIC_SUFFIXES if _reads_heic() else set())
            others += [child for child in children if child.suffix.lower() in suffixes]
        else:
            found.append(Source(path, Path(path.name)))
    left_out = ""
    if others:
        names = shorten(sorted(map(str, others)), limit=3)
        left_out = f"images in other formats are left out, convert them to PNG or JPEG: {names}"
        if _HEIC_SUFFIXES & {path.suffix.lower() for path in others}:
            left_out += ". HEIC is read after `pip install 'facesr[heic]'`"
    if not found:
        hint = left_out or f"files ending in {', '.join(sorted(IMAGE_SUFFIXES))} are read"
        if not recursive and any(_is_image(child) for path in inputs for child in _walk(path, True, exclude)):
            hint = "`--recursive` looks into the folders below too"
        raise ConfigError(f"no images in {', '.join(map(str, inputs))}", hint=hint)
    if left_out and warn:
        warn(left_out)
    return found


def _walk(folder: Path, recursive: bool, exclude: set[Path]) -> Iterator[Path]:
    for root, folders, names in os.walk(folder, onerror=_refuse_unreadable):
        folders[:] = [
            name
            for name in sorted(folders)
            if recursive and not _is_hidden(name) and identity(Path(root, name)) not in exclude
        ]
        # Pipes and links that lead nowhere too: they are reported when they are read, not passed over.
        yield from (Path(root, name) for name in sorted(names) if not _is_hidden(name))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM_FOLDERS


def _is_image(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix in IMAGE_SUFFIXES or (suffix in _HEIC_SUFFIXES and _reads_heic())


@cache
def _reads_heic() -> bool:
    return importlib.util.find_spec(HEIC_PACKAGE) is not None


def _refuse_unreadable(error: OSError) -> NoReturn:
    raise ConfigError(
        f"cannot list {error.filename}: {error.strerror}", hint="fix its permissions, or leave it out"
    ) from error
