"""Whatever lies in a folder: the good pictures are done, the others named, and nothing else happens."""

import json
import os
import shutil
import threading
from pathlib import Path

import pytest
from PIL import Image, ImageFile, PngImagePlugin, TiffImagePlugin
from typer.testing import CliRunner

from facesr.cli.app import app
from facesr.errors import ConfigError, ImageError
from facesr.files.listing import list_images
from facesr.images.read import read_image
from tests.conftest import Run, noise
from tests.hostile.pictures import Hostile, broken, encode, heic, plain, write_pictures
from tests.hostile.processes import assert_whole, facesr, leftovers, pictures_below

PEAK_MIB = 1536

# What is read from an input is what Pillow allows, and this program must not change it for its host.
GLOBALS = [
    (Image, "MAX_IMAGE_PIXELS"),
    (ImageFile, "LOAD_TRUNCATED_IMAGES"),
    (ImageFile, "MAXBLOCK"),
    (PngImagePlugin, "MAX_TEXT_CHUNK"),
    (PngImagePlugin, "MAX_TEXT_MEMORY"),
    (TiffImagePlugin, "READ_LIBTIFF"),
]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Hostile]:
    folder = tmp_path_factory.mktemp("hostile") / "in"
    return folder, write_pictures(folder)


def named(failures: list[dict[str, str]]) -> set[str]:
    return {Path(failure["file"]).name for failure in failures}


def test_there_are_many_kinds_of_files(hostile: tuple[Path, Hostile]) -> None:
    _, files = hostile
    assert (len(files.good) > 90, len(files.bad) > 60, len(files.either) > 25) == (True, True, True)
    assert len(files.all) == len(files.good) + len(files.bad) + len(files.either)


def test_upscale_does_the_good_ones_and_names_the_others(
    hostile: tuple[Path, Hostile], tiny_folder: Path, tmp_path: Path
) -> None:
    folder, files = hostile
    out = tmp_path / "out"
    done = facesr("upscale", folder, out, "-m", tiny_folder, "-d", "cpu", "--json", cwd=tmp_path)
    assert done.code == 3, done.stderr
    document = json.loads(done.stdout)
    failed, written = named(document["failed"]), {Path(path).name for path in document["written"]}
    # BMP and HEIC are only read.
    written |= {
        Path(name).stem + end for name in written if name.endswith(".png") for end in (".bmp", ".heic")
    }
    assert failed >= files.bad
    assert not failed & files.good, [f for f in document["failed"] if Path(f["file"]).name in files.good]
    assert failed | written >= files.all
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == len(failed)
    assert len(pictures_below(out)) == len(document["written"]) >= len(files.good)
    assert_whole(out)
    clean(done.stderr, out, done.peak_mib)
    # The second run has the failures left, and says the same about them.
    again = facesr("upscale", folder, out, "-m", tiny_folder, "-d", "cpu", "--json", cwd=tmp_path)
    assert again.code == 3
    assert named(json.loads(again.stdout)["failed"]) == failed
    assert json.loads(again.stdout)["written"] == []


def clean(stderr: str, out: Path, peak_mib: float) -> None:
    assert "Traceback" not in stderr
    assert "Warning" not in stderr
    assert "\x1b" not in stderr  # no name speaks to the terminal
    assert leftovers(out) == []
    assert peak_mib < PEAK_MIB


def test_degrade_does_the_good_ones_and_names_the_others(
    hostile: tuple[Path, Hostile], tmp_path: Path
) -> None:
    folder, files = hostile
    source = tmp_path / "in"
    source.mkdir()
    taken: dict[str, str] = {}  # one of each stem, since all results are PNG
    for name in sorted(files.all):
        taken.setdefault(Path(name).stem, name)
    for name in taken.values():
        (source / name).symlink_to(folder / name)
    # Pictures below 4 px cannot be made four times smaller.
    small = {name for name in ("one.jpg", "tall.png", "wide.png", "narrow.jpg") if name in taken.values()}
    lq = tmp_path / "lq"
    done = facesr("degrade", source, lq, "--json", cwd=tmp_path)
    assert done.code == 3, done.stderr
    document = json.loads(done.stdout)
    failed = named(document["failed"])
    assert failed >= (files.bad & set(taken.values())) | small
    assert not failed & (files.good - small), document["failed"]
    assert len(pictures_below(lq)) == len(document["written"]) == len(taken) - len(failed)
    assert_whole(lq)
    clean(done.stderr, lq, done.peak_mib)


