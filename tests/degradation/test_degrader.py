"""PairDataset follow their specification; steps equal a plain reference; a seed means the same everywhere."""

import dataclasses
import json
import math
import tomllib
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from skimage import data

import facesr
from facesr.config.build import build, dump
from facesr.config.steps import PRESETS, Degradation, Fit, Jpeg, Noise, degradation_preset
from facesr.degradation.degrader import apply, degrade_pixels, derive_seed, draw
from facesr.degradation.steps import STEPS, Sizes
from facesr.errors import ConfigError, ImageError
from tests.conftest import noise as picture
from tests.degradation import reference

DRAWS = 2000
ALPHA = 1e-4  # of each test; there are about sixty, and the seed is fixed
SPECIFIED = {
    "default": {
        "resize_1": (0.2, 1.5), "sigma_1": (1, 20), "poisson_1": (0.05, 2), "jpeg_1": (50, 95),
        "resize_2": (0.3, 1.2), "sigma_2": (1, 15), "poisson_2": (0.05, 1.5), "jpeg_2": (70, 95),
    },
    "real-esrgan": {
        "resize_1": (0.15, 1.5), "sigma_1": (1, 30), "poisson_1": (0.05, 3), "jpeg_1": (30, 95),
        "resize_2": (0.3, 1.2), "sigma_2": (1, 25), "poisson_2": (0.05, 2.5), "jpeg_2": (30, 95),
    },
}  # fmt: skip
FAMILIES = {
    "iso": 0.45, "aniso": 0.25, "generalized_iso": 0.12, "generalized_aniso": 0.03, "plateau_iso": 0.12,
    "plateau_aniso": 0.03,
}  # fmt: skip
MODES = dict.fromkeys(("area", "bilinear", "bicubic"), 1 / 3)
ODD = dict.fromkeys(range(7, 22, 2), 1 / 8)


def uniform(values: list[float], low: float, high: float) -> None:
    assert len(values) > 20
    assert low <= min(values)
    assert max(values) <= high
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > ALPHA


def shares(values: list, expected: dict) -> None:
    counts = Counter(values)
    assert counts.keys() <= expected.keys()
    observed = [counts[key] for key in expected]
    assert stats.chisquare(observed, [p * len(values) for p in expected.values()]).pvalue > ALPHA


def chance(hits: int, total: int, probability: float) -> None:
    assert stats.binomtest(hits, total, probability).pvalue > ALPHA


def blurs(steps: list[dict], sigma: tuple[float, float]) -> None:
    sinc = [step for step in steps if step["family"] == "sinc"]
    chance(len(sinc), len(steps), 0.1)
    shares([step["size_px"] for step in steps], ODD)
    for small, low in ((True, math.pi / 3), (False, math.pi / 5)):
        uniform([step["cutoff"] for step in sinc if (step["size_px"] < 13) == small], low, math.pi)
    rest = [step for step in steps if step["family"] != "sinc"]
    shares([step["family"] for step in rest], FAMILIES)
    uniform([step["sigma"][0] for step in rest], *sigma)
    turned = [step for step in rest if step["family"].endswith("aniso")]
    uniform([step["sigma"][1] for step in turned], *sigma)
    uniform([step["angle"] for step in turned], -math.pi, math.pi)
    assert abs(stats.pearsonr(*zip(*(step["sigma"] for step in turned), strict=True)).statistic) < 0.2
    assert all(step["sigma"][0] == step["sigma"][1] for step in rest if not step["family"].endswith("aniso"))
    general = [step["beta"] for step in rest if step["family"].startswith("generalized")]
    plateau = [step["beta"] for step in rest if step["family"].startswith("plateau")]
    for betas, (low, high) in ((general, (0.5, 4)), (plateau, (1, 2))):
        chance(sum(beta > 1 for beta in betas), len(betas), 0.5)
        uniform([beta for beta in betas if beta > 1], 1, high)
        if low < 1:
            uniform([beta for beta in betas if beta <= 1], low, 1)
        else:
            assert all(beta >= 1 for beta in betas)
    assert all("beta" not in step for step in rest if step["family"] in {"iso", "aniso"})


