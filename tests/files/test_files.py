"""Listing, planning and writing: nothing lost, nothing half-written."""

import os
import stat
from pathlib import Path

import pytest
from PIL import Image

from facesr.errors import ConfigError, ImageError
from facesr.files.atomic import write_atomic
from facesr.files.jobs import Job, Place, check_files, names_file, plan_jobs, result_suffix
from facesr.files.listing import IMAGE_SUFFIXES, Source, list_images
from facesr.images.image import ImageData
from facesr.images.read import read_image
from facesr.images.write import write_image
from tests.conftest import needs_posix, noise


def as_source(path: str) -> Source:
    return Source(Path(path), Path(path).relative_to(Path(path).parent))


def touch(*paths: Path) -> list[Path]:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return list(paths)


def test_a_folder_lists_its_pictures_by_name(tmp_path: Path) -> None:
    pictures = ["a.jpeg", "b.PNG", "c.webp", "d.jfif", "e.JPE", "ü ß.jpg"]
    touch(*(tmp_path / name for name in (*pictures[::-1], "notes.txt", ".hidden.png")))
    (tmp_path / "folder.png").mkdir()
    assert [str(source.relative) for source in list_images([tmp_path])] == pictures


def test_recursion_mirrors_folders_and_leaves_the_output_out(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("b.png", "x/a.png", "x/y/a.png", ".git/a.png", "out/x/a.png")))
    (tmp_path / "x" / "loop").symlink_to(tmp_path)
    assert [str(s.relative) for s in list_images([tmp_path])] == ["b.png"]
    found = list_images([tmp_path], recursive=True, exclude=[tmp_path / "out"])
    assert [str(source.relative) for source in found] == ["b.png", "x/a.png", "x/y/a.png"]
    (jobs,) = plan_jobs(found, Place(tmp_path / "out"))
    assert [str(job.target.relative_to(tmp_path / "out")) for job in jobs] == [
        "b.png",
        "x/a.png",
        "x/y/a.png",
    ]


@pytest.mark.parametrize(
    "folder", ["@eaDir", "#recycle", "__MACOSX", ".thumbnails", "$RECYCLE.BIN", "lost+found", "x/@eaDir/y"]
)
def test_folders_of_the_system_are_left_out_unless_they_are_named(folder: str, tmp_path: Path) -> None:
    touch(tmp_path / "a.png", tmp_path / "._a.png", tmp_path / folder / "a.png")
    assert [str(s.relative) for s in list_images([tmp_path], recursive=True)] == ["a.png"]
    assert [str(s.relative) for s in list_images([tmp_path / folder])] == ["a.png"]
    (tmp_path / "a.png").unlink()
    with pytest.raises(ConfigError) as caught:
        list_images([tmp_path])
    assert "--recursive" not in caught.value.hint


def test_files_are_taken_as_named_in_order(tmp_path: Path) -> None:
    first, second = touch(tmp_path / "z.data", tmp_path / "a.png")
    assert [source.path for source in list_images([first, second])] == [first, second]


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file or folder: .*nowhere"):
        list_images([tmp_path / "nowhere"])
    with pytest.raises(ConfigError, match="no images in"):
        list_images([tmp_path])


def test_what_is_left_out_is_told_once(tmp_path: Path) -> None:
    names = (
        "a.png",
        "x/b.jxl",
        "c.NEF",
        "d.gif",
        "notes.txt",
        "list.json",
        ".d.jxl",
        "out/e.jxl",
        "LICENSE",
    )
    touch(*(tmp_path / name for name in names))
    told: list[str] = []
    options = {"exclude": [tmp_path / "out"], "warn": told.append}
    assert len(list_images([tmp_path], recursive=True, **options)) == 1
    what = "images in other formats are left out, convert them to PNG or JPEG:"
    assert told == [f"{what} {tmp_path / 'c.NEF'}; {tmp_path / 'd.gif'}; {tmp_path / 'x' / 'b.jxl'}"]
    list_images([tmp_path, tmp_path / "x" / "b.jxl"], **options)  # a file that is named is tried
    assert len(told) == 2
    assert told[1] == f"{what} {tmp_path / 'c.NEF'}; {tmp_path / 'd.gif'}"
    list_images([tmp_path / "a.png"], **options)
    assert len(told) == 2