@pytest.fixture(scope="module")
def pairs(hostile: tuple[Path, Hostile], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, int]:
    """Make pairs of which one side is sound and the other hostile, and count good and bad ones."""
    _, files = hostile
    root = tmp_path_factory.mktemp("pairs")
    for side in ("hq", "lq"):
        (root / side).mkdir()
    bad = {
        name: content for name, content in broken().items() if not name.startswith(("promise", "zero-high"))
    }
    for index, content in enumerate(bad.values()):
        sides = {"lq": content, "hq": encode(plain("RGB", 48, 48), "PNG")}
        if index % 2:
            sides = {"lq": encode(plain(), "PNG"), "hq": content}
        for side, data in sides.items():
            (root / side / f"bad{index}.png").write_bytes(data)
    good = [
        name for name in sorted(files.good) if name.startswith(("png-", "jpeg-", "webp-", "icc-", "exif-"))
    ]
    for name in good:
        shutil.copy(hostile[0] / name, root / "lq" / f"{Path(name).stem}-{Path(name).suffix[1:]}.png")
        hq = root / "hq" / f"{Path(name).stem}-{Path(name).suffix[1:]}.png"
        Image.fromarray(noise(48, 48)).save(hq)
    return root, len(good), len(bad)


def test_eval_scores_the_good_ones_and_names_the_others(
    pairs: tuple[Path, int, int], tiny_folder: Path, tmp_path: Path
) -> None:
    root, good, bad = pairs
    arguments = (
        "--save",
        "sr",
        "--csv",
        "t.csv",
        "--report",
        "r.html",
        "-m",
        tiny_folder,
        "-d",
        "cpu",
        "--json",
    )
    done = facesr("eval", "--hq", root / "hq", "--lq", root / "lq", *arguments, cwd=tmp_path)
    assert done.code in {2, 3}, done.stderr
    while done.code == 2:  # a header that can be read, of another size, is refused before anything runs
        assert done.stderr.count("error: ") == 1
        wrong = [path for path in (root / "lq").iterdir() if str(path) in done.stderr]
        assert wrong
        for path in wrong:
            path.unlink()
            (root / "hq" / path.name).unlink()
            bad -= 1
        done = facesr("eval", "--hq", root / "hq", "--lq", root / "lq", *arguments, cwd=tmp_path)
    assert done.code == 3, done.stderr
    document = json.loads(done.stdout)
    assert len(document["images"]) == good
    assert len(document["failed"]) == bad
    assert len(pictures_below(tmp_path / "sr")) == good
    assert_whole(tmp_path / "sr")
    clean(done.stderr, tmp_path, done.peak_mib)


