"""One command bundles a sharp sibling: its base then has a sharpness."""

import importlib.util
import json
import tomllib
from pathlib import Path

import pytest
import tomli_w
from PIL import Image

from facesr.config.evaluate import EvalConfig
from facesr.weights import find
from facesr.workflows.evaluate import evaluate
from tests.conftest import noise, save_pair

SCRIPT = Path(__file__).parents[2] / "docs" / "make_bundled.py"


def test_a_bundled_sibling_is_found_from_its_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("make_bundled", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "BUNDLED", tmp_path / "bundled")
    monkeypatch.setattr(script, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(find, "_BUNDLED_DIR", tmp_path / "bundled")
    monkeypatch.setattr(find, "BUNDLED", ("faceunet",))

    base, trained = save_pair(tmp_path / "bundled")
    run = tmp_path / "run"
    run.mkdir()
    trained.rename(run / "best")
    for folder, side in (("lq", 16), ("hq", 64)):
        (run / folder).mkdir()
        for index in range(2):
            Image.fromarray(noise(side, side, seed=index)).save(run / folder / f"{index}.png")
    data = {
        "val_hq": str(run / "hq"),
        "val_lq": [str(run / "lq")],
        "degradations": {"default": {"steps": {}}},
    }
    other = {**data, "degradations": {"mild": {"steps": {}}}}
    for part, found in (("", data), ("-to-3", data), ("-to-5", other)):
        (run / f"config{part}.toml").write_text(tomli_w.dumps({"batch": 4, "data": found}))
    (run / "metrics.jsonl").write_text(json.dumps({"step": 9, "best": {"step": 7}}) + "\n")
    texts = ("license", "summary", "data", "degradation", "training", "limits")
    sharp = {"name": "faceunet-sharp", "sharpness": 0.5, "sets": {"lq": "some faces"}}
    (tmp_path / "card.toml").write_text(tomli_w.dumps({**dict.fromkeys(texts, "words"), **sharp}))
    assert find.default_sharpness(find.find_weights("faceunet")) is None

    script.main(run, tmp_path / "card.toml")

    monkeypatch.setattr(find, "BUNDLED", ("faceunet", "faceunet-sharp"))
    assert find.default_sharpness(find.find_weights("faceunet")) == 0
    half = find.find_model("faceunet-sharp")
    assert half == find.find_model("faceunet", sharpness=0.5)
    assert half.all_tensors == [path / "model.safetensors" for path in (base, trained)]
    card = (trained / "README.md").read_text(encoding="utf-8")
    assert "| Sharpened from | faceunet, sha256 `" in card
    assert "| Sharpness | 0.5 by default |" in card
    result = evaluate(EvalConfig(hq=run / "hq", lq=run / "lq", model=("faceunet-sharp",)))
    psnr = result.summaries["faceunet-sharp=0.5"]["psnr"].mean
    assert half.config is not None
    assert half.config.scores[0].psnr == pytest.approx(psnr, abs=1e-3)
    # Those of an earlier part are kept where they differ from the stage's.
    kept = {
        path.stem: tomllib.loads(path.read_text(encoding="utf-8"))["data"].get("degradations")
        for path in (tmp_path / "runs" / "faceunet-sharp").glob("*.toml")
    }
    assert kept == {
        "training-1": data["degradations"],
        "training-1-to-3": None,
        "training-1-to-5": other["degradations"],
    }
