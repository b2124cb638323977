"""The training loop: step, log, validate and save, until the run is done or asked to stop."""

import math
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from facesr.config.train import TrainConfig
from facesr.data.batches import Batch
from facesr.device import is_out_of_memory
from facesr.errors import ConfigError, RunError
from facesr.events import Reporter
from facesr.models import resolve_args
from facesr.processes import Rank
from facesr.training.best import Best, choose_best, chosen_by, write_best
from facesr.training.bound import Bound
from facesr.training.collapse import CollapseWatch
from facesr.training.curves import EventWriter, draw_curve
from facesr.training.layout import BEST
from facesr.training.run_folder import RunFolder, explain_write_errors
from facesr.training.signals import Stopped, StopSignals
from facesr.training.trainer import Trainer
from facesr.training.validation import Table, Validator, mean_over_sets
from facesr.transfer import Arrival, send_to_host


@dataclass(eq=False)
class TrainingLoop:
    """Runs a trainer for its iterations and writes its run folder."""

    config: TrainConfig  # with all arguments of the network in `args`
    folder: RunFolder
    trainer: Trainer
    validator: Validator | None
    reporter: Reporter
    ranks: Rank
    data: str  # fingerprint of the training images
    patch_px: int  # longer side of a training input in LQ pixels
    best: Best = field(default_factory=dict)  # of the validations so far

    def __post_init__(self) -> None:
        self._is_first = self.ranks.rank == 0
        # Stop signals are agreed upon over the CPU, so that no process waits for its device. The first one
        # may validate for as long as it takes.
        self._control = (
            dist.new_group(backend="gloo", timeout=timedelta(days=1)) if self.ranks.world_size > 1 else None
        )
        self._pending: tuple[int, Arrival, Batch] | None = None
        self._reported = (0, time.perf_counter())
        self._facts: dict[str, str] = {}
        self._events: EventWriter | None = None
        self._validation_due = False
        self._collapse = CollapseWatch()

    def resume(self) -> None:
        """Load the folder's last checkpoint."""
        state = self.folder.load()
        try:
            args = dict(state["network_args"])
            arch = args.pop("arch")
            # The checkpoint may be older than some arguments of the constructor.
            known = {"arch": arch, **resolve_args(arch, args)}
            if different := {key: one for key, one in known.items() if self._network_args.get(key) != one}:
                found = ", ".join(f"`{key}` {one}" for key, one in different.items())
                raise ConfigError(
                    f"the network of {self.folder.path} has {found}, which `--resume` cannot change",
                    hint="leave out `--arch`, `--blocks`, `--scale` and `--set` of these",
                )
            self.best, self._validation_due = state["best"], state["validation_due"]
            self.trainer.load_state(state)
        except ConfigError:
            raise
        except Exception as error:  # parts that are missing or of another network
            raise self.folder.damaged(error) from error
        if state.get("data") != self.data:
            self.reporter.warn(
                "the training data changed since this run started, so the resumed run will differ from an"
                " uninterrupted one"
            )
        before = chosen_by(self.best)
        if self._is_first and self.best and before != self.config.best_by and not self.finished:
            self.reporter.warn(
                f"`best_by` was {before} and is {self.config.best_by} now, so the next validation"
                f" replaces `{BEST}`"
            )
        if self._is_first:
            self.folder.recover()
            self.folder.keep_config(self.config, step=self.trainer.step)
            self.folder.drop_metrics_after(self.trainer.step, validated=not self._validation_due)

    @property
    def finished(self) -> bool:
        """Whether all steps are done and validated."""
        return self.trainer.step >= self.config.iterations and not self._validation_due

    @property
    def _network_args(self) -> dict[str, Any]:
        return {"arch": self.config.arch, **self.config.args}

    def go(self, stream: Iterator[Batch], stop: StopSignals) -> None:
        """Train until the last iteration or a stop signal, then write the checkpoint.

        A stop signal also breaks off a validation, because the sender may not wait. The resumed run repeats
        it.
        """
        trainer, config = self.trainer, self.config
        if config.tensorboard and self._is_first:
            with explain_write_errors(self.folder.path):
                self._events = EventWriter(self.folder.path)
        self.reporter.begin(config.iterations, "steps", done=trainer.step)
        if self._validation_due:
            self._validate(stop)
        stopping = self._agree(stop)
        self._reported = (trainer.step, time.perf_counter())
        waited = 0.0
        known_failures: set[str] = set()
        speaker = self.reporter if self._is_first else Reporter()
        bound = Bound(speaker.warn, resident=config.data.resident == "yes")
        while trainer.step < config.iterations and not stopping:
            start = time.perf_counter()
            try:
                batch = next(stream)
            except RuntimeError as error:
                if is_out_of_memory(error) or "CUDA" in str(error):  # of images that lie on the device
                    raise
                if self._control is None and self._agree(stop):  # the same signal has ended the workers
                    self._check_pending()
                    self._save()
                    break
                raise RunError(
                    "a process that prepares images ended, perhaps killed for using too much memory",
                    hint="use fewer `data.workers` or a smaller `data.ring`, then `--resume`",
                ) from error
            waiting = time.perf_counter() - start
            waited += waiting
            for message in set(batch.failed) - known_failures:
                known_failures.add(message)
                self.reporter.warn(f"{message}. Another image is used instead")
            losses = send_to_host(trainer.train_step(batch))
            self._check_pending()
            self._pending = (trainer.step, losses, batch)
            bound.add(batch, seconds=time.perf_counter() - start, waited=waiting)
            self.reporter.advance()
            last = trainer.step == config.iterations
            stopping = self._agree(stop)
            if trainer.step % config.log_every == 0 or last:
                self._log(waited)
                waited = 0.0
            every = config.validate_every
            self._validation_due = bool(every) and (trainer.step % every == 0 or last)
            if trainer.step % config.save_every == 0 or last or stopping or self._validation_due:
                self._check_pending()
                self._save()
            if self._validation_due and not stopping:
                self._validate(stop)
                stopping = self._agree(stop)

    def _agree(self, stop: StopSignals) -> bool:
        """Return whether any process was asked to stop. All of them then stop after the same step."""
        number = torch.tensor(stop.number)
        if self._control is not None:
            dist.all_reduce(number, dist.ReduceOp.MAX, group=self._control)
        stop.agreed = int(number)
        return stop.agreed != 0

    def _check_pending(self) -> None:
        """Check the losses of the previous step, which the device has finished by now."""
        if self._pending is None:
            return
        step, values, batch = self._pending
        self._pending = None
        losses = dict(zip(self.trainer.objective.names, values.wait().tolist(), strict=True))
        for name, value in losses.items():
            if not math.isfinite(value):
                raise RunError(
                    f"the loss `{name}` at step {step} is {value}, with the images {', '.join(batch.names)}",
                    hint="lower `--lr` or check these images, then `--resume` from the last checkpoint",
                )
        self._collapse.see_step(losses)

    def _log(self, waited: float) -> None:
        learning_rate = self.trainer.learning_rate
        losses = self.trainer.take_mean_losses()
        loss = self.trainer.objective.total(losses)
        if not self._is_first:
            return
        step, since = self._reported
        elapsed = max(time.perf_counter() - since, 1e-9)
        self._reported = (self.trainer.step, time.perf_counter())
        rate = (self.trainer.step - step) / elapsed
        line = {"step": self.trainer.step, "loss": loss, "learning_rate": learning_rate}
        timing = {"samples_per_s": rate * self.config.batch, "waiting": waited / elapsed}
        several = losses if len(losses) > 1 else {}
        self.folder.log({**line, **({"losses": several} if several else {}), **timing})
        if self._events:
            self._events.write({**line, **{f"loss_{name}": value for name, value in several.items()}})
        self._facts |= {
            "loss": f"{loss:.4f}",
            **{name: f"{value:.4f}" for name, value in several.items()},
            "lr": f"{learning_rate:.1e}",
            "samples/s": f"{timing['samples_per_s']:.1f}",
        }
        self.reporter.show(self._facts)

    def _validate(self, stop: StopSignals) -> None:
        """Validate, unless a signal breaks it off, and save. The other processes wait."""
        with suppress(Stopped):
            if self.validator is not None:
                self._score(self.validator, stop)
            self._validation_due = False
        if self._control is not None:
            dist.barrier(group=self._control)
        self._save()
        self._reported = (self.trainer.step, time.perf_counter())  # validation is no training time

    def _score(self, validator: Validator, stop: StopSignals) -> None:
        """Score both sets of weights, keep the best, and write samples. `Stopped` comes before all of it."""
        scores = {
            name: validator.score(network, self.trainer.device, check=stop.check)
            for name, network in (("ema", self.trainer.ema_network), ("raw", self.trainer.network))
        }
        best = choose_best(scores, self.best, by=self.config.best_by, step=self.trainer.step)
        if best is not self.best:
            self.best = best
            network = self.trainer.ema_network if best["weights"] == "ema" else self.trainer.network
            write_best(self.folder, network, self.config, validator, best, scores, patch_px=self.patch_px)
        self._record_validation(validator, scores)
        if self.trainer.objective.adversary:
            self._collapse.see_validation(scores["ema"])

    def _record_validation(self, validator: Validator, scores: dict[str, Table]) -> None:
        validation = {**scores, "bicubic": validator.bicubic}
        self.folder.log({"step": self.trainer.step, "validation": validation, "best": self.best})
        if self._events:
            names = dict.fromkeys(("psnr", self.config.best_by))
            means = {f"{n}_{k}": mean_over_sets(table, n) for k, table in scores.items() for n in names}
            self._events.write({"step": self.trainer.step, **means})
        with explain_write_errors(self.folder.path):
            if self.config.sample_count:
                target = self.folder.path / "samples" / f"{self.trainer.step:07}.png"
                network, count = self.trainer.ema_network, self.config.sample_count
                validator.write_samples(network, self.trainer.device, target, count=count)
            draw_curve(self.folder)
        gain = self.best["psnr"] - mean_over_sets(validator.bicubic, "psnr")
        self._facts |= {
            "PSNR": f"{max(mean_over_sets(table, 'psnr') for table in scores.values()):.2f}",
            "best": f"{self.best['psnr']:.2f} ({gain:+.2f})",
        }
        self.reporter.show(self._facts)

    def _save(self) -> None:
        state = self.trainer.state()  # on every process, since they agree on the mean loss
        if not self.trainer.is_finite():
            raise RunError(
                f"the weights at step {self.trainer.step} are no longer finite numbers",
                hint="lower `--lr` or check these images, then `--resume` from the last checkpoint",
            )
        if self._is_first:
            extra = {"best": self.best, "validation_due": self._validation_due, "data": self.data}
            self.folder.save({**state, **extra, "network_args": self._network_args})