def resizes(steps: list[dict], bounds: tuple[float, float], kinds: dict[str, float]) -> None:
    shares([step["kind"] for step in steps], kinds)
    shares([step["mode"] for step in steps], MODES)
    scales = {kind: [step["scale"] for step in steps if step["kind"] == kind] for kind in kinds}
    uniform(scales["up"], 1, bounds[1])
    uniform(scales["down"], bounds[0], 1)
    assert set(scales["keep"]) == {1.0}


def noises(steps: list[dict], sigma: tuple[float, float], poisson: tuple[float, float]) -> None:
    gaussian = [step for step in steps if step["kind"] == "gaussian"]
    chance(len(gaussian), len(steps), 0.5)
    chance(sum(step["grey"] for step in steps), len(steps), 0.4)
    uniform([step["sigma"] for step in gaussian], *sigma)
    uniform([step["scale"] for step in steps if step["kind"] == "poisson"], *poisson)
    assert len({step["seed"] for step in steps}) == len(steps)


@pytest.mark.parametrize("preset", SPECIFIED)
def test_the_draws_of_the_second_order_presets_follow_their_specification(preset: str) -> None:
    ranges = SPECIFIED[preset]
    config = degradation_preset(preset)
    samples = [draw(config, derive_seed(0, "distribution", index)) for index in range(DRAWS)]
    steps: dict[str, list[dict]] = {name: [] for name in config.steps}
    for sample in samples:
        for params in sample:
            steps[params["step"]].append(params)
    blurs(steps["blur_1"], (0.2, 3))
    blurs(steps["blur_2"], (0.2, 1.5))
    chance(len(steps["blur_2"]), DRAWS, 0.8)
    chance(len(steps["sinc"]), DRAWS, 0.8)
    shares([step["size_px"] for step in steps["sinc"]], ODD)
    uniform([step["cutoff"] for step in steps["sinc"]], math.pi / 3, math.pi)
    resizes(steps["resize_1"], ranges["resize_1"], {"up": 0.2, "down": 0.7, "keep": 0.1})
    resizes(steps["resize_2"], ranges["resize_2"], {"up": 0.3, "down": 0.4, "keep": 0.3})
    noises(steps["noise_1"], ranges["sigma_1"], ranges["poisson_1"])
    noises(steps["noise_2"], ranges["sigma_2"], ranges["poisson_2"])
    uniform([step["quality"] for step in steps["jpeg_1"]], *ranges["jpeg_1"])
    uniform([step["quality"] for step in steps["jpeg_2"]], *ranges["jpeg_2"])
    shares([step["mode"] for step in steps["fit"]], MODES)
    early = 0
    for sample in samples:
        names = [params["step"] for params in sample if params["step"] in {"fit", "sinc", "jpeg_2"}]
        early += names[0] == "jpeg_2"
        assert [name for name in names if name != "jpeg_2"] in (["fit"], ["fit", "sinc"])
        assert names[0] == "jpeg_2" or names[-1] == "jpeg_2"
    chance(early, DRAWS, 0.5)


@pytest.mark.parametrize(
    ("preset", "sigma", "down", "noise", "quality"),
    [
        ("gfpgan", (0.1, 10), ("shrink", "divisor", 0.8, 8), (0, 20), (60, 100)),
        ("first-order", (0.2, 5), ("shrink", "scale", 1 / 16, 1), (0, 25), (50, 95)),
    ],
)
def test_the_draws_of_the_first_order_presets_follow_their_specification(
    preset: str, sigma: tuple, down: tuple, noise: tuple, quality: tuple
) -> None:
    config = degradation_preset(preset)
    samples = [draw(config, derive_seed(0, "distribution", index)) for index in range(DRAWS)]
    names = ["blur", "shrink", "noise", "jpeg", "back", "fit"]
    assert all([params["step"] for params in sample] == names for sample in samples)
    blur, shrink, noisy, jpeg, back, fit = zip(*samples, strict=True)
    shares([step["family"] for step in blur], {"iso": 0.5, "aniso": 0.5})
    assert {step["size_px"] for step in blur} == {41}
    uniform([step["sigma"][0] for step in blur], *sigma)
    uniform([step[down[1]] for step in shrink], *down[2:])
    assert {(step["kind"], step["grey"]) for step in noisy} == {("gaussian", False)}
    uniform([step["sigma"] for step in noisy], *noise)
    uniform([step["quality"] for step in jpeg], *quality)
    assert {(step["to"], step["mode"]) for step in (*back, *fit)} == {("hq", "bilinear"), ("lq", "area")}


