"""Several processes that train one model together, as ``torchrun`` starts them; or one process alone."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import DiffSegLungError, InputError

T = TypeVar("T")

_PATIENCE = datetime.timedelta(days=7)
"""How long processes wait for the first one while it prepares CT; a process that died is noticed at once."""

_LOST = re.compile(r"gloo|nccl|connection (closed|reset)|broken pipe|socket", re.IGNORECASE)


@dataclass(frozen=True)
class Ranks:
    """This process among those of a training.

    Attributes:
        rank: number of this process, 0..count-1; process 0 alone writes.
        count: number of processes.
        local_rank: number of this process on its machine: which GPU is its own.
        hosts: group for what is agreed on between the hosts; None for a process alone.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    hosts: dist.ProcessGroup | None = None

    @property
    def writes(self) -> bool:
        """Whether this process writes log, checkpoints, curve and bundle, and talks."""
        return self.rank == 0

    def share_of(self, batch: int) -> range:
        """Positions in the global batch that this process works on.

        Raises:
            InputError: the batch cannot be shared out evenly.
        """
        if batch % self.count:
            raise InputError(
                "bad-batch",
                f"A batch of {batch} patches cannot be shared out evenly among {self.count} processes.",
                f"Give --batch a multiple of {self.count}.",
            )
        size = batch // self.count
        return range(self.rank * size, (self.rank + 1) * size)

    def device(self, chosen: torch.device) -> torch.device:
        """The device of this process: with CUDA, a GPU of its own.

        Raises:
            InputError: the machine has fewer GPUs than processes.
        """
        if self.count == 1 or chosen.type != "cuda":
            return chosen
        if self.local_rank >= torch.cuda.device_count():
            raise InputError(
                "no-device",
                f"This machine has {torch.cuda.device_count()} GPUs, fewer than processes.",
                "Give torchrun --nproc-per-node the number of GPUs.",
            )
        torch.cuda.set_device(self.local_rank)
        return torch.device("cuda", self.local_rank)

    def shared(self, make: Callable[[], T]) -> T:
        """What ``make`` returns in process 0, for all; tensors in it must be on the CPU."""
        if self.count == 1:
            return make()
        box: list[Any] = [make() if self.writes else None]
        dist.broadcast_object_list(box, src=0, group=self.hosts)
        return cast(T, box[0])

    def agreed(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether any process raised it; between hosts, no GPU waits for it."""
        if self.count == 1:
            return flags
        raised = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(raised, op=dist.ReduceOp.MAX, group=self.hosts)
        return tuple(bool(flag) for flag in raised.tolist())

    def least(self, number: int) -> int:
        """The smallest ``number`` of all processes."""
        if self.count == 1:
            return number
        box = torch.tensor(number)
        dist.all_reduce(box, op=dist.ReduceOp.MIN, group=self.hosts)
        return int(box)

    def means(self, values: dict[str, Tensor]) -> dict[str, float]:
        """Mean over the processes of scalars that all of them have; waits for the device."""
        if not values:
            return {}
        names = sorted(values)
        stacked = torch.stack([values[name] for name in names])
        if self.count > 1:
            dist.all_reduce(stacked)
            stacked /= self.count
        return dict(zip(names, stacked.tolist(), strict=True))

    def gathered(self, rows: Tensor) -> Tensor:
        """The rows of all processes, in their order: (N, …) → (count·N, …), with gradient.

        Every process must go on to compute the same scalar from the result. The gradient that reaches a
        process' own rows is that of the scalar, times ``count``, so that averaging the parameters' gradients
        over the processes, as DistributedDataParallel does, gives the gradient of the scalar.
        """
        return rows if self.count == 1 else cast(Tensor, _Gathered.apply(rows, self))  # type: ignore[no-untyped-call]

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Average the gradients of some small parameters over the processes, in place."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.count == 1 or not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.count
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, mean in zip(gradients, parts, strict=True):
            gradient.copy_(mean.view_as(gradient))

    def together(self) -> None:
        """Wait until every process is here."""
        if self.count > 1:
            dist.barrier(group=self.hosts)


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, ranks: Ranks) -> Tensor:
        ctx.own = slice(ranks.rank * len(rows), (ranks.rank + 1) * len(rows))
        ctx.count = ranks.count
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(ranks.count)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.count * gradients[0][ctx.own], None


def launched() -> bool:
    """Whether this process is one of several that ``torchrun`` (or alike) started."""
    return int(os.environ.get("WORLD_SIZE") or 1) > 1 and {"RANK", "MASTER_ADDR"} <= os.environ.keys()


def writes() -> bool:
    """Whether this process is the one that writes and talks; known before the processes have met."""
    return not launched() or int(os.environ["RANK"]) == 0


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Meet the other processes of a ``torchrun``, if there are any, and part from them at the end.

    Args:
        device: CUDA exchanges gradients with NCCL, anything else with gloo.

    Raises:
        DiffSegLungError: another process ended while this one was waiting for it.
    """
    if not launched():
        yield Ranks()
        return
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        hosts = dist.new_group(backend="gloo", timeout=_PATIENCE)
        yield Ranks(dist.get_rank(), dist.get_world_size(), local_rank, hosts)
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or _LOST.search(str(error))):
            raise
        raise DiffSegLungError(
            "process-lost",
            "Another process of this training has ended or cannot be reached.",
            "The same command goes on from the last checkpoint, with any number of processes.",
        ) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