def test_train_refuses_headers_and_passes_over_what_is_damaged_behind_them(
    tmp_path: Path,
) -> None:
    files = write_pictures(tmp_path / "all")
    for side, size in (("hq", 48), ("lq", 12)):
        (tmp_path / side).mkdir()
        Image.fromarray(noise(size, size)).save(tmp_path / side / "a.png")
    shared = (
        "--recipe", "smoke", "--blocks", "1", "--set", "features=8", "--val-hq", "hq", "--val-lq", "lq",
        "--crop", "8", "--set", "iterations=12", "--set", "sample_count=1", "-d", "cpu", "--out", "run",
        "--train-hq",
    )  # fmt: skip
    refused = facesr("train", *shared, "all", cwd=tmp_path)
    assert refused.code == 2
    errors = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "more" in errors[0]
    clean(refused.stderr, tmp_path, refused.peak_mib)
    assert not (tmp_path / "run").exists()
    for path in (tmp_path / "all").iterdir():
        if not path.is_file():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            continue
        try:
            with Image.open(path, formats=("PNG", "JPEG", "WEBP", "TIFF", "BMP")) as image:
                fits = min(image.size) >= 8 and image.width * image.height < 1e6
        except Exception:
            fits = False
        if not fits:
            path.unlink()
    remaining = {path.name for path in (tmp_path / "all").iterdir()}
    assert remaining & files.bad
    done = facesr("train", *shared, "all", cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert "Another image is used instead" in done.stderr
    assert_whole(tmp_path / "run")
    clean(done.stderr, tmp_path / "run", done.peak_mib)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_reading_leaves_pillow_as_it_was(hostile: tuple[Path, Hostile]) -> None:
    before = [getattr(module, name) for module, name in GLOBALS]
    folder, files = hostile
    refused, reasons = set(), []
    for name in files.all:
        try:
            read_image(folder / name)
        except ImageError as error:
            refused.add(name)
            reasons.append(error.reason)
    assert files.bad <= refused <= files.all - files.good
    assert not [reason for reason in reasons if "\n" in reason]
    assert [getattr(module, name) for module, name in GLOBALS] == before


def test_damaged_exif_is_left_out_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(plain(), "JPEG", exif=b"Exif\0\0" + bytes(range(200))))
    picture = read_image(path)
    assert (picture.exif, picture.notes) == (None, ("damaged EXIF is left out",))


@pytest.mark.parametrize("name", ["postscript.png", "gif.png", "ico.png", "vector.png", "pickle.bmp"])
def test_other_formats_have_no_decoder_here(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(broken()[name])
    with pytest.raises(ImageError, match=r"which facesr does not read|not an image in a known format"):
        read_image(tmp_path / name)


def test_every_command_names_what_a_file_is(run: Run, tiny_folder: Path, tmp_path: Path) -> None:
    for side, size in (("lq", 12), ("hq", 48)):
        (tmp_path / side).mkdir()
        Image.fromarray(noise(size, size)).save(tmp_path / side / "a.png")
    (tmp_path / "lq" / "b.png").write_bytes(encode(plain("P"), "GIF"))
    Image.fromarray(noise(48, 48)).save(tmp_path / "hq" / "b.png")
    lq, hq = tmp_path / "lq", tmp_path / "hq"
    model = ("-m", tiny_folder, "-d", "cpu")
    for arguments in (
        ("upscale", lq, tmp_path / "out", *model),
        ("degrade", lq, tmp_path / "low", "--scale", 2),
        ("eval", "--hq", hq, "--lq", lq, *model),
        ("train", "--recipe", "smoke", "--train-hq", lq, "--out", tmp_path / "run"),
    ):
        result = run(*arguments)
        assert f"{lq / 'b.png'}: a GIF image, which facesr does not read" in result.stderr, result.stderr


def test_upscale_takes_what_is_there_of_a_file_that_is_cut_off(
    run: Run, tiny_folder: Path, tmp_path: Path
) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(encode(plain("RGB", 64, 64), "JPEG")[:-200])
    arguments = ("upscale", tmp_path, tmp_path / "out", "-m", tiny_folder, "-d", "cpu")
    refused = run(*arguments)
    assert refused.exit_code == 1
    assert refused.stderr.count("hint: ") == refused.stderr.count("`facesr upscale --truncated`") == 1
    taken = run(*arguments, "--truncated")
    assert taken.exit_code == 0, taken.stderr
    assert f"what is missing is grey or black: {tmp_path / 'a.jpg'} and 1 more" in taken.stderr
    assert len(pictures_below(tmp_path / "out")) == 2


def test_heic_and_avif_of_one_name_are_both_done(run: Run, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "p.heic").write_bytes(heic(plain("RGB", 64, 64)))
    (tmp_path / "p.avif").write_bytes(encode(plain(), "AVIF"))
    result = run("upscale", tmp_path / "p.heic", tmp_path / "p.avif", tmp_path / "out", "-m", tiny_folder)
    assert result.exit_code == 0, result.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"p.png", "p.avif"}