def test_where_nothing_is_found_the_hint_says_why(tmp_path: Path) -> None:
    def hint(**options: bool) -> str:
        with pytest.raises(ConfigError, match="no images in") as caught:
            list_images([tmp_path], **options)
        return caught.value.hint

    touch(tmp_path / "notes.txt")
    assert ".jpg" in hint()
    touch(tmp_path / "x" / "y" / "a.png")
    assert "--recursive" in hint()
    (tmp_path / "x" / "y" / "a.png").unlink()
    touch(tmp_path / "b.jxl")
    assert "b.jxl" in hint()
    assert "b.jxl" in hint(recursive=True)


@pytest.mark.parametrize("name", ["a.heic", "a.HEIF", "a.hif"])
def test_heic_is_found_in_folders_where_its_extra_is_installed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / name, tmp_path / "b.avif")
    told: list[str] = []
    for is_there, found in ((True, {name, "b.avif"}), (False, {"b.avif"})):
        monkeypatch.setattr("facesr.files.listing._reads_heic", lambda there=is_there: there)
        assert {source.path.name for source in list_images([tmp_path], warn=told.append)} == found
    (warning,) = told
    assert warning.endswith(f"{name}. HEIC is read after `pip install 'facesr[heic]'`")


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES | {".JPG", ".JFIF", ".data", ""}))
def test_a_result_has_a_suffix_that_can_be_written_in_the_format_of_its_source(
    tmp_path: Path, suffix: str
) -> None:
    result = result_suffix(Path(f"a{suffix}"))
    Image.registered_extensions()  # loads Pillow's own table
    known = Image.EXTENSION.get(suffix.lower(), "")
    Image.fromarray(noise(8, 8)).save(tmp_path / f"a{suffix}", known or "PNG")
    write_image(tmp_path / f"b{result}", read_image(tmp_path / f"a{suffix}"))
    with Image.open(tmp_path / f"b{result}") as image:
        assert image.format == (known if known and known != "BMP" else "PNG")
    assert Image.EXTENSION[result.lower()] == image.format


@pytest.mark.parametrize(
    ("output", "is_file"),
    [("new.png", True), ("new.JPEG", True), ("new", False), ("new.v2", False), ("folder.png", False)],
)
def test_an_output_named_like_an_image_is_a_file_unless_it_is_a_folder(
    tmp_path: Path, output: str, is_file: bool
) -> None:
    (tmp_path / "folder.png").mkdir()
    (one,) = touch(tmp_path / "one.jpg")
    assert names_file(tmp_path / output, [one]) == is_file


@pytest.mark.parametrize("suffix", [".gif", ".HEIC", ".jxl", ".bmp", ".jfif"])
def test_an_image_that_cannot_be_written_is_no_folder_either(tmp_path: Path, suffix: str) -> None:
    (one,) = touch(tmp_path / "one.jpg")
    with pytest.raises(ConfigError, match=f"cannot write out{suffix}") as caught:
        names_file(Path(f"out{suffix}"), [one])
    assert caught.value.hint == "use a name ending in .avif, .jpeg, .jpg, .png, .tif, .tiff, .webp"


def test_several_inputs_or_a_folder_do_not_fit_in_one_file(tmp_path: Path) -> None:
    one, two = touch(tmp_path / "one.jpg", tmp_path / "two.jpg")
    for inputs in ([one, two], [tmp_path]):
        for output in ("out.png", "out.gif"):
            with pytest.raises(ConfigError, match=f"{output} is the name of an image file") as caught:
                names_file(tmp_path / output, inputs)
            assert "name a folder" in caught.value.hint


