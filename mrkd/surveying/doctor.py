"""`mrkd doctor`: installed packages, devices, and whether the angle kernels work here and how fast they are."""

import importlib.util
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import torch

from mrkd import __version__
from mrkd.errors import LISTED
from mrkd.losses.angle import available_backends, rkd_angle
from mrkd.system.cpu import usable_cores

PACKAGES = ("torch", "torchvision", "timm", "lightning", "numpy", "numba", "triton", "pyarrow")
EXTRAS = {
    "heif": ("pillow_heif",),
    "hub": ("datasets",),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "sweep": ("optuna",),
    "tensorboard": ("tensorboardX", "tensorboard"),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
}
"""Extra of the package to the modules it brings."""

ROWS, WIDTH = 128, 384
"""Of the embeddings on which the angle kernel is timed."""
SECONDS = 1.0
"""That each backend is timed for, after one call to warm up."""
TOLERANCE = 1e-4
"""Of value and gradient against plain torch in float64, relative to the largest entry."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the examination."""

    topic: str
    state: Literal["ok", "absent", "wrong"]
    """`absent` is no fault: something optional is not there. `wrong` must be looked into."""
    text: str


def examine(folder: Path) -> Iterator[Finding]:
    """Every finding, the quick ones first.

    Args:
        folder: where runs would be written.
    """
    yield _found("mrkd", f"{__version__}, Python {platform.python_version()}, {platform.platform(terse=True)}")
    yield _found("packages", ", ".join(_versions(PACKAGES)))
    yield from _extras()
    if importlib.util.find_spec("huggingface_hub"):
        from huggingface_hub.constants import HF_HUB_CACHE

        yield _timm_weights(Path(HF_HUB_CACHE))
    yield _writable(folder)
    yield _processor()
    yield from _accelerators()
    for device in _devices():
        for backend in available_backends(device):
            yield angle_kernel(backend, device)


def _found(topic: str, text: str) -> Finding:
    return Finding(topic=topic, state="ok", text=text)


def _versions(names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name} absent"


def _extras() -> Iterator[Finding]:
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        if missing:
            text = f'{", ".join(missing)} not installed: pip install "mrkd[{extra}]"'
            yield Finding(topic=f"extra {extra}", state="absent", text=text)
        else:
            yield _found(f"extra {extra}", ", ".join(_versions(modules)))


def _timm_weights(cache: Path) -> Finding:
    """The models of timm that `--teacher` finds by their names."""
    start = "models--timm--"
    names = sorted(entry.name.removeprefix(start) for entry in cache.glob(f"{start}*"))
    if not names:
        return Finding(
            topic="timm weights", state="absent", text=f"none in {cache}; --teacher takes files and runs, too"
        )
    more = f", … ({len(names)} in all)" if len(names) > LISTED else ""
    return _found("timm weights", ", ".join(names[:LISTED]) + more)


def _writable(folder: Path) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding(topic="folder", state="wrong", text=f"{folder.resolve()} cannot be written: {error.strerror}")
    return _found("folder", f"{folder.resolve()} can be written")


def _processor() -> Finding:
    known = torch.cpu.get_capabilities()
    bf16 = [name.upper().replace("_", "-") for name in ("avx512_bf16", "amx_bf16") if known.get(name)]
    return _found(
        "cpu",
        f"{known.get('cpu_name') or platform.processor() or platform.machine()}, {usable_cores()} usable cores, "
        f"{torch.get_num_threads()} threads in use, {torch.backends.cpu.get_cpu_capability()}, "
        + (f"bfloat16 in hardware ({', '.join(bf16)})" if bf16 else "no bfloat16 in hardware: keep to 32-true"),
    )


def _accelerators() -> Iterator[Finding]:
    if not torch.cuda.is_available():
        yield Finding(topic="cuda", state="absent", text="no CUDA device that torch can use")
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        bf16 = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bfloat16"
        text = f"{about.name}, {about.total_memory / 2**30:.0f} GiB, compute capability {about.major}.{about.minor}"
        yield _found(f"cuda:{index}", f"{text}, {bf16}")
    if torch.backends.mps.is_available():
        yield _found("mps", "Apple GPU")


def _devices() -> list[torch.device]:
    return [torch.device("cpu"), *([torch.device("cuda")] if torch.cuda.is_available() else [])]


def angle_kernel(backend: str, device: torch.device) -> Finding:
    """Whether one backend of RKD-A gives the value and gradient of plain torch in float64, and its time."""
    topic = f"rkd-a on {device.type}"
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(ROWS, WIDTH, generator=generator).to(device) for _ in range(2))
    try:
        difference = max(
            _relative(ours, exact)
            for ours, exact in zip(
                _value_and_gradient(student, teacher, backend),
                _value_and_gradient(student.double(), teacher.double(), "torch"),
                strict=True,
            )
        )
        milliseconds = _time(lambda: _value_and_gradient(student, teacher, backend), device)
    except Exception as error:  # whatever a compiler or driver of this machine may raise is the finding
        reason = " ".join(str(error).split())[:200]
        return Finding(topic=topic, state="wrong", text=f"{backend} fails: {type(error).__name__}: {reason}")
    text = (
        f"{backend}: {milliseconds:.1f} ms for {ROWS} rows of {WIDTH}, forward and backward; "
        f"differs from torch in float64 by {difference:.0e}"
    )
    return Finding(topic=topic, state="ok" if difference <= TOLERANCE else "wrong", text=text)


def _value_and_gradient(
    student: torch.Tensor, teacher: torch.Tensor, backend: str
) -> tuple[torch.Tensor, torch.Tensor]:
    leaf = student.clone().requires_grad_(True)
    value = rkd_angle(leaf, teacher, backend=backend)
    [gradient] = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


def _relative(ours: torch.Tensor, exact: torch.Tensor) -> float:
    return ((ours.double() - exact).abs().max() / exact.abs().max()).item()


def _time(work: Callable[[], object], device: torch.device) -> float:
    """Median milliseconds of repetitions over about `SECONDS`."""
    times: list[float] = []
    started = time.perf_counter()
    while not times or time.perf_counter() - started < SECONDS:
        before = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - before))
    return sorted(times)[len(times) // 2]
