"""The bottleneck of a run: reading images, degrading them, or the network."""

from collections.abc import Callable

from facesr.data.batches import Batch

_SKIPPED, _MEASURED = 5, 20  # steps: the first ones start workers, fill the ring and warm up
_WAITING_SHARE, _DEVICE_SHARE = 0.2, 0.5  # of the time, from which on the network is not what bounds

READING, DEGRADING, NETWORK = "reading and varying images", "degrading images", "the network"
_HINTS = {
    READING: ". Use smaller images, or raise `--set data.workers=N` up to the number of cores",
    DEGRADING: ". Raise `--set data.workers=N` up to the number of cores, or `--set data.reuse=N`",
    NETWORK: "",
}
# Where the device degrades, the processes only draw how.
_RESIDENT_HINTS = {DEGRADING: ". Raise `--set data.reuse=N`", NETWORK: ""}


class Bound:
    """Reports the bottleneck once, after a few steps."""

    def __init__(self, say: Callable[[str], None], *, resident: bool) -> None:
        self._say = say
        self._resident = resident
        self._steps = self._images = 0
        self._seconds = self._waited = self._reading = self._degrading = 0.0

    def add(self, batch: Batch, *, seconds: float, waited: float) -> None:
        """Record a step: its total time, and the time it waited for its batch."""
        self._steps += 1
        if not _SKIPPED < self._steps <= _SKIPPED + _MEASURED:
            return
        self._images += len(batch.names)
        self._seconds += seconds
        self._waited += waited
        self._reading += batch.seconds[0]
        self._degrading += batch.seconds[1]
        if self._steps == _SKIPPED + _MEASURED:
            found = self._find()
            hint = (_RESIDENT_HINTS if self._resident else _HINTS)[found]
            self._say(f"{self._images / self._seconds:.1f} images/s, bound by {found}{hint}")

    def _find(self) -> str:
        if self._resident:  # nothing waits, but the device does both
            return DEGRADING if self._degrading > _DEVICE_SHARE * self._seconds else NETWORK
        if self._waited < _WAITING_SHARE * self._seconds:
            return NETWORK
        return READING if self._reading > self._degrading else DEGRADING