@pytest.mark.parametrize("kind", ["fifo", "device", "dangling", "loop", "folder"])
def test_what_is_no_file_is_refused_and_not_waited_for(
    kind: str, run: Run, tiny_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "in" / "x.png"
    path.parent.mkdir()
    if kind == "fifo":
        os.mkfifo(path)
        # Lets go of a program that waits for the pipe, so that this test fails and does not hang.
        release = threading.Timer(5, lambda: os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK)))
        release.daemon = True
        release.start()
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"device": "/dev/zero", "dangling": "nowhere", "loop": "x.png"}[kind])
    result = run("upscale", path.parent, tmp_path / "out", "-m", tiny_folder, "-d", "cpu")
    expected = {"fifo": "not an ordinary file", "device": "not an ordinary file", "dangling": "No such file",
                "loop": "Too many levels of symbolic links", "folder": "no images in"}[kind]  # fmt: skip
    assert expected in result.stderr
    assert result.exit_code == (2 if kind == "folder" else 1)
    assert run("degrade", path, tmp_path / "lq").exit_code in {1, 2}
    assert not (tmp_path / "out").exists()
    if kind == "fifo":
        release.cancel()


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # For root every folder can be listed, so the refusal is made up.
    Image.fromarray(noise(8, 8)).save(tmp_path / "a.png")
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert len(list_images([tmp_path])) == 1
    with pytest.raises(ConfigError, match=r"cannot list .*closed: Permission denied"):
        list_images([tmp_path], recursive=True)


@pytest.mark.parametrize("command", ["upscale", "degrade"])
def test_the_output_inside_the_input_is_never_read(
    command: str, run: Run, faces: Path, tiny_folder: Path
) -> None:
    arguments = ("-m", tiny_folder, "-d", "cpu") if command == "upscale" else ()
    out = faces / "out"
    for _ in range(2):
        assert run(command, faces, out, "-r", *arguments).exit_code == 0
        assert sorted(path.name for path in pictures_below(out)) == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("upscale", ()),
        ("upscale", ("--overwrite",)),
        ("upscale", ("--format", "png")),
        ("degrade", ()),
        ("degrade", ("--overwrite",)),
    ],
)
def test_the_output_may_not_be_the_input(
    command: str, options: tuple[str, ...], run: Run, faces: Path, tiny_folder: Path
) -> None:
    before = {path.name: path.read_bytes() for path in faces.iterdir()}
    arguments = ("-m", tiny_folder, "-d", "cpu") if command == "upscale" else ()
    result = run(command, faces, faces / ".." / faces.name, *options, *arguments)
    assert result.exit_code == 2
    assert "would overwrite an input" in result.stderr
    assert {path.name: path.read_bytes() for path in faces.iterdir()} == before


def test_results_beside_their_inputs_are_not_enlarged_again(run: Run, faces: Path, tiny_folder: Path) -> None:
    arguments = ("upscale", faces, faces, "--name", "{stem}_4x", "-m", tiny_folder, "-d", "cpu")
    assert run(*arguments).exit_code == 0
    before = sorted(path.name for path in faces.iterdir())
    again = run(*arguments, "--overwrite")
    assert again.exit_code == 2
    assert "would overwrite an input" in again.stderr
    assert sorted(path.name for path in faces.iterdir()) == before


def test_a_name_too_long_for_its_result_is_one_failure(run: Run, faces: Path, tiny_folder: Path) -> None:
    name = "n" * 251 + ".png"
    (faces / "0.png").rename(faces / name)
    out = faces.parent / "out"
    result = run("upscale", faces, out, "--name", "{stem}_4x", "-m", tiny_folder, "-d", "cpu")
    assert result.exit_code == 3
    assert "cannot be written, File name too long" in result.stderr
    assert sorted(path.name for path in out.iterdir()) == ["1_4x.png", "2_4x.png"]
    result = run("degrade", faces, faces.parent / "lq", "--copies", 2)
    assert result.exit_code == 3
    assert result.stderr.count("File name too long") == 2


