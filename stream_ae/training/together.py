"""Several processes under `torchrun` as the ranks of one training, by gloo: networks are trained on the CPU."""

import io
import pickle
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from stream_ae.errors import ModelError, TransientError
from stream_ae.models.rows import Rows
from stream_ae.training.ranks import Work

# Between two exchanges lies a step, a validation or a checkpoint: a rank that needs longer hangs.
EXCHANGE_TIMEOUT = timedelta(minutes=5)
# Rank 0 collects, calibrates and compares meanwhile. One that dies closes its connections, which is seen at once.
ORDER_TIMEOUT = timedelta(hours=24)
# How rank 0 ended is in torchrun's store, which outlives it.
ENDED, ENDED_TIMEOUT = "stream_ae/ended", timedelta(seconds=10)


def started_by_torchrun() -> bool:
    """Whether this process is one of its."""
    return dist.is_torchelastic_launched()


class Together:
    """One of several processes, see `Ranks`. Arrays, settings and networks go from rank 0 to the others by pickle over
    torch's own connections: run torchrun in a network that you trust, as torch itself asks."""

    def __init__(self) -> None:
        """Wait for all of them. Raises TransientError if they do not come."""
        self.rank, self.size = -1, 0
        # Whether the others are at something, or half told: they do not listen for orders then.
        self._busy = False
        with self._heard():
            self._store, self.rank, self.size = next(rendezvous("env://"))
            dist.init_process_group(
                "gloo", store=self._store, rank=self.rank, world_size=self.size, timeout=EXCHANGE_TIMEOUT
            )
            orders = dist.new_group(backend="gloo", timeout=ORDER_TIMEOUT)
            assert isinstance(orders, dist.ProcessGroup)  # every rank is in it
            self._orders = orders

    def rows(self, count: int) -> Rows:
        return rows_of(self.rank, self.size, count)

    def total(self, values: Tensor) -> Tensor:
        summed = values.detach().clone(memory_format=torch.contiguous_format)
        with self._heard():
            dist.all_reduce(summed)
        return summed

    def gather(self, loss: Tensor, parameters: Iterable[nn.Parameter]) -> float:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        # One exchange for all of them: small ones cost as much as large ones.
        found = self.total(torch.cat([loss.detach().reshape(1), *(gradient.flatten() for gradient in gradients)]))
        parts = torch.split(found[1:], [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))
        return float(found[0])

    def agreed(self, asked: bool) -> bool:
        answer = torch.tensor([asked], dtype=torch.uint8)
        with self._heard():
            dist.broadcast(answer, 0)
        return bool(answer[0])

    @contextmanager
    def led(self, work: Work) -> Iterator[None]:
        self._busy = True
        self._send(work)
        try:
            yield
        except ModelError:
            # Training that diverges does so on every rank.
            self._busy = False
            raise
        self._busy = False

    def follow(self) -> int:
        """Take part in what rank 0 leads until it ends; its exit code.

        Raises TransientError if it is gone without one, or another rank is.
        """
        try:
            while not isinstance(order := self._received(), int):
                with suppress(ModelError):  # rank 0 has the same error, and says so
                    order.take_part(self)
            return order
        except TransientError:
            if (code := self._ended()) is None:
                raise
            return code

    def end(self, code: int) -> None:
        """Rank 0 ends with this exit code, and so do the others."""
        with suppress(RuntimeError):  # the store is away with its machine: the others see that by themselves
            self._store.set(ENDED, str(code))
        if not self._busy:
            with suppress(TransientError):  # a rank that is gone already need not be told
                self._send(code)

    def close(self) -> None:
        """Let go of the others; who still waits for this rank sees that it is gone when its process ends."""
        dist.destroy_process_group()

    def _ended(self) -> int | None:
        try:
            self._store.wait([ENDED], ENDED_TIMEOUT)
            return int(self._store.get(ENDED))
        except RuntimeError:
            return None

    def _send(self, order: Work | int) -> None:
        body, arrays = packed(order)
        lengths = torch.tensor([len(body), *(array.raw().nbytes for array in arrays)])
        with self._heard():
            self._broadcast(torch.tensor([len(lengths)]))
            self._broadcast(lengths)
            self._broadcast(torch.frombuffer(body, dtype=torch.uint8))
            for array in arrays:
                # A copy, as torch takes nothing that is read-only.
                self._broadcast(torch.frombuffer(bytearray(array.raw()), dtype=torch.uint8))

    def _received(self) -> Any:
        with self._heard():
            count = torch.zeros(1, dtype=torch.int64)
            self._broadcast(count)
            lengths = torch.zeros(int(count), dtype=torch.int64)
            self._broadcast(lengths)
            parts = [bytearray(length) for length in lengths.tolist()]
            for part in parts:
                self._broadcast(torch.frombuffer(part, dtype=torch.uint8))
        return pickle.loads(parts[0], buffers=parts[1:])

    def _broadcast(self, values: Tensor) -> None:
        """From rank 0, whenever it comes to it."""
        dist.broadcast(values, 0, self._orders)

    @contextmanager
    def _heard(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise TransientError(
                f"rank {self.rank} of {self.size} has lost another process of this training ({error}): look for the "
                "error of that one, and start the training again; it goes on from its last checkpoint"
            ) from error


def rows_of(rank: int, size: int, count: int) -> Rows:
    """What a rank sees of a batch: about as much as every other."""
    return Rows(count * rank // size, count * (rank + 1) // size, count)


def packed(order: object) -> tuple[bytearray, list[pickle.PickleBuffer]]:
    """An object as pickled bytes, and its arrays beside them, which are not copied; none of either is empty."""
    arrays: list[pickle.PickleBuffer] = []

    def stays(array: pickle.PickleBuffer) -> bool:
        if array.raw().nbytes:
            arrays.append(array)
        return not array.raw().nbytes

    file = io.BytesIO()
    pickle.Pickler(file, protocol=5, buffer_callback=stays).dump(order)
    return bytearray(file.getvalue()), arrays
