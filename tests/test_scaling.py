"""docs/scaling.md runs as it is written: the job script as an array, and the example for Ray."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
JOB = ROOT / "docs" / "slurm" / "upscale.sbatch"
PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")


def job(tmp_path: Path, weights: Path, source: Path, **variables: str) -> set[str]:
    """Run the job script with a `facesr` on the path. Return the names of all results."""
    run, commands, results = tmp_path / "run", tmp_path / "bin", tmp_path / "out"
    if not commands.exists():
        commands.mkdir()
        run.mkdir()
        (run / "best").symlink_to(weights)
        facesr = commands / "facesr"
        facesr.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m facesr "$@"\n')
        facesr.chmod(0o755)
    environment = os.environ | variables | {"PATH": f"{commands}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", JOB, run, source, results], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return {path.name for path in results.iterdir()}


@pytest.mark.skipif(os.name == "nt", reason="runs a shell script")
def test_the_job_script_takes_everything_alone_and_a_share_in_an_array(
    tiny_folder: Path, faces: Path, tmp_path: Path
) -> None:
    (tmp_path / "alone").mkdir()
    assert job(tmp_path / "alone", tiny_folder, faces) == {"0.png", "1.png", "2.png"}
    array = {"MIN": "0", "MAX": "1", "STEP": "1", "COUNT": "2"}
    variables = {f"SLURM_ARRAY_TASK_{name}": value for name, value in array.items()}
    first = job(tmp_path, tiny_folder, faces, SLURM_ARRAY_TASK_ID="0", **variables)
    assert first == {"0.png", "2.png"}
    both = job(tmp_path, tiny_folder, faces, SLURM_ARRAY_TASK_ID="1", **variables)
    assert both == {"0.png", "1.png", "2.png"}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray, run `pip install 'ray[data]'`")
def test_the_example_for_ray_enlarges_a_folder_and_names_a_broken_image(faces: Path, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "enlarge.py").write_text(code)
    faces.rename(tmp_path / "photos")
    (tmp_path / "photos" / "broken.png").write_bytes(b"no image")
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "enlarge.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"broken\.png: .+\n1 images failed", done.stdout)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"0.png", "1.png", "2.png"}
    with Image.open(tmp_path / "out" / "0.png") as result:
        assert result.size == (64, 48)
