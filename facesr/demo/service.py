"""What the page does, independent of Gradio: find faces, restore files, keep the results for a while."""

import hashlib
import tempfile
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Literal

from facesr.config.demo import DemoConfig
from facesr.config.upscale import Format, UpscaleConfig
from facesr.errors import FacesrError, ImageError, reason_of
from facesr.events import Reporter
from facesr.faces.find import Face, find_faces
from facesr.images.image import Array, ImageData
from facesr.images.read import read_image
from facesr.images.write import encode_image
from facesr.inference.restore import Enlargement, plan_photograph
from facesr.inference.stream import load_for
from facesr.inference.upscale_files import Enlarged, upscale_bytes
from facesr.weights.find import default_sharpness, find_model, find_weights
from facesr.weights.load import Model

# Of one request. No photograph within the limit of pixels takes more bytes.
MAX_FILES = 100
MAX_FILE_BYTES, MAX_BYTES = 200 << 20, 1 << 30

_PREVIEW_PX = 1600
_REMEMBERED = 32  # images of which the faces are known
_LOADED = 4  # models of another sharpness


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A visitor's options, as in `facesr upscale`."""

    outscale: float | None = None
    background: Literal["model", "bicubic"] = "model"
    format: Format = "auto"
    sharpness: float | None = None


@dataclass(frozen=True)
class Restored:
    """A result for the page.

    Attributes:
        file: The result as `facesr upscale` writes it, or a ZIP of several results.
        before: The input for the slider, at most 1600 px a side. None for a ZIP.
        after: The result for the slider, of the same size.
        notes: Messages for the visitor, one sentence each.
    """

    file: Path
    before: Path | None
    after: Path | None
    notes: tuple[str, ...]


class _Notes(Reporter):
    """Collects messages for a visitor."""

    def __init__(self) -> None:
        self.all: list[str] = []

    def warn(self, message: str) -> None:
        self.all.append(message)