def test_the_draws_of_the_photograph_preset_follow_their_specification() -> None:
    config = degradation_preset("photograph")
    samples = [draw(config, derive_seed(0, "distribution", index)) for index in range(DRAWS)]
    place, align = ([sample[index] for sample in samples] for index in (0, -1))
    assert {(one["step"], other["step"]) for one, other in zip(place, align, strict=True)} == {
        ("place", "align")
    }
    uniform([math.log2(step["scale"]) for step in place], -4, -2)
    uniform([step["angle"] for step in place], -30, 30)
    uniform([value for step in place for value in step["shift"]], 0, 1)
    shares([step["mode"] for step in align], {"bilinear": 0.5, "bicubic": 0.5})
    keys = ("scale", "angle", "shift")
    assert all(
        [one[key] for key in keys] == [other[key] for key in keys]
        for one, other in zip(place, align, strict=True)
    )
    names = [[step["step"] for step in sample[1:-1]] for sample in samples]
    chance(sum(one == ["blur", "noise", "jpeg"] for one in names), DRAWS, 0.8)
    assert all(one[-2:] == ["noise", "jpeg"] for one in names)


@pytest.mark.parametrize("kind", STEPS)
def test_a_step_keeps_its_contract(kind: str) -> None:
    presets = [degradation_preset(name) for name in PRESETS]
    found = (one for one in presets if any(step.kind == kind for step in one.steps.values()))
    config = next(found, None) or build(Degradation, {"steps": {kind: {"kind": kind}}})
    drawn = [params for seed in range(20) for params in draw(config, seed) if params["type"] == kind]
    assert drawn == [params for seed in range(20) for params in draw(config, seed) if params["type"] == kind]
    assert len({json.dumps(params) for params in drawn}) > 1
    images = torch.tensor(picture(48, 64)).permute(2, 0, 1)[None] / 255
    sizes = Sizes((48, 64), (12, 16))
    for params in drawn:
        out = STEPS[kind].apply(images, [params], sizes)
        assert out.shape[:2] == (1, 3)
        assert min(out.shape[2:]) >= 1
        assert -0.5 < float(out.min()) <= float(out.max()) < 1.5
        assert torch.equal(out, STEPS[kind].apply(images, [json.loads(json.dumps(params))], sizes))


def five_pictures() -> list[np.ndarray]:
    photos = [data.astronaut()[:256, 96:352], data.coffee()[:200, :240], data.chelsea()[:160, :300]]
    return [np.ascontiguousarray(photo) for photo in photos] + [picture(128, 128), picture(96, 160, seed=1)]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("index", range(5))
