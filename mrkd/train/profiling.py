"""Measure the time of each part of a step. The device is synchronised after each part, only while profiling."""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

Result = TypeVar("Result")
FROZEN_TEACHER = "frozen teacher"
"""The part of a step that the forward pass of a frozen teacher is."""
_IDLE = contextlib.nullcontext()


class Clock:
    """Adds up the seconds of named parts. The time of an inner part does not count for the outer one.

    Args:
        device: whose work is waited for; None makes a clock that stands still and costs nothing.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self._open: list[str] = []
        self._since = 0.0

    def part(self, name: str) -> AbstractContextManager[None]:
        """A context whose time counts for `name`."""
        return _IDLE if self.device is None else self._timed(name)

    @contextlib.contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        self.enter(name)
        try:
            yield
        finally:
            self.leave()

    def enter(self, name: str) -> None:
        """Start a part; the clock of the part around it stops."""
        self._book()
        self._open.append(name)

    def leave(self) -> None:
        """End the part that was started last."""
        self._book()
        self._open.pop()

    def _book(self) -> None:
        if self.device is not None and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0.0) + now - self._since
        self._since = now

    def watch(self, module: nn.Module, name: str) -> None:
        """Count every forward pass of a module for `name`."""
        if self.device is not None:
            module.register_forward_pre_hook(lambda *_: self.enter(name))
            module.register_forward_hook(lambda *_: self.leave(), always_call=True)


def matrix_rate(device: torch.device, dtype: torch.dtype, side: int = 2048, seconds: float = 0.5) -> float:
    """The rate of the fastest product of two square matrices on this device, in operations per second."""
    if device.type == "cuda":
        return _cuda_matrix_rate(device, dtype)
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best, stop = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < stop:
        started = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best


def _cuda_matrix_rate(device: torch.device, dtype: torch.dtype, side: int = 8192, products: int = 10) -> float:
    """The same on CUDA: large products between two events, because small ones would measure the launches."""
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(4):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(products):
            torch.matmul(left, right)
        end.record()
        end.synchronize()
        best = min(best, begin.elapsed_time(end) / 1000 / products)
    return 2 * side**3 / best


def count_operations(step: Callable[[], Any]) -> int:
    """The floating-point operations of the matrix products in a call of `step`."""
    counter = FlopCounterMode(display=False, custom_mapping=_cpu_attention())
    with counter:
        step()
    return int(counter.get_total_flops())


def _cpu_attention() -> dict[Any, Any]:
    """Operations of attention on the CPU, which torch does not count: two products forward, five backward."""

    def forward(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return _products(query, key, 2)

    def backward(gradient: Any, query: Any, key: Any, *_: Any, **__: Any) -> int:
        return _products(query, key, 5)

    operators = torch.ops.aten
    return {
        operators._scaled_dot_product_flash_attention_for_cpu: forward,
        operators._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }


def _products(query: Any, key: Any, count: int) -> int:
    batch, heads, rows, width = query
    return count * 2 * batch * heads * rows * key[2] * width


class Profile:
    """Times the steps of a run. The first steps are a warm-up, and in one of them operations are counted.

    Args:
        clock: that the learner's parts are timed with.
        images: per step, of all devices.
        dtype: in which matrices are multiplied.
    """

    WARM_UP = 3

    def __init__(self, clock: Clock, images: int, dtype: torch.dtype) -> None:
        self.clock, self.images, self.dtype = clock, images, dtype
        self.steps = 0
        self.operations = 0

    def take(self, step: Callable[[], Result]) -> Result:
        """Take one step."""
        self.steps += 1
        if self.steps == self.WARM_UP:
            taken: list[Result] = []
            self.operations = count_operations(lambda: taken.append(step()))
            self.clock.seconds.clear()  # counting is slow, and so were the first steps
            return taken[0]
        return step()

    def report(self) -> dict[str, Any]:
        """Milliseconds per step of each part, images per second and utilisation; empty before enough steps."""
        timed, total = self.steps - self.WARM_UP, sum(self.clock.seconds.values())
        device = self.clock.device
        if timed < 1 or device is None:
            return {}
        rate = matrix_rate(device, self.dtype)
        return {
            "steps": timed,
            "milliseconds": {name: 1000 * seconds / timed for name, seconds in self.clock.seconds.items()},
            "images_per_second": timed * self.images / total,
            "gflop_per_image": self.operations / self.images / 1e9,
            "gflops": self.operations * timed / total / 1e9,
            "matrix_gflops": rate / 1e9,
            "utilisation": self.operations * timed / total / rate,
        }


def table(report: dict[str, Any], memory: str) -> str:
    """The text that `mrkd pretrain --profile` prints."""
    if not report:
        return f"nothing to report: a profile needs more than {Profile.WARM_UP} steps"
    together = sum(report["milliseconds"].values())
    if FROZEN_TEACHER in report["milliseconds"]:
        teacher = 100 * report["milliseconds"][FROZEN_TEACHER] / together
        memory += f"\n  {FROZEN_TEACHER}: {teacher:.0f} % of a step"
    lines = [f"where the time went, mean of {report['steps']} steps"]
    for name, spent in sorted(report["milliseconds"].items(), key=lambda item: -item[1]):
        lines.append(f"  {name:14s}{spent:10.2f} ms{100 * spent / together:7.1f} %")
    return "\n".join(
        [
            *lines,
            f"  {'together':14s}{together:10.2f} ms   {report['images_per_second']:.0f} images/s",
            f"  model FLOP utilisation {100 * report['utilisation']:.0f} %: {report['gflops']:.0f} of the "
            f"{report['matrix_gflops']:.0f} GFLOP/s that a large matrix product reaches here, "
            f"{report['gflop_per_image']:.3g} GFLOP an image",
            f"  memory {memory}",
        ]
    )
