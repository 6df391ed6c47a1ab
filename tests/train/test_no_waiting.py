"""What would make the host wait for a GPU is counted on the CPU, where it costs nothing."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mrkd.config import Config
from mrkd.data.augment import views
from mrkd.distributed.fabric import make_fabric
from mrkd.losses import rkd_distance
from mrkd.losses.angle import _angle
from mrkd.losses.distance import _distance
from mrkd.losses.kernels.autograd import _gradient
from mrkd.objective.resolve import resolve_terms
from mrkd.train.step import Learner

WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique")
"""Parts of the names of operators whose result the host must know."""
READING = ("tolist", "numpy", "cpu")
"""Methods of tensors that read a device's memory; on the CPU they reach no operator."""
INSIDE = {"mrkd::rkd_angle": _angle, "mrkd::rkd_distance": _distance, "mrkd::relation_gradient": _gradient}


class Waits(TorchDispatchMode):
    """Names of the operators that would wait for a device, unless the block is marked as the host's own."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.on_host = False
        self.reads = _Reads(self)

    def __enter__(self) -> Any:
        self.reads.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.reads.__exit__(*error)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.name()
        if not self.on_host and any(part in name for part in WAITING):
            self.found.append(name)
        if name in INSIDE:  # the mode does not look into operators of one's own
            with self:
                return INSIDE[name]._init_fn(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


class _Reads(TorchFunctionMode):
    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(function, "__name__", "")
        if not self.waits.on_host and name in READING:
            self.waits.found.append(name)
        return function(*args, **(kwargs or {}))


@contextmanager
def counted(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> Iterator[Waits]:
    """What is drawn on the host, and copied, waits for nothing."""
    waits = Waits()

    def on_host(function: Callable[..., Any]) -> Callable[..., Any]:
        def marked(*given: Any) -> Any:
            waits.on_host = True
            try:
                return function(*given)
            finally:
                waits.on_host = False

        return marked

    monkeypatch.setattr(learner, "draw_masks", on_host(learner.draw_masks))
    monkeypatch.setattr(views, "_random_order", on_host(views._random_order))
    with waits:
        yield waits


class Shapes(TorchDispatchMode):
    """Every operator of a step with the shapes of what it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[tuple[int, ...], ...]]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.seen.append((function.name(), tuple(tuple(tensor.shape) for tensor in tensors)))
        return result


def a_learner(config: Config, method: str, **objective: object) -> Learner:
    objective_config = dataclasses.replace(config.objective, method=method, **objective)
    drawn = dataclasses.replace(config.views, hue=0.1, saturation=0.2, grey=0.2, blur=0.1)
    config = dataclasses.replace(config, objective=objective_config, views=drawn)
    return Learner(config, resolve_terms(config.objective), make_fabric(config), steps=100)


@pytest.mark.parametrize(
    ("method", "ratio"),
    [
        ("ibot", None),
        ("structural", None),
        ("simclr", None),
        ("vicreg", None),
        ("lejepa", None),
        ("byol", None),
        ("simdino", None),
        ("rkd-d", None),
        ("rkd-a", None),
        ("fitnet", None),
        ("darkrank", None),
        ("ibot+rkd-da", 0.5),
        ("ibot+structural", 0.5),
    ],
)
def test_a_training_step_waits_for_the_device_nowhere(tiny_config, monkeypatch, method, ratio):
    for module in ("data.augment.color", "data.augment.geometry"):  # as on a GPU, where views are torch's
        monkeypatch.setattr(f"mrkd.{module}.find_spec", lambda name: None)
    monkeypatch.setattr("mrkd.losses.angle.available_backends", lambda device: ["torch"])
    # A GPU has float64 distances at once.
    monkeypatch.setattr("mrkd.losses.kernels.distances._may_lose_digits", lambda dtype, device: False)
    learner = a_learner(tiny_config, method, relation_grad_norm_ratio=ratio)
    images = torch.randint(0, 256, (tiny_config.train.batch, 3, 32, 32), dtype=torch.uint8)
    learner.training_step(images, 0)
    with counted(learner, monkeypatch) as waits:
        learner.training_step(images, 1)
    assert waits.found == []


def test_a_step_of_muon_waits_for_the_device_nowhere(tiny_config):
    optim = dataclasses.replace(tiny_config.optim, name="muon", muon_head=True)
    learner = a_learner(dataclasses.replace(tiny_config, optim=optim), "ibot")
    images = torch.randint(0, 256, (tiny_config.train.batch, 3, 32, 32), dtype=torch.uint8)
    learner.training_step(images, 0)
    for parameter in learner.pair.network.parameters():
        parameter.grad = torch.randn_like(parameter)
    with Waits() as waits:
        learner.optimizer.step(skip=torch.tensor(False))
    assert waits.found == []


def test_the_counter_sees_what_waits():
    values = torch.tensor([1.0, 0.0])
    with Waits() as waits:
        values.sum().item()
        values.nonzero()
        rkd_distance(torch.randn(4, 3), torch.randn(4, 3))  # on its own, a loss checks its values
    assert [name.partition(".")[0] for name in waits.found[:2]] == ["aten::_local_scalar_dense", "aten::nonzero"]
    assert len(waits.found) > 2


def test_with_evenly_dealt_masks_no_tensor_behind_the_views_changes_its_shape(tiny_config, monkeypatch):
    def shapes_of_steps(even: bool) -> list[Any]:
        mask = dataclasses.replace(tiny_config.mask, even=even)
        learner = a_learner(dataclasses.replace(tiny_config, mask=mask), "ibot+structural")
        images = torch.randint(0, 256, (tiny_config.train.batch, 3, 32, 32), dtype=torch.uint8)
        views = learner.view_maker(images)  # colours change in random order, so these are drawn once
        monkeypatch.setattr(learner, "view_maker", lambda images, **given: views)
        steps = []
        for step in range(50, 54):  # beyond the steps in which the prototypes are frozen
            with Shapes() as shapes:
                learner.training_step(images, step)
            steps.append(shapes.seen)
        return steps[1:]  # the first makes the optimizer's state

    first, *later = shapes_of_steps(True)
    assert len(first) > 500
    assert all(seen == first for seen in later)
    first, *later = shapes_of_steps(False)
    assert any(seen != first for seen in later)
