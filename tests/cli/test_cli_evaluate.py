"""`facesr eval` on the command line."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Run, noise


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for index in range(3):
        truth = Image.fromarray(noise(48, 48, seed=index))
        for folder, picture in (("hq", truth), ("lq", truth.resize((12, 12)))):
            (tmp_path / folder).mkdir(exist_ok=True)
            picture.save(tmp_path / folder / f"{index}.png")
    return tmp_path / "hq", tmp_path / "lq"


def test_a_table_on_stdout_and_the_protocol_beside_it(run: Run, folders: tuple, tiny_folder: Path) -> None:
    hq, lq = folders
    result = run("eval", "--hq", hq, "--lq", lq, "-m", tiny_folder, "-d", "cpu")
    assert result.exit_code == 0
    for word in ("bicubic", "tiny", "PSNR", "SSIM", "95 % interval"):
        assert word in result.stdout
    assert "RGB, crop 0, 8-bit, mean of images, 3 images, 0 failed" in result.stderr
    assert "tiny: sha256 " in result.stderr
    assert "worst of tiny: " in result.stderr


def test_a_file_name_cannot_forge_a_line(run: Run, folders: tuple, tiny_folder: Path) -> None:
    for folder in folders:
        (folder / "0.png").rename(folder / "x\nerror: forged\u2028.png")
    hq, lq = folders
    result = run("eval", "--hq", hq, "--lq", lq, "-m", tiny_folder, "-d", "cpu")
    assert r"x\nerror: forged\u2028" in result.stderr
    assert not any(line.startswith("error") for line in result.stderr.splitlines())


def test_json_has_everything_and_no_infinities(run: Run, folders: tuple, tiny_folder: Path) -> None:
    hq, lq = folders
    document = json.loads(
        run("eval", "--hq", hq, "--lq", lq, "-m", tiny_folder, "-d", "cpu", "--json").stdout,
        parse_constant=lambda name: pytest.fail(name),
    )
    assert document["protocol"]["images"] == 3
    assert document["methods"][1]["name"] == "tiny"
    assert len(document["images"]) == 3
    assert {"mean", "median", "std", "low", "high"} == document["summaries"]["tiny"]["psnr"].keys()
    same = json.loads(
        run("eval", "--hq", hq, "--sr", hq, "--json").stdout,
        parse_constant=lambda name: pytest.fail(name),
    )
    assert same["images"][0]["identical"] is True
    assert same["images"][0]["scores"]["hq"]["psnr"] is None
    assert same["summaries"]["hq"]["psnr"]["mean"] is None


def test_quiet_names_the_files_written(run: Run, folders: tuple, tiny_folder: Path, tmp_path: Path) -> None:
    hq, lq = folders
    table, page = tmp_path / "s.csv", tmp_path / "r.html"
    arguments = ("--hq", hq, "--lq", lq, "-m", tiny_folder, "-d", "cpu", "--csv", table, "--report", page)
    assert run("eval", *arguments, "-q").stdout.split() == [str(table), str(page)]


def test_a_damaged_file_exits_3(run: Run, folders: tuple, tiny_folder: Path) -> None:
    hq, lq = folders
    (lq / "1.png").write_bytes((lq / "1.png").read_bytes()[:120])
    result = run("eval", "--hq", hq, "--lq", lq, "-m", tiny_folder, "-d", "cpu")
    assert result.exit_code == 3
    assert f"error: {lq / '1.png'}: cannot be read" in result.stderr


@pytest.mark.parametrize("option", ["--csv", "--report"])
def test_a_file_that_cannot_be_written_takes_no_figures_away(
    run: Run, folders: tuple, tmp_path: Path, option: str
) -> None:
    hq, _ = folders
    files = {"--csv": tmp_path / "s.csv", "--report": tmp_path / "r.html", option: tmp_path / ("n" * 300)}
    arguments = ["eval", "--hq", hq, "--sr", hq, *(word for pair in files.items() for word in pair)]
    result = run(*arguments)
    assert result.exit_code == 3
    assert "PSNR" in result.stdout
    assert result.stderr.splitlines()[0] == f"error: {files[option]}: cannot be written, File name too long"
    document = json.loads(run(*arguments, "--json").stdout)
    assert len(document["images"]) == 3
    assert [failure["file"] for failure in document["failed"]] == [str(files[option])]
    (written,) = document["written"]
    assert Path(written).exists()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--lq", "x"], "no folder of ground-truth images given"),
        (["--hq", "docs"], "nothing to score"),
        (
            ["--sr", "docs/example", "--metric", "psnr"],
            "`--metric psnr` compares images with their ground truth",
        ),
        (["--sr", "nowhere"], "no folder nowhere for the images to score"),
        (["--hq", "nowhere", "--lq", "nowhere"], "no folder nowhere"),
        (["--hq", "docs/example", "--lq", "docs/example"], "enlarges 4 times, but the HQ images are 1 times"),
        (["--hq", "docs/example", "--sr", "docs/example", "--metric", "fid"], "fid"),
        (["--hq", "docs/example", "--sr", "docs/example", "--protocol", "x"], "x"),
        (["--hq", "docs/example", "--sr", "docs/example", "-m", "faceunet"], "leave out `--sr` or `--model`"),
    ],
)
def test_usage_errors(run: Run, arguments: list[str], part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    result = run("eval", *arguments)
    assert result.exit_code == 2
    assert part in result.stderr
    assert "Traceback" not in result.output
