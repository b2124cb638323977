"""What cannot be trained on is refused before anything starts, and named."""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facesr.config.data import DataConfig
from facesr.data.folders import check_scale, list_training, list_validation
from facesr.data.pairs import Matching, PairSet, list_hq, list_pairs, match_pairs
from facesr.data.reading import read_pair
from facesr.errors import ConfigError
from facesr.files.listing import Source
from facesr.images.read import read_image
from tests.conftest import noise


def save(path: Path, height: int, width: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(height, width)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        save(tmp_path / "hq" / f"{name}.png", 32, 32)
        save(tmp_path / "lq" / f"{name}.png", 8, 8)
    return tmp_path


def config(root: Path, **options: object) -> DataConfig:
    base = {"train_hq": (root / "hq",), "val_hq": root / "hq", "val_lq": (root / "lq",)}
    return DataConfig(**{**base, **options}).resolved()


def refused(call: object, *parts: str) -> None:
    with pytest.raises(ConfigError) as caught:
        call()  # type: ignore[operator]
    text = f"{caught.value} {caught.value.hint}"
    for part in parts:
        assert part in text, text


def test_pictures_and_pairs_are_listed_in_order(root: Path) -> None:
    (folder,) = list_training(config(root, train_lq=(root / "lq",), train_share=(2.0,)))
    assert [path.name for path in folder.hq] == [path.name for path in folder.lq] == ["a.png", "b.png"]
    assert folder.share == 2
    (pairs,) = list_validation(config(root))
    assert (pairs.name, len(pairs.lq)) == ("lq", 2)


def test_missing_folders_say_how_to_make_them(root: Path) -> None:
    missing = root / "none"
    refused(
        lambda: list_training(config(root, train_hq=(missing,))),
        f"no folder {missing}",
        "--train-hq",
    )
    refused(lambda: list_validation(config(root, val_hq=missing)), "--val-hq", "validate_every=0")
    refused(
        lambda: list_validation(config(root, val_lq=(missing,))),
        f"facesr degrade {root / 'hq'} {missing}",
    )
    refused(
        lambda: list_training(config(root, train_lq=(missing,))),
        f"facesr degrade {root / 'hq'} {missing}",
    )
    (root / "empty").mkdir()
    refused(
        lambda: list_training(config(root, train_hq=(root / "empty",))),
        f"training images: no images in {root / 'empty'}",
        ".png",
    )


def test_pictures_in_other_formats_are_told_of(root: Path) -> None:
    (root / "hq" / "c.jxl").write_bytes(b"")
    shutil.copytree(root / "lq", root / "lq_2")
    told: list[str] = []
    list_training(config(root), warn=told.append)
    list_validation(config(root, val_lq=(root / "lq", root / "lq_2")), warn=told.append)
    assert len(told) == 2
    assert all("c.jxl" in message for message in told)


def test_a_folder_that_cannot_be_listed_is_not_called_empty(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", refuse)
    refused(lambda: list_training(config(root)), "training images: cannot list", "permissions")


def test_offenders_are_listed(root: Path) -> None:
    save(root / "hq" / "small.png", 12, 40)
    (root / "hq" / "text.png").write_text("no")
    refused(
        lambda: list_training(config(root, crop_px=16)),
        "small.png: 40x12 is smaller than `--crop 16`",
        "or use a smaller `--crop`",
        "text.png: not an image in a known format",
    )
    refused(lambda: list_training(config(root)), "must all be of one size, or need `--crop`")


def test_of_many_sizes_three_are_shown_and_the_command_that_makes_one(tmp_path: Path) -> None:
    for index in range(15):
        save(tmp_path / "hq" / f"{index:02}.png", 20 + index, 20)
    refused(
        lambda: list_training(config(tmp_path)),
        "00.png is 20x20; ",
        "02.png is 20x22; and 12 more",
        f"`facesr degrade {tmp_path / 'hq'} lq -r --hq-out hq --size 512`",
    )
    with pytest.raises(ConfigError) as caught:
        list_training(config(tmp_path))
    assert "03.png" not in caught.value.message
    assert "divisible" not in caught.value.message  # which --crop or the command see to


def test_whole_pictures_must_divide_by_the_scale(tmp_path: Path) -> None:
    save(tmp_path / "hq" / "a.png", 30, 32)
    whole = config(tmp_path)
    refused(lambda: check_scale(whole, list_training(whole), [], scale=4), "32x30 is not divisible by 4")
    check_scale(whole, list_training(whole), [], scale=2)
    check_scale(replace(whole, crop_to_scale=True), list_training(whole), [], scale=4)


def test_pairs_that_do_not_fit_are_listed(root: Path) -> None:
    save(root / "hq" / "lonely.png", 32, 32)
    refused(lambda: list_validation(config(root)), "lonely.png has no matching image")
    (root / "hq" / "lonely.png").unlink()
    save(root / "lq" / "a.png", 9, 8)
    expected = "a.png: 8x9, but its HQ image is 32x32, not 4 times"
    refused(lambda: list_validation(config(root)), expected)
    refused(lambda: list_training(config(root, train_lq=(root / "lq",))), expected)


def test_crops_must_divide_by_the_scale(tmp_path: Path) -> None:
    save(tmp_path / "hq" / "a.png", 32, 32)
    crops = config(tmp_path, crop_px=18)
    found = list_training(crops)
    refused(lambda: check_scale(crops, found, [], scale=4), "`--crop 18` is not a multiple of 4")
    check_scale(crops, found, [], scale=3)


def test_pairs_know_their_scale_and_a_network_of_another_is_refused(root: Path) -> None:
    one = config(root, train_lq=(root / "lq",))
    folders, sets = list_training(one), list_validation(one)
    assert {folders[0].scale, sets[0].scale} == {4}
    check_scale(one, folders, sets, scale=4)
    refused(lambda: check_scale(one, folders, [], scale=2), "lq is 4 times smaller than HQ, not 2", "--scale")
    refused(lambda: check_scale(one, [], sets, scale=2), "lq is 4 times smaller than HQ, not 2", "--scale")


def sources(folder: str, names: Iterable[str], suffix: str) -> list[Source]:
    return [Source(Path(folder, name + suffix), Path(name + suffix)) for name in names]


PATHS = st.lists(st.sampled_from("ab"), max_size=2).flatmap(
    lambda folders: st.sampled_from(["1", "2", "3.x", "3", "_out"]).map(
        lambda stem: "/".join([*folders, stem])
    )
)


@given(names=st.sets(PATHS, min_size=1), random=st.randoms(use_true_random=False))
def test_the_same_paths_on_both_sides_are_pairs(names: set[str], random: Random) -> None:
    shuffled = random.sample(sorted(names), len(names))
    pairs = match_pairs(sources("lq", shuffled, "_out.jpg"), sources("hq", names, ".png"), Matching("_out"))
    expected = {(Path("lq", name + "_out.jpg"), Path("hq", name + ".png")) for name in names}
    assert set(pairs.values()) == expected
    assert list(pairs) == sorted(pairs)
    stems = [Path(name + ".png").stem for name in names]
    assert set(pairs) == (set(stems) if len(set(stems)) == len(stems) else names)


@given(names=st.sets(PATHS, min_size=1), random=st.randoms(use_true_random=False))
def test_names_that_occur_once_are_pairs_wherever_they_lie(names: set[str], random: Random) -> None:
    by_stem = {Path(name + ".png").stem: name for name in names}
    moved = {stem: f"{random.choice('xy')}/{stem}" for stem in by_stem}
    pairs = match_pairs(
        sources("lq", moved.values(), ".png"), sources("hq", by_stem.values(), ".png"), Matching()
    )
    assert pairs == {
        stem: (Path("lq", moved[stem] + ".png"), Path("hq", name + ".png")) for stem, name in by_stem.items()
    }


@given(names=st.sets(PATHS, min_size=2), side=st.booleans(), random=st.randoms(use_true_random=False))
def test_a_missing_partner_is_named(names: set[str], side: bool, random: Random) -> None:
    lost = random.choice(sorted(names))
    lq, hq = (
        sources(folder, names - {lost} if folder == gone else names, ".png")
        for gone in [("lq", "hq")[side]]
        for folder in ("lq", "hq")
    )
    refused(lambda: match_pairs(lq, hq, Matching()), f"{('hq', 'lq')[side]}/{lost}.png has no matching")


def test_names_that_are_ambiguous_are_refused() -> None:
    twice = sources("lq", ["x/a", "y/a"], ".png")
    hint = "Names that occur twice need the same sub-folders on both sides"
    refused(
        lambda: match_pairs(sources("lq", ["a"], ".jpg"), twice, Matching()), "y/a.png has no matching", hint
    )
    refused(
        lambda: match_pairs(twice, sources("hq", ["x/a", "z/a"], ".png"), Matching()), "z/a.png has no", hint
    )
    same = [*sources("lq", ["x/a"], ".png"), *sources("lq", ["x/a"], ".jpg")]
    refused(lambda: match_pairs(same, twice, Matching()), "lq/x/a.png and lq/x/a.jpg have the same name")
    bare = sources("lq", ["x/_out", "y/_out"], ".png")
    refused(lambda: match_pairs(bare, twice, Matching("_out")), "lq/x/_out.png has no matching")


SUFFIXES = st.text("x4_-m", min_size=1, max_size=3)


@given(names=st.sets(st.text("0123", min_size=4, max_size=4), min_size=1), suffix=SUFFIXES)
def test_a_common_suffix_is_named_and_matches(names: set[str], suffix: str) -> None:
    lq, hq = sources("lq", names, f"{suffix}.png"), sources("hq", names, ".png")
    with pytest.raises(ConfigError) as caught:
        match_pairs(lq, hq, Matching())
    assert caught.value.hint == f"`--lq-suffix {suffix}` matches them"
    assert match_pairs(lq, hq, Matching(suffix)).keys() == names


def test_a_suffix_of_most_names_is_named_with_how_many() -> None:
    lq, hq = sources("lq", ["1x4", "2x4", "3"], ".png"), sources("hq", "1234", ".png")
    refused(lambda: match_pairs(lq, hq, Matching()), "4.png has no matching", "x4` matches 2 of 3")
    refused(lambda: match_pairs(lq, hq, Matching("x4")), "4.png has no matching", "fix or remove")
    refused(lambda: match_pairs(lq[1:], hq, Matching()), "4.png has no matching", "fix or remove")


def test_training_and_validation_take_a_suffix_and_name_its_key(root: Path) -> None:
    for path in (root / "lq").iterdir():
        path.rename(path.with_stem(path.stem + "4"))
    for call in (lambda **o: list_training(config(root, train_lq=(root / "lq",), **o)),
                 lambda **o: list_validation(config(root, **o))):  # fmt: skip
        refused(call, "a4.png has no matching HQ image", "`--set data.lq_suffix='\"4\"'` matches them")
        (found,) = call(lq_suffix="4")
        assert [path.stem for path in found.lq] == ["a4", "b4"]


@given(
    scale=st.sampled_from([2, 3, 4]),
    sizes=st.lists(st.tuples(st.integers(5, 9), st.integers(5, 9)), min_size=1, max_size=3),
    rest=st.tuples(st.integers(-1, 4), st.integers(-1, 4)),
)
@settings(max_examples=30)
def test_hq_is_cropped_by_less_than_the_scale(
    scale: int, sizes: list[tuple[int, int]], rest: tuple[int, int]
) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        for index, (height, width) in enumerate(sizes):
            save(root / "lq" / f"{index}.png", height, width)
            save(root / "hq" / f"{index}.png", scale * height + rest[0], scale * width + rest[1])
        hq = list_hq(root / "hq", hint="")

        def call(*, crop: bool) -> PairSet:
            return list_pairs(root / "lq", hq, hint="", matching=Matching(crop=crop), scale=scale)

        if any(side < 0 or side >= scale for side in rest):
            refused(lambda: call(crop=True), f"not {scale} times", "fix or remove")
            return
        pairs = call(crop=True)
        for index in range(len(sizes)):
            lq_pixels, hq_pixels = read_pair(pairs, index)
            height, width = (scale * side for side in lq_pixels.shape[:2])
            assert np.array_equal(hq_pixels, read_image(pairs.hq[index]).rgb8[:height, :width])
            assert hq_pixels.shape == (height, width, 3)
        if any(rest):
            refused(lambda: call(crop=False), f"`--crop-to-scale` crops the HQ images to {scale} times")
        else:
            assert call(crop=False) == replace(pairs, crop=False)


def test_the_scale_of_odd_pairs_is_found(tmp_path: Path) -> None:
    for index, (height, width) in enumerate([(33, 35), (34, 32), (35, 33)]):
        save(tmp_path / "hq" / f"{index}.png", height, width)
        save(tmp_path / "lq" / f"{index}.png", 8, 8)
    refused(lambda: list_validation(config(tmp_path)), "not 4 times", "`--set data.crop_to_scale=true` crops")
    (pairs,) = list_validation(config(tmp_path, crop_to_scale=True))
    assert pairs.scale == 4
    (folder,) = list_training(config(tmp_path, train_lq=(tmp_path / "lq",), crop_to_scale=True))
    assert (folder.scale, folder.size) == (4, (32, 32))


def test_nested_folders_are_trained_and_validated_on(tmp_path: Path) -> None:
    for name in ("id1/001", "id2/001"):
        save(tmp_path / "hq" / f"{name}.jpg", 32, 32)
        save(tmp_path / "lq" / f"{name}.png", 8, 8)
    (folder,) = list_training(config(tmp_path, train_lq=(tmp_path / "lq",)))
    assert [path.parent.name for path in folder.hq] == [path.parent.name for path in folder.lq]
    (pairs,) = list_validation(config(tmp_path))
    assert pairs.names == ("id1/001", "id2/001")


def test_a_long_list_of_offenders_is_cut(tmp_path: Path) -> None:
    for index in range(15):
        (tmp_path / "hq").mkdir(exist_ok=True)
        (tmp_path / "hq" / f"{index}.png").write_text("no")
    refused(lambda: list_training(config(tmp_path)), "; and 5 more")


def test_counts_of_options_must_agree() -> None:
    two = (Path("a"), Path("b"))
    refused(lambda: DataConfig(train_hq=two, train_share=(1.0,)), "2 --train-hq but 1 --train-share")
    refused(lambda: DataConfig(train_hq=two, train_lq=(Path("c"),)), "2 --train-hq but 1 --train-lq")


def test_degradations_come_by_name_file_and_share(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[degradation.steps.fit]\nkind = 'fit'\nto = 'lq'\n")
    data = DataConfig(degradation=("default=2", f"{path}=0.5", "clean")).resolved()
    assert data.degradation_shares == {"default": 2, str(path): 0.5, "clean": 1}
    assert list(data.degradations[str(path)].steps) == ["fit"]
    path.write_text("[degradation.steps.fit]\nto = 'lq'\n")
    with pytest.raises(ConfigError, match="step `fit` has no `kind`"):
        DataConfig(degradation=(str(path),)).resolved()
    for bad, part in (
        ("none", "no degradation `none`"),
        ("default=x", "cannot read"),
        ("default=0", "above 0"),
    ):
        refused(lambda bad=bad: DataConfig(degradation=(bad,)).resolved(), part)
    for content in ("a = 1\n", "degradation = 3\n"):
        path.write_text(content)
        refused(lambda: DataConfig(degradation=(str(path),)).resolved(), "has no [degradation] table")