def test_names_come_from_the_source_and_what_is_in_its_name_stays(tmp_path: Path) -> None:
    source = as_source("in/{ext}{stem}.JPG")
    assert Place(tmp_path, "{ext}_{stem}{x}").target(source) == tmp_path / "JPG_{ext}{stem}{x}.JPG"
    assert Place(tmp_path, "{stem}.{ext}", ".png").target(as_source("a")) == tmp_path / "a..png"


def plan_in_place(folder: Path, place: Place, **options: bool) -> tuple[list[str], list[str]]:
    """Return the names of the sources that have jobs, and the warnings."""
    warnings: list[str] = []
    found = list_images([folder], recursive=True)
    (jobs,) = plan_jobs(found, place, warn=warnings.append, **options)
    return [job.source.relative.as_posix() for job in jobs], warnings


def test_what_the_command_writes_is_no_input_of_it(tmp_path: Path) -> None:
    place = Place(tmp_path, "{stem}_4x")
    touch(*(tmp_path / name for name in ("a.png", "b_4x.png", "sub/a.png", "sub/c_4x.png")))
    originals, warnings = plan_in_place(tmp_path, place)
    assert (originals, warnings) == (["a.png", "b_4x.png", "sub/a.png", "sub/c_4x.png"], [])
    results = [place.target(source) for source in list_images([tmp_path], recursive=True)]
    touch(*results, *(path.with_stem(f"{path.stem}_4x") for path in results))
    again, warnings = plan_in_place(tmp_path, place)
    assert again == originals
    assert warnings[0].startswith("left out as inputs, since this command writes them")
    assert str(tmp_path / "a_4x.png") in warnings[0]
    with pytest.raises(ConfigError, match="would overwrite an input"):
        plan_in_place(tmp_path, place, overwrite=True)


def test_a_result_in_another_format_is_no_input_either(tmp_path: Path) -> None:
    place = Place(tmp_path, suffix=".png")
    touch(tmp_path / "a.jpg")
    assert plan_in_place(tmp_path, place) == (["a.jpg"], [])
    touch(tmp_path / "a.png")
    assert plan_in_place(tmp_path, place)[0] == ["a.jpg"]
    with pytest.raises(ConfigError, match="would"):
        plan_in_place(tmp_path, place, overwrite=True)
    touch(tmp_path / "b.png")  # which nothing else is written to
    with pytest.raises(ConfigError, match=r"b\.png would overwrite an input"):
        plan_in_place(tmp_path, place)


