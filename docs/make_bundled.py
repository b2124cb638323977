"""Make a bundled weight folder from a run: `python docs/make_bundled.py RUN CARD.toml [STAGE]`.

The card's file holds `name`, `license`, `summary`, `data`, `degradation`, `training` and `limits`, and under
`[sets]` a title for each LQ folder of the validation. That of a sharp sibling may set a default `sharpness`.
The weights are stored in fp16, and scored as they are then run. A run that went on from the bundled weights
(`--init`) is the next stage. The records of those before stay.
"""

import json
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import tomli_w
import torch

from facesr.config.evaluate import EvalConfig
from facesr.config.model import ModelConfig, Score
from facesr.reports.scores import BICUBIC
from facesr.weights.read import read_state
from facesr.weights.save import save_folder
from facesr.workflows.evaluate import evaluate

BUNDLED = Path(__file__).parents[1] / "facesr" / "weights" / "bundled"
RUNS = Path(__file__).parent / "runs"
KEPT_LINES = 60
FIELDS = ("psnr", "bicubic_psnr", "gain_low", "gain_high")


def main(run: Path, card: Path, stage: int = 1) -> None:
    """Write the folder, and the configuration and the thinned log of the stage into `docs/runs`."""
    texts = tomllib.loads(card.read_text(encoding="utf-8"))
    titles = texts.pop("sets")
    config = tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))
    lines = read_lines(run / "metrics.jsonl")
    found = json.loads((run / "best" / "config.json").read_text(encoding="utf-8"))
    target, records = BUNDLED / texts["name"], RUNS / texts["name"]
    records.mkdir(parents=True, exist_ok=True)
    earlier = [read_lines(records / f"metrics-{number}.jsonl") for number in range(1, stage)]
    model = ModelConfig(
        **texts,
        base=found.get("base", ""),
        base_sha256=found.get("base_sha256", ""),
        arch=found["arch"],
        args=found["args"],
        iterations=sum(best_step(log) for log in [*earlier, lines]),
        batch=config["batch"],
        patch_px=found["patch_px"],
    )
    state = read_state(run / "best" / "model.safetensors")
    with tempfile.TemporaryDirectory() as scratch:
        save_folder(Path(scratch), state, model, dtype=torch.float16)
        scores = tuple(
            score(scratch, titles[Path(lq).name], Path(config["data"]["val_hq"]), Path(lq))
            for lq in config["data"]["val_lq"]
        )
    save_folder(target, state, ModelConfig(**{**vars(model), "scores": scores}), dtype=torch.float16)
    for path in records.glob(f"training-{stage}*.toml"):  # of the last time
        path.unlink()
    for path in run.glob("config*.toml"):  # with those of earlier steps, where the run went on with others
        name = path.name.replace("config", f"training-{stage}")
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
        if path.name != "config.toml" and tree["data"].get("degradations") == config["data"].get(
            "degradations"
        ):
            tree["data"].pop("degradations", None)  # several hundred lines, which that of the stage has
        tree = short_paths(tree)
        (records / name).write_text(tomli_w.dumps(tree), encoding="utf-8")
    reports = [line for line in lines if "loss" in line]
    kept = {id(line) for line in reports[:: max(1, len(reports) // KEPT_LINES)]}
    thinned = [line for line in lines if "validation" in line or id(line) in kept]
    (records / f"metrics-{stage}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in thinned))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def best_step(lines: list[dict[str, Any]]) -> int:
    """Return the step whose weights a run kept: the best, or a checkpoint that the next stage began with."""
    if "checkpoint" in lines[-1]:
        return int(lines[-1]["step"])
    return int(next(line["best"]["step"] for line in reversed(lines) if "best" in line))


def score(model: str, title: str, hq: Path, lq: Path) -> Score:
    """Score the weights on one set of pairs, beside bicubic."""
    result = evaluate(EvalConfig(hq=hq, lq=lq, model=(model,), metric=("psnr",)))
    psnr, bicubic = (result.summaries[name]["psnr"].mean for name in (result.subject, BICUBIC))
    gain = next(one.difference for one in result.differences if one.second == BICUBIC)
    assert None not in (psnr, bicubic, gain.low, gain.high)
    rounded = [round(float(value), 4) for value in (psnr, bicubic, gain.low, gain.high)]  # type: ignore[arg-type]
    return Score(dataset=title, images=len(result.images), **dict(zip(FIELDS, rounded, strict=True)))


def short_paths(tree: Any) -> Any:
    """Keep the last two parts of every path in a configuration."""
    if isinstance(tree, dict):
        return {key: short_paths(value) for key, value in tree.items() if key != "out"}
    if isinstance(tree, list):
        return [short_paths(value) for value in tree]
    if isinstance(tree, str) and "/" in tree:
        return "/".join(Path(tree).parts[-2:])
    return tree


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
