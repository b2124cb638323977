"""Blending interpolates weights; its ends are the files themselves."""

from pathlib import Path

import pytest
import torch

from facesr.errors import WeightsError
from facesr.weights.blend import blend
from tests.conftest import Run, tiny_state


def test_a_blend_is_linear_and_exact_at_its_ends() -> None:
    first, second = tiny_state(1), tiny_state(2)
    for share, expected in ((0, first), (1, second)):
        result = blend(first, second, share)
        assert all(torch.equal(result[key], expected[key]) for key in first)
    result = blend(first, second, 0.3)
    for key in first:
        torch.testing.assert_close(result[key], 0.7 * first[key] + 0.3 * second[key])


def test_what_does_not_match_is_named_and_zero_only_when_asked() -> None:
    first, second = tiny_state(1), tiny_state(2)
    second["more.weight"] = torch.ones(2)
    with pytest.raises(WeightsError, match=r"only one of them has more\.weight"):
        blend(first, second, 0.5)
    assert torch.equal(
        blend(first, second, 0.25, missing_as_zero=True)["more.weight"], torch.full((2,), 0.25)
    )
    with pytest.raises(WeightsError, match=r"only one of them has more\.weight"):
        blend(second, first, 0.5, missing_as_zero=True)
    second = {**tiny_state(2), "conv_last.bias": torch.zeros(4)}
    with pytest.raises(WeightsError, match=r"conv_last\.bias is \(3,\) in one and \(4,\) in the other"):
        blend(first, second, 0.5)


def test_the_command_line_blends_files(run: Run, faces: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        torch.save(tiny_state(seed), tmp_path / f"{name}.pth")
    torch.save(blend(tiny_state(1), tiny_state(2), 0.3), tmp_path / "mixed.pth")

    def upscaled(model: str, *more: object) -> tuple[bytes, str]:
        out = tmp_path / f"out-{model}-{len(list(tmp_path.iterdir()))}"
        result = run(
            "upscale", faces / "0.png", out / "x.png", "-d", "cpu", "-m", tmp_path / f"{model}.pth", *more
        )
        assert result.exit_code == 0, result.output
        return (out / "x.png").read_bytes(), result.stderr

    b = tmp_path / "b.pth"
    assert upscaled("a", "--blend", f"{b}=0")[0] == upscaled("a")[0]
    assert upscaled("a", "--blend", f"{b}=1")[0] == upscaled("b")[0]
    pixels, stderr = upscaled("a", "--blend", f"{b}=0.3")
    assert pixels == upscaled("mixed")[0]
    assert pixels not in {upscaled("a")[0], upscaled("b")[0]}
    assert stderr.count("warning: weights are blended, 0.7 a and 0.3 b") == 1


@pytest.mark.parametrize("text", ["b.pth", "b.pth=", "=0.5", "b.pth=1.5", "b.pth=-1", "b.pth=nan", "b.pth=x"])
def test_a_wrong_share_is_a_usage_error(text: str, run: Run, faces: Path, tmp_path: Path) -> None:
    result = run("upscale", faces, tmp_path / "out", "--blend", text)
    assert result.exit_code == 2
    assert f"`--blend {text}` is not a model and a share from 0 to 1" in result.stderr


def test_networks_of_two_kinds_are_not_blended(run: Run, faces: Path, tmp_path: Path) -> None:
    torch.save(tiny_state(1, "edsr"), tmp_path / "edsr.pth")
    torch.save(tiny_state(1), tmp_path / "b.pth")
    arguments = ("-m", tmp_path / "edsr.pth", "--blend", f"{tmp_path / 'b.pth'}=0.5")
    result = run("upscale", faces, tmp_path / "out", "-d", "cpu", *arguments)
    assert result.exit_code == 1
    assert "edsr.pth" in result.stderr
    assert "b.pth cannot be blended" in result.stderr
    two = run(
        "eval", "--hq", faces, "--lq", faces, "-m", "faceunet", "-m", "msrresnet-b20", "--blend", "x=0.5"
    )
    assert two.exit_code == 2
    assert "needs one `--model`, found 2" in two.stderr