class Service:
    """One model, and the files of all visitors.

    Attributes:
        model: Name of the model.
        outscale: Default enlargement.
        sharpness: Default sharpness. None if the model has no choice of it.
    """

    def __init__(self, config: DemoConfig, model: Model, folder: Path) -> None:
        self._config, self._model, self._folder = config, model, folder
        self._known: OrderedDict[str, list[Face]] = OrderedDict()
        # The queue gives turns too, but Gradio ends the turn of what is cancelled and still computes.
        self._turn = threading.Lock()
        self.model = model.config.name
        self.outscale = Enlargement.of(model, None).outscale
        self.sharpness = default_sharpness(find_weights(config.model))
        self._load = lru_cache(_LOADED)(
            lambda sharpness: load_for(find_model(config.model, sharpness=sharpness), config.runtime)
        )

    def find(self, file: Path) -> list[Array]:
        """Return the faces that a visitor can choose from, largest first, as square (side, side, 3) crops.

        If one face fills the image, it is enlarged as a whole, and there is nothing to choose.

        Raises:
            ImageError: The file cannot be read, or is too large.
        """
        defaults = self._options(file, Wish())
        with self._turn, _named(file):
            image = read_image(file, max_pixels=self._config.max_pixels)
            photo = plan_photograph(
                image,
                Enlargement.of(self._model, None),
                mode=defaults.faces,
                min_face=defaults.min_face,
                threshold=defaults.face_threshold,
                find=self._find,
            )
        return [crop.image.rgb8 for crop in photo.crops]

    def restore(
        self,
        files: Sequence[Path],
        wish: Wish,
        *,
        chosen: Collection[int] | None = None,
        progress: Callable[[int, int], object] = lambda done, total: None,
    ) -> Restored:
        """Restore one image, or several into a ZIP. Broken ones among several are left out, with a note.

        Args:
            files: The images.
            wish: The visitor's options.
            chosen: Numbers, from 1, of the faces of a single image to restore. None means all.
            progress: Called with the numbers of files done and of all files.

        Raises:
            FacesrError: No file, too many files, too many bytes, or no file that can be restored.
        """
        if not files:
            raise FacesrError("there is no image yet", hint="choose an image")
        if len(files) > MAX_FILES:
            raise FacesrError(f"{len(files)} images are more than {MAX_FILES}", hint="choose fewer images")
        if _bytes_of(files) > MAX_BYTES:
            raise FacesrError(f"the images have more than {MAX_BYTES >> 20} MiB", hint="choose fewer images")
        if len(files) == 1:
            return self._restore_one(files[0], wish, chosen)
        notes: list[str] = []
        target = self._new_file("restored.zip")
        with zipfile.ZipFile(target, "w") as archive:  # stored, since images are compressed already
            for done, file in enumerate(files):
                progress(done, len(files))
                try:
                    made, said = self._upscale(file, wish, None)
                except ImageError as error:
                    notes.append(sentence(error))
                    continue
                notes += said
                archive.writestr(_free_name(file.stem, made.suffix, archive.namelist()), made.content)
        if not archive.namelist():
            raise FacesrError(" ".join(notes).rstrip("."))
        return Restored(target, None, None, tuple(notes))

    def _restore_one(self, file: Path, wish: Wish, chosen: Collection[int] | None) -> Restored:
        made, notes = self._upscale(file, wish, chosen)
        target = self._new_file(file.stem + made.suffix)
        target.write_bytes(made.content)
        size = _preview_size(made.after)
        views = [self._new_file(f"{name}.png") for name in ("before", "after")]
        for image, view in zip((made.before, made.after), views, strict=True):
            view.write_bytes(encode_image(image.at_8_bits().resized(*size), ".png"))
        return Restored(target, views[0], views[1], tuple(notes))

    def _upscale(self, file: Path, wish: Wish, chosen: Collection[int] | None) -> tuple[Enlarged, list[str]]:
        reporter = _Notes()
        options = self._options(file, wish)
        model = self._model if options.sharpness == self.sharpness else self._load(options.sharpness)
        with self._turn, _named(file):
            made = upscale_bytes(
                options, file.read_bytes(), [model], reporter, chosen=chosen, find=self._find
            )
        return made, [f"{file.name}: {note}." for note in reporter.all]

    def _options(self, file: Path, wish: Wish) -> UpscaleConfig:
        return UpscaleConfig(
            inputs=(file,),
            output=Path("-"),
            model=self._config.model,
            runtime=self._config.runtime,
            max_pixels=self._config.max_pixels,
            outscale=wish.outscale,
            background=wish.background,
            format=wish.format,
            sharpness=self.sharpness if wish.sharpness is None else wish.sharpness,
        )

    def _find(self, image: ImageData, *, threshold: float, unless_filled: bool) -> list[Face]:
        """Find the faces of an image, which takes seconds. Remember them for the last few images."""
        key = hashlib.sha256(image.rgb.data).hexdigest() + str(image.rgb.shape)
        if key not in self._known:
            self._known[key] = find_faces(image, threshold=threshold, unless_filled=unless_filled)
        self._known.move_to_end(key)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return self._known[key]

    def _new_file(self, name: str) -> Path:
        """Return the path of a file in a new folder."""
        return Path(tempfile.mkdtemp(dir=self._folder)) / name


def sentence(error: FacesrError) -> str:
    """Return an error and its hint as text for the page."""
    return ". ".join(part for part in (error.message, error.hint) if part) + "."


@contextmanager
def _named(file: Path) -> Iterator[None]:
    """Give errors the visitor's file name, without the folder on this machine."""
    try:
        yield
    except ImageError as error:
        raise ImageError(error.reason, file=Path(file.name), hint=error.hint) from error
    except OSError as error:
        raise ImageError(f"cannot be read, {reason_of(error)}", file=Path(file.name)) from error


def _bytes_of(files: Sequence[Path]) -> int:
    return sum(file.stat().st_size for file in files if file.is_file())


def _free_name(stem: str, suffix: str, taken: Collection[str]) -> str:
    """Return a file name that is not in use yet: a.png, a-2.png, and so on."""
    names = (f"{stem}{f'-{number}' if number > 1 else ''}{suffix}" for number in count(1))
    return next(name for name in names if name not in taken)


def _preview_size(image: ImageData) -> tuple[int, int]:
    factor = min(1.0, _PREVIEW_PX / max(image.size))
    height, width = (max(1, round(side * factor)) for side in image.size)
    return height, width
