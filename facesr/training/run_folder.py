"""A run folder: its files, written so that nothing is lost whenever the run stops."""

import io
import json
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from facesr.config.build import dump
from facesr.config.train import TrainConfig
from facesr.errors import ConfigError, RunError
from facesr.files.atomic import write_atomic
from facesr.training.layout import BEST, CHECKPOINT, refuse_used
from facesr.version import __version__

RUN_CONFIG_NAME, ENV_NAME, METRICS_NAME = "config.toml", "env.json", "metrics.jsonl"

LOCK_NAME = ".lock"

_LOCK_WAIT_S = 5  # for the workers of a run that was killed, which hold it a moment longer


class RunFolder:
    """Reads and writes a run folder.

    `config.toml` and `env.json` describe the current run, `config-to-N.toml` what ran up to step N.
    `metrics.jsonl` gets a line at each report. `last/` has one file with everything that an exact resume
    needs. `best/` is a weight folder. Write errors raise a `RunError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, config: TrainConfig, *, device: str) -> None:
        """Start a run. It overwrites what a run without a checkpoint left, and rejects a used folder."""
        refuse_used(self.path)
        environment = {
            "facesr": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "device": device,
            "threads": torch.get_num_threads(),
            "command": sys.argv,
        }
        with explain_write_errors(self.path):
            for leftover in (".best-new", ".best-old"):
                shutil.rmtree(self.path / leftover, ignore_errors=True)
            (self.path / METRICS_NAME).unlink(missing_ok=True)
            self._write(RUN_CONFIG_NAME, _text(config))
            self._write(ENV_NAME, json.dumps(environment, indent=2) + "\n")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from training here. The system releases the lock however this process ends."""
        lock = FileLock(self.path / LOCK_NAME, timeout=_LOCK_WAIT_S)
        with explain_write_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                with suppress(NotImplementedError):  # not every disk has locks
                    lock.acquire()
            except Timeout:
                raise ConfigError(
                    f"another process is training in {self.path}",
                    hint="wait for that process, or choose another `--out`",
                ) from None
        try:
            yield
        finally:
            lock.release()

    def keep_config(self, config: TrainConfig, *, step: int) -> None:
        """Write a resumed run's configuration. The one that it replaces is kept as `config-to-STEP.toml`."""
        text = _text(config)
        with explain_write_errors(self.path):
            before = (self.path / RUN_CONFIG_NAME).read_text(encoding="utf-8")
            if text == before:
                return
            earlier = f"config-to-{step}.toml"
            if not (self.path / earlier).exists():  # else what was tried since has led nowhere
                self._write(earlier, before)
            self._write(RUN_CONFIG_NAME, text)

    def _write(self, name: str, text: str) -> None:
        try:
            content = text.encode()
        except UnicodeEncodeError as error:
            bad = text[max(0, error.start - 20) : error.end + 20]
            raise RunError(
                f"a path in the configuration is not valid text: {bad!r}", hint="rename it"
            ) from None
        write_atomic(self.path / name, lambda stream: stream.write(content))

    def save(self, state: dict[str, Any]) -> None:
        """Replace the last checkpoint. On any error the previous one stays."""
        target = self.path / CHECKPOINT
        content = io.BytesIO()  # torch.save to a full disk would not raise what a file does
        torch.save(state, content)
        with explain_write_errors(target):
            write_atomic(target, lambda stream: stream.write(content.getbuffer()), durable=True)

    def load(self) -> dict[str, Any]:
        """Read the last checkpoint.

        Raises:
            RunError: It is damaged.
        """
        path = self.path / CHECKPOINT
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            if not isinstance(state["step"], int):
                raise TypeError
        except Exception as error:  # torch.load raises many kinds
            raise self.damaged(error) from error
        return state

    def damaged(self, error: Exception) -> RunError:
        """Return the error for a checkpoint that cannot be resumed."""
        return RunError(
            f"{self.path / CHECKPOINT}: damaged checkpoint ({type(error).__name__})",
            hint="start again from its best weights with `--init`",
        )

    def drop_metrics_after(self, step: int, *, validated: bool) -> None:
        """Keep only complete lines of metrics up to a step, and its validation if `validated`."""
        path = self.path / METRICS_NAME
        if not path.exists():
            return
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                content = json.loads(line)
                counts = validated or "validation" not in content
                if content["step"] <= (step if counts else step - 1):
                    kept.append(line + "\n")
            except ValueError:
                break
        with explain_write_errors(path):
            self._write(METRICS_NAME, "".join(kept))

    def log(self, line: dict[str, Any]) -> None:
        """Append a line of metrics."""
        path = self.path / METRICS_NAME
        with explain_write_errors(path), path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def metrics(self) -> Iterator[dict[str, Any]]:
        """Yield all lines of metrics."""
        path = self.path / METRICS_NAME
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                yield json.loads(line)

    @contextmanager
    def replacing_best(self) -> Iterator[Path]:
        """Yield a new folder to fill. Afterwards it replaces `best/`."""
        new, old, best = (self.path / name for name in (".best-new", ".best-old", BEST))
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)
        with explain_write_errors(best):
            yield new
            if best.exists():
                best.rename(old)
            new.rename(best)
            shutil.rmtree(old, ignore_errors=True)

    def recover(self) -> None:
        """Restore `best/` if the process died while replacing it, and remove half-written files."""
        for leftover in self.path.rglob(".facesr-*.tmp"):
            leftover.unlink(missing_ok=True)  # only one process writes here, so nobody is writing it
        old, best = self.path / ".best-old", self.path / BEST
        if old.exists() and not best.exists():
            old.rename(best)


def _text(config: TrainConfig) -> str:
    # Without `out`, so that the file can start another run.
    return dump(replace(config, out=None))


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a folder without permission into one clear error."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror or error}",
            hint="free disk space or fix the permissions, then `--resume` from the last checkpoint, if any",
        ) from error