def test_what_is_a_result_in_one_place_is_an_input_for_none(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.png", tmp_path / "in" / "a_0.png", tmp_path / "in" / "a_1.png")
    places = Place(tmp_path / "out"), Place(tmp_path / "in")
    for plan in plan_jobs(list_images([tmp_path / "in"]), *places, copies=2):
        assert [job.source.path.name for job in plan] == ["a.png", "a.png"]


def test_what_cannot_be_read_takes_no_place(tmp_path: Path) -> None:
    sources = [as_source(f"{folder}/a.png") for folder in "xyz"]
    for readable in "xyz":
        good = Path(f"{readable}/a.png")
        (jobs,) = plan_jobs(sources, Place(tmp_path), is_readable=lambda path, good=good: path == good)
        assert [job.source for job in jobs] == sources
    with pytest.raises(ConfigError, match=r"x/a\.png and z/a\.png would both be written"):
        plan_jobs(sources, Place(tmp_path), is_readable=lambda path: path.parent.name != "y")


def test_targets_keep_the_suffix_or_take_the_one_given(tmp_path: Path) -> None:
    source = as_source("in/a.tar.jpg")
    assert plan_jobs([source], Place(tmp_path)) == [[Job(source, tmp_path / "a.tar.jpg")]]
    copies = [Job(source, tmp_path / f"a.tar_{copy}.png", copy) for copy in range(2)]
    png = Place(tmp_path, suffix=".png")
    assert plan_jobs([source], png, copies=2) == [copies]
    assert plan_jobs([source], png) == [[Job(source, tmp_path / "a.tar.png")]]


@pytest.mark.parametrize(
    ("names", "suffix"), [(("x/a.png", "y/a.png"), ""), (("x/a.png", "x/a.jpg"), ".png")]
)
def test_two_inputs_with_one_output_are_refused(names: tuple[str, ...], suffix: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_jobs(map(as_source, names), Place(tmp_path, suffix=suffix))
    assert all(name in str(caught.value) for name in names)


def test_the_same_input_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.png is named twice"):
        plan_jobs([as_source("a.png"), as_source("a.png")], Place(tmp_path))


def test_overwriting_an_input_is_refused(tmp_path: Path) -> None:
    sources = [Source(path, Path(path.name)) for path in touch(tmp_path / "in" / "a.png")]
    with pytest.raises(ConfigError, match="would overwrite an input"):
        plan_jobs(sources, Place(tmp_path / "in" / ".." / "in"))
    (tmp_path / "link").symlink_to(tmp_path / "in")
    with pytest.raises(ConfigError, match="would overwrite an input"):
        plan_jobs(sources, Place(tmp_path / "link"))


def test_two_results_do_not_share_what_they_link_to(tmp_path: Path) -> None:
    sources = [Source(path, Path(path.name)) for path in touch(tmp_path / "a.png", tmp_path / "b.png")]
    (tmp_path / "out").mkdir()
    for source in sources:
        (tmp_path / "out" / source.relative).symlink_to(tmp_path / "one.png")
    with pytest.raises(ConfigError, match="both be written"):
        plan_jobs(sources, Place(tmp_path / "out"))


@needs_posix
def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, part: str) -> None:
        with pytest.raises(ConfigError, match=f"`--csv {path}`?.*{part}"):
            check_files({"--csv": path, "--report": None}, inputs=[])

    (file,) = touch(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(file / "x")
    refused(tmp_path, "is a folder")
    refused(file / "deep" / "t.csv", f"cannot write to {file}")
    refused(tmp_path / "link", f"cannot write to {file}")
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    refused(tmp_path / "deep" / "t.csv", f"cannot write to {tmp_path}")
    check_files({"--csv": tmp_path / "pipe"}, inputs=[])
    monkeypatch.undo()
    check_files({"--csv": tmp_path / "deep" / "t.csv", "--report": file}, inputs=[])


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (output,) = touch(tmp_path / "out.png")
    with pytest.raises(ConfigError, match="output is not a folder"):
        plan_jobs([as_source("a.png")], Place(output))


def test_an_atomic_write_appears_whole_with_ordinary_permissions(tmp_path: Path) -> None:
    path = tmp_path / "deep" / ("n" * 240)
    write_atomic(path, lambda stream: stream.write(b"whole"))
    assert path.read_bytes() == b"whole"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(stream: object) -> None:
        stream.write(b"half")  # type: ignore[attr-defined]
        raise error

    with pytest.raises(error):
        write_atomic(path, write)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed_and_stays_one(tmp_path: Path) -> None:
    link, target = tmp_path / "link", tmp_path / "deep" / "target"
    link.symlink_to(Path("deep") / "target")
    for content in (b"new", b"newer"):  # it leads nowhere, then to a file
        write_atomic(link, lambda stream, content=content: stream.write(content))
        assert link.is_symlink()
        assert (target.is_symlink(), target.read_bytes()) == (False, content)
    assert list(target.parent.iterdir()) == [target]


@needs_posix
def test_a_pipe_is_written_into_but_takes_no_picture(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(pipe)
    for path in (pipe, tmp_path / "link"):
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        write_atomic(path, lambda stream: stream.write(b"whole"))
        assert os.read(reader, 10) == b"whole"
        os.close(reader)
        with pytest.raises(ImageError, match="not an ordinary file"):
            write_image(path, ImageData(rgb=noise(8, 8)))
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        write_atomic(tmp_path, lambda stream: stream.write(b"whole"))
    with pytest.raises(ImageError, match="not an ordinary file"):
        write_image(tmp_path, ImageData(rgb=noise(8, 8)))
    assert list(tmp_path.parent.glob(".facesr-*")) == []