def test_every_step_equals_the_plain_reference(preset: str, index: int) -> None:
    image = torch.tensor(five_pictures()[index]).permute(2, 0, 1)[None] / 255
    config = degradation_preset(preset)
    for copy in range(3):
        drawn = draw(config, derive_seed(7, str(index), copy))
        height, width = image.shape[-2:]
        sizes = Sizes((height, width), (height // 4, width // 4))
        expected = reference.degrade(image, drawn)
        for params, given, wanted in zip(drawn, [image, *expected], expected, strict=False):
            found = STEPS[params["type"]].apply(given, [params], sizes)
            assert found.shape == wanted.shape
            # JPEG rounds coefficients: now and then one falls on the other side of a half.
            difference = (found - wanted).abs()
            limit = 1e-3 if params["type"] == "jpeg" else 2e-5
            assert float((difference > limit).float().mean()) < (5e-3 if params["type"] == "jpeg" else 1e-9)


def test_clean_is_the_bicubic_of_pillow() -> None:
    for pixels in five_pictures():
        height, width = (side // 4 for side in pixels.shape[:2])
        expected = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
        difference = facesr.degrade_image(pixels, "clean").astype(int) - np.asarray(expected)
        # Pillow rounds between its horizontal and its vertical pass.
        assert np.abs(difference).max() <= 3
        assert np.abs(difference).mean() < 0.2


def test_usm_source_sharpens_first() -> None:
    config = dataclasses.replace(degradation_preset(), usm_source=True)
    drawn = draw(config, 3)
    assert drawn[0] == {"step": "usm_source", "type": "usm"}
    assert drawn[1:] == draw(degradation_preset(), 3)
    pixels = five_pictures()[0]
    assert not np.array_equal(degrade_pixels(pixels, drawn), degrade_pixels(pixels, drawn[1:]))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("seed", [11, 12, 13, 14])
def test_a_result_is_of_whole_255ths_and_the_lq_size(preset: str, seed: int) -> None:
    image = torch.tensor(picture(64, 96, seed=seed)).permute(2, 0, 1)[None] / 255
    out = apply(image, draw(degradation_preset(preset), seed))
    assert out.shape == (1, 3, 16, 24)
    assert torch.equal((out * 255).round() / 255, out)


def test_other_seeds_give_other_results() -> None:
    image = torch.tensor(picture(64, 64)).permute(2, 0, 1)[None] / 255
    one, other, third = (apply(image, draw(degradation_preset(), seed)) for seed in (1, 2, 3))
    assert not torch.equal(one, other)
    assert not torch.equal(other, third)


def test_the_result_does_not_depend_on_the_number_of_threads() -> None:
    pixels = five_pictures()[0]
    threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 2, 4):
            torch.set_num_threads(number)
            results.append([facesr.degrade_image(pixels, "default", seed) for seed in range(6)])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_seeds_are_distinct_and_stable() -> None:
    seeds = {derive_seed(s, name, c) for s in range(5) for name in ("a.png", "b/a.png") for c in range(5)}
    assert len(seeds) == 50
    assert derive_seed(0, "a.png", 0) == 253818818997535


def test_parameters_survive_json() -> None:
    pixels = five_pictures()[3]
    for preset in PRESETS:
        drawn = draw(degradation_preset(preset), 5)
        again = json.loads(json.dumps(drawn))
        assert np.array_equal(degrade_pixels(pixels, drawn), degrade_pixels(pixels, again))


def test_degrade_image_takes_pillow_and_arrays_and_crops() -> None:
    pixels = picture(67, 50)
    out = facesr.degrade_image(pixels, "default", 1)
    assert (out.shape, out.dtype) == ((16, 12, 3), np.uint8)
    assert np.array_equal(out, facesr.degrade_image(pixels[:64, :48], degradation_preset(), 1))
    assert np.array_equal(out, np.asarray(facesr.degrade_image(Image.fromarray(pixels), seed=1)))
    assert facesr.degrade_image(pixels, seed=1, scale=2).shape == (33, 25, 3)


@pytest.mark.parametrize("bad", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), "a.png"])
def test_other_things_are_refused(bad: object) -> None:
    with pytest.raises(ImageError, match="expected a"):
        facesr.degrade_image(bad)  # type: ignore[type-var]


def test_a_picture_smaller_than_a_pixel_is_refused() -> None:
    with pytest.raises(ImageError, match="3x8 is smaller"):
        facesr.degrade_image(np.zeros((8, 3, 3), np.uint8))