@pytest.mark.parametrize("path", ["x" * 300, "x" * 5000, "y/" * 3000])
@pytest.mark.parametrize("position", ["input", "output", "model", "hq", "recipe", "resume"])
def test_a_path_too_long_is_one_error(
    position: str, path: str, run: Run, faces: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    arguments: dict[str, tuple[object, ...]] = {
        "input": ("upscale", path, tmp_path / "out"),
        "output": ("upscale", faces, path, "-m", tiny_folder, "-d", "cpu"),
        "model": ("upscale", faces, tmp_path / "out", "-m", path),
        "hq": ("eval", "--hq", path, "--lq", faces),
        "recipe": ("train", "--recipe", path),
        "resume": ("train", "--resume", path),
    }
    result = run(*arguments[position])
    assert result.exit_code in {1, 2}, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "error: " in result.stderr


def test_names_come_out_as_they_are_and_do_not_speak_to_the_terminal(
    run: Run, tiny_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    raw = [b"\xff\xfe.png", b"\x1b[31mred.png", b"a:smile:[bold]b.png", "é\u202e.png".encode()]
    for name in raw:
        (folder / os.fsdecode(name)).write_bytes(encode(plain(), "PNG"))
        (folder / os.fsdecode(b"broken" + name)).write_text("no picture")
    arguments = ("upscale", folder, tmp_path / "out [/b]", "-m", tiny_folder, "-d", "cpu", "--overwrite")
    quiet = run(*arguments, "--quiet")
    assert quiet.exit_code == 3
    assert sorted(line.rpartition(b"/")[2] for line in quiet.stdout_bytes.splitlines()) == sorted(raw)
    written = json.loads(run(*arguments, "--json").stdout)["written"]
    assert sorted(os.fsencode(Path(path).name) for path in written) == sorted(raw)
    result = run(*arguments)
    assert "4 written, 0 skipped, 4 failed to" in result.stderr
    assert "out [/b]" in result.stderr
    for part in (
        "broken\\udcff\\udcfe.png",
        "broken\\x1b[31mred.png",
        "brokena:smile:[bold]b.png",
        "\\u202e",
    ):
        assert part in result.stderr
    assert "\x1b" not in result.stderr


def test_a_picture_that_is_no_longer_what_its_header_said_is_one_failure(
    run: Run, faces: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hq = tmp_path / "hq"
    hq.mkdir()
    for path in faces.iterdir():
        with Image.open(path) as image:
            Image.fromarray(noise(4 * image.height, 4 * image.width)).save(hq / path.name)
    from facesr.workflows import evaluate as evaluation

    listed = evaluation._list_pairs

    def list_and_change(*arguments: object) -> object:
        pairs = listed(*arguments)  # type: ignore[arg-type]
        Image.fromarray(noise(9, 9)).save(hq / "1.png")
        return pairs

    monkeypatch.setattr(evaluation, "_list_pairs", list_and_change)
    result = run("eval", "--hq", hq, "--lq", faces, "-m", tiny_folder, "-d", "cpu", "--json")
    assert result.exit_code == 3
    (failure,) = json.loads(result.stdout)["failed"]
    assert failure["reason"] == "its result is 64x48, but its HQ image is 9x9"


def test_a_stream_without_end_is_refused(monkeypatch: pytest.MonkeyPatch, tiny_folder: Path) -> None:
    monkeypatch.setattr("facesr.workflows.upscale._MAX_STREAM_BYTES", 1000)
    arguments = ["upscale", "-", "-", "-m", str(tiny_folder), "-d", "cpu"]
    result = CliRunner().invoke(app, arguments, input=encode(plain("RGB", 40, 40), "BMP"))
    assert result.exit_code == 1
    assert "error: more than 1,000 bytes on stdin" in result.stderr
    assert result.stdout_bytes == b""
    assert CliRunner().invoke(app, arguments, input=encode(plain(), "BMP")).exit_code == 0


@pytest.mark.parametrize("name", ["bomb.png", "cut-20.jpg", "page.png", "promise.webp", "magic.tif"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_hostile_stream_is_one_error(name: str, tiny_folder: Path) -> None:
    arguments = ["upscale", "-", "-", "-m", str(tiny_folder), "-d", "cpu"]
    result = CliRunner().invoke(app, arguments, input=broken()[name])
    assert (result.exit_code, result.stdout_bytes) == (1, b"")
    assert result.stderr.count("error: ") == 1
    assert len(result.stderr.splitlines()) == 1 + result.stderr.count("hint: ")
