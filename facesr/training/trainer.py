"""One optimiser step, and everything that must be kept between two steps."""

import copy
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from facesr.config.train import TrainConfig
from facesr.data.batches import Batch
from facesr.device import DTYPES
from facesr.errors import ConfigError
from facesr.models.base import SRNetwork
from facesr.training.graph import GraphedStep
from facesr.training.objective import Objective
from facesr.training.optimisers import OPTIMISERS, cosine_with_restarts
from facesr.transfer import send_to_device

TrainState = dict[str, Any]

_BY_DEVICE = ("fused", "capturable")


class Trainer:
    """The network, its running average, the optimiser, and the losses since the last report."""

    def __init__(self, network: SRNetwork, config: TrainConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        self.network = network.to(device).train()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # With averaged weights, for validation and for keeping.
        self.ema_network = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.objective = Objective(config.loss, config.discriminator, device, weights=config.metric_weights)
        self.step = 0  # steps done
        self._loss_sums = torch.zeros(len(self.objective.names), device=device)
        self._loss_count = 0
        self._parameters: list[Tensor] = list(self.network.parameters())
        self._averages: list[Tensor] = list(self.ema_network.parameters())
        optim = config.optim
        self._optimizers = OPTIMISERS[optim.method](self._parameters, optim)
        self._dtype = DTYPES["fp32" if config.dtype == "auto" else config.dtype]
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._dtype is torch.float16)
        self._module: nn.Module = self.network
        if dist.is_initialized():
            # Buffers are constants, and those of EDSR could not be sent in this layout. They are named one by
            # one, since the argument that leaves all of them out has another name from PyTorch 2.13 on.
            constants = [name for name, _ in self.network.named_buffers()]
            leave_out = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model
            leave_out(self.network, constants)  # type: ignore[no-untyped-call]
            self._module = DistributedDataParallel(self.network)
        self._forward = torch.compile(self._module) if config.compile else self._module
        # Of the step that comes next. On CUDA they are tensors, which a graph reads at each replay.
        self._rate: float | Tensor = torch.zeros((), device=device) if device.type == "cuda" else 0.0
        self._ema_weight: float | Tensor = torch.zeros((), device=device) if device.type == "cuda" else 0.0
        graphed = can_be_graphed(config, device, several=dist.is_initialized())
        self._run = GraphedStep(self._move) if graphed else self._move

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step."""
        optim = self.config.optim
        return cosine_with_restarts(
            self.step + 1,
            base=optim.learning_rate,
            floor=optim.learning_rate_floor,
            periods=optim.periods or (self.config.iterations,),
            warmup=optim.warmup,
        )

    @property
    def _ema_decay(self) -> float:
        """Decay of the running average in the next step. With warm-up, the initial weights fade quickly."""
        warm = (1 + self.step) / (10 + self.step) if self.config.optim.ema_warmup else 1.0
        return min(self.config.optim.ema_decay, warm)

    def train_step(self, batch: Batch) -> Tensor:
        """Take one step. Return the losses without weights, as in `objective.names`. Does not synchronise."""
        self._rate = _stored(self._rate, self.learning_rate)
        self._ema_weight = _stored(self._ema_weight, 1 - self._ema_decay)
        losses = self._run(self._here(batch.lq), self._here(batch.hq))
        self.step += 1
        self._loss_count += 1
        return losses

    def _move(self, lq_pixels: Tensor, hq_pixels: Tensor) -> Tensor:
        optim = self.config.optim
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._rate
            optimizer.zero_grad(set_to_none=True)
        parts = zip(lq_pixels.chunk(optim.accumulate), hq_pixels.chunk(optim.accumulate), strict=True)
        losses = torch.zeros_like(self._loss_sums)
        for index, (lq, hq) in enumerate(parts):
            with self._no_sync(last=index == optim.accumulate - 1):
                values, total = self._compare(lq, hq)
                self._scaler.scale(total / optim.accumulate).backward()  # type: ignore[no-untyped-call]
            losses += torch.stack([value.detach() for value in values.values()]) / optim.accumulate
        usable = True
        if optim.clip_norm:
            for optimizer in self._optimizers:
                self._scaler.unscale_(optimizer)
            norm = nn.utils.clip_grad_norm_(self._parameters, optim.clip_norm)
            # Through the norm an overflow of fp16 would reach the optimiser that the scaler lets continue.
            usable = not self._scaler.is_enabled() or bool(norm.isfinite())
        for optimizer in self._optimizers if usable else []:
            self._scaler.step(optimizer)
        self._scaler.update()
        with torch.no_grad():
            for average, parameter in zip(self._averages, self._parameters, strict=True):
                average.lerp_(parameter, self._ema_weight)
        self._loss_sums += losses
        return losses

    def _compare(self, lq: Tensor, hq: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        # Interleaved bytes seen as (B, 3, h, w) are already in the channels-last layout.
        images, target = (pixels.permute(0, 3, 1, 2).float().div_(255) for pixels in (lq, hq))
        half = self._dtype is not torch.float32
        # Each weight is used once, so a cache of those in half precision would only hold up a graph.
        autocast = partial(torch.autocast, self.device.type, self._dtype, cache_enabled=False)
        with autocast() if half else nullcontext():
            prediction = self._forward(images)
        return self.objective(prediction, target, step=self.step)

    def _here(self, pixels: Tensor) -> Tensor:
        return send_to_device(pixels, self.device) if pixels.device.type == "cpu" else pixels

    def _no_sync(self, *, last: bool) -> AbstractContextManager[Any]:
        if isinstance(self._module, DistributedDataParallel) and not last:
            return self._module.no_sync()
        return nullcontext()

    def take_mean_losses(self) -> dict[str, float]:
        """Return the mean of each loss since the last call, over all processes. Waits for the device."""
        means = self._over_processes(self._loss_sums / self._loss_count)
        self._loss_sums.zero_()
        self._loss_count = 0
        return dict(zip(self.objective.names, means.tolist(), strict=True))

    def _over_processes(self, values: Tensor) -> Tensor:
        if dist.is_initialized():
            dist.all_reduce(values)
            values /= dist.get_world_size()
        return values

    def state(self) -> TrainState:
        """Return everything that `load_state` needs for a bit-exact resume."""
        loss_sums = self._over_processes(self._loss_sums.clone())
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "ema": self.ema_network.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "scaler": self._scaler.state_dict(),
            "objective": self.objective.state(),
            "loss_sums": dict(zip(self.objective.names, loss_sums.tolist(), strict=True)),
            "loss_count": self._loss_count,
            "generator": torch.get_rng_state(),
            "cuda_generator": torch.cuda.get_rng_state() if self.device.type == "cuda" else None,
        }

    def is_finite(self) -> bool:
        """Return whether all weights are finite numbers. Waits for the device."""
        return all(bool(torch.isfinite(parameter).all()) for parameter in self._parameters)

    def load_state(self, state: TrainState) -> None:
        """Restore what `state` returned, if that run used the same optimiser."""
        if len(state["optimizers"]) != len(self._optimizers):
            raise ConfigError("the run uses another `optim.method`", hint="leave `optim.method` out")
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.ema_network.load_state_dict(state["ema"])
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            # How a step is computed belongs to the device, not to the run.
            own = {name: value for name, value in optimizer.param_groups[0].items() if name in _BY_DEVICE}
            groups = [{**group, **own} for group in saved["param_groups"]]
            optimizer.load_state_dict({**saved, "param_groups": groups})
        self._scaler.load_state_dict(state["scaler"])
        if "objective" in state:  # not in those of earlier versions
            self.objective.load_state(state["objective"])
        names = self.objective.names
        # An earlier version knew one loss, and did not name it.
        loss_sums = {names[0]: state["loss_sum"]} if "loss_sum" in state else state["loss_sums"]
        if loss_sums.keys() == set(names):  # else the losses have changed, and their sums begin again
            self._loss_sums.copy_(torch.tensor([float(loss_sums[name]) for name in names]))
            self._loss_count = state["loss_count"]
        torch.set_rng_state(state["generator"])
        if self.device.type == "cuda" and state["cuda_generator"] is not None:
            torch.cuda.set_rng_state(state["cuda_generator"])


def can_be_graphed(config: TrainConfig, device: torch.device, *, several: bool) -> bool:
    """Return whether a step can be one CUDA graph: it never synchronises, and all of it can be captured."""
    # The host draws the parts that losses see and chooses when they begin. A discriminator learns by itself.
    counted = {name: one for name, one in config.loss.items() if one.counts}
    moving = any(one.share or one.start or one.part_px for one in counted.values())
    still = not moving and "gan" not in counted
    whole = not several and config.optim.accumulate == 1 and not config.compile and config.dtype != "fp16"
    return config.graph and device.type == "cuda" and whole and still


def _stored(place: float | Tensor, value: float) -> float | Tensor:
    return place.fill_(value) if isinstance(place, Tensor) else value