@pytest.mark.parametrize("size", [(4, 4), (8, 4), (20, 36)])
def test_tiny_pictures_go_through(size: tuple[int, int]) -> None:
    for preset in PRESETS:
        for seed in range(20):
            out = facesr.degrade_image(picture(*size), preset, seed)
            assert out.shape == (size[0] // 4, size[1] // 4, 3)


def test_presets_survive_being_written_down() -> None:
    for preset in PRESETS:
        config = degradation_preset(preset)
        assert build(Degradation, tomllib.loads(dump(config))) == config


def test_wrong_configurations_are_refused() -> None:
    with pytest.raises(ConfigError, match="no degradation preset `bsrgan`"):
        degradation_preset("bsrgan")
    with pytest.raises(ConfigError, match="no step `fit` before it"):
        Degradation(steps={"jpeg": Jpeg(quality=(50, 90), ahead_of="fit"), "fit": Fit(to="lq")})
    unfinished = Degradation(steps={"noise": Noise(sigma=(1, 2))})
    with pytest.raises(ConfigError, match="ends at 64x64, not 16x16"):
        facesr.degrade_image(picture(64, 64), unfinished)
    with pytest.raises(ConfigError, match=r"unknown key `steps\.noise\.loudness`"):
        build(Degradation, {"steps": {"noise": {"kind": "noise", "sigma": [1, 2], "loudness": 3}}})
    with pytest.raises(ConfigError, match=r"`steps\.noise`.*blur.*jpeg.*found.*nosie"):
        build(Degradation, {"steps": {"noise": {"kind": "nosie", "sigma": [1, 2]}}})
    with pytest.raises(ConfigError, match=r"`steps\.noise\.sigma` is missing"):
        build(Degradation, {"steps": {"noise": {"kind": "noise"}}})
    with pytest.raises(ConfigError, match=r"`steps\.noise\.sigma`.*low not above high"):
        build(Degradation, {"steps": {"noise": {"kind": "noise", "sigma": [2, 1]}}})


@pytest.mark.parametrize(
    "step",
    [
        {"kind": "blur", "families": {}},
        {"kind": "blur", "families": {"iso": 0}},
        {"kind": "blur", "families": {"iso": 1}, "sizes_px": [8, 8]},
        {"kind": "blur", "families": {"iso": 1}, "sizes_px": [7, 20_001]},
        {"kind": "blur", "families": {"iso": 1}, "sigma": [0, 0]},
        {"kind": "resize", "scale": [0, 1]},
        {"kind": "resize", "scale": [0.5, 1], "up": 0, "down": 0, "keep": 0},
        {"kind": "resize", "scale": [0.5, 1], "modes": []},
        {"kind": "shrink", "divisor": [0, 0]},
        {"kind": "jpeg", "quality": [0, 0]},
        {"kind": "jpeg", "quality": [90, 101]},
        {"kind": "fit", "to": "lq", "modes": ["area"], "antialias": True},
        {"kind": "noise", "sigma": [-1, 1]},
        {"kind": "place", "scale": [0, 1]},
        {"kind": "place", "scale": [0.5, 1.5]},
        {"kind": "place", "scale": [0.1, 0.2], "angle": [-200, 0]},
        {"kind": "place", "scale": [0.1, 0.2], "angle": [30, -30]},
        {"kind": "place", "scale": [0.1, 0.2], "shift": [0, 2]},
        {"kind": "align", "undoes": "x"},
    ],
    ids=str,
)
def test_values_that_would_fail_later_are_refused_at_once(step: dict) -> None:
    with pytest.raises(ConfigError):
        build(Degradation, {"steps": {"x": step}})


@pytest.mark.parametrize("modes", [[], ["area"]])
def test_a_face_is_not_cut_out_by_areas(modes: list[str]) -> None:
    steps = {
        "a": {"kind": "place", "scale": [0.1, 0.2]},
        "b": {"kind": "align", "undoes": "a", "modes": modes},
    }
    with pytest.raises(ConfigError, match=r"steps\.b"):
        build(Degradation, {"steps": steps})


def test_unrounded_results_lie_in_range() -> None:
    for seed in range(30):
        out = apply(torch.rand(1, 3, 32, 32), draw(degradation_preset(), seed))
        assert float(out.min()) >= 0
        assert float(out.max()) <= 1
