"""Micro-batches and activation checkpointing give the loss and gradient of the whole batch."""

import dataclasses

import pytest
import torch

from mrkd.config import Config, HeadConfig, ModelConfig, ObjectiveConfig, TrainConfig, ViewsConfig
from mrkd.model.teacher_student import TeacherStudent
from mrkd.objective.checks import needs_of
from mrkd.objective.objective import Objective
from mrkd.objective.resolve import resolve_terms

IMAGES = 7
"""Not a multiple of the micro-batch."""


def config_of(method: str, drop_path: float = 0.0, **train: object) -> Config:
    return Config(
        model=ModelConfig(patch=8, width=16, depth=2, heads=2, drop_path=drop_path),
        head=HeadConfig(prototypes=32, hidden=24, bottleneck=8),
        objective=ObjectiveConfig(method=method, koleo=0.1, relation_grad_norm_ratio=0.5 if "+" in method else None),
        views=ViewsConfig(local_views=2),
        train=TrainConfig(**train),
    )


def loss_and_gradients(config: Config) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    terms = resolve_terms(config.objective)
    torch.manual_seed(0)
    pair, objective = TeacherStudent(config, needs_of(terms)), Objective(config, terms).double()
    pair.network.double()
    pair.teacher.double()
    generator = torch.Generator().manual_seed(1)
    views = torch.randn(2, IMAGES, 3, 32, 32, generator=generator, dtype=torch.float64)
    local = torch.randn(2, IMAGES, 3, 16, 16, generator=generator, dtype=torch.float64)
    mask = torch.rand(2, IMAGES, 16, generator=generator) < 0.4
    torch.manual_seed(2)
    total = objective(pair(views, local, mask), teacher_temperature=0.05, progress=0.5).total
    total.backward()
    gradients = {name: p.grad for name, p in pair.network.named_parameters() if p.grad is not None}
    return total.detach(), gradients


def same(first: Config, second: Config) -> None:
    (loss, gradients), (other_loss, other_gradients) = loss_and_gradients(first), loss_and_gradients(second)
    assert torch.allclose(loss, other_loss, rtol=1e-9)
    assert gradients.keys() == other_gradients.keys()
    length = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    for name, gradient in gradients.items():
        assert (gradient - other_gradients[name]).norm() <= 1e-6 * length, name


@pytest.mark.parametrize("method", ["ibot", "rkd-d", "rkd-a", "ibot+rkd-a", "structural", "simclr", "attention"])
def test_micro_batches_give_the_loss_and_the_gradient_of_the_whole_batch(method):
    same(config_of(method), config_of(method, micro_batch=3))


def test_micro_batches_with_activation_checkpointing_change_nothing():
    same(config_of("ibot+rkd-d"), config_of("ibot+rkd-d", micro_batch=3, activation_checkpointing=True))


def test_activation_checkpointing_changes_nothing_even_with_stochastic_depth():
    same(config_of("ibot", drop_path=0.5), config_of("ibot", drop_path=0.5, activation_checkpointing=True))


def test_a_recomputed_micro_batch_drops_the_same_paths(monkeypatch):
    from mrkd.model import grad_cache as parts

    config = config_of("rkd-d", drop_path=0.5, micro_batch=3)
    again = loss_and_gradients(config)
    monkeypatch.setattr(parts, "checkpoint", lambda function, *inputs, use_reentrant: function(*inputs))
    kept = loss_and_gradients(config)
    assert torch.equal(again[0], kept[0])
    for name, gradient in kept[1].items():
        assert torch.allclose(gradient, again[1][name], rtol=1e-9, atol=1e-15), name


def saved_bytes(config: Config) -> int:
    """Bytes that a forward pass of the student saves for the backward pass."""
    pair = TeacherStudent(config, needs_of(resolve_terms(config.objective)))
    total = 0

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal total
        total += tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        pair(torch.randn(2, 32, 3, 32, 32), None, torch.zeros(2, 32, 16, dtype=torch.bool))
    return total


def test_micro_batches_and_activation_checkpointing_save_memory():
    whole = saved_bytes(config_of("rkd-d"))
    views = 2 * 32 * 3 * 32 * 32 * 4  # the inputs of the micro-batches, which exist anyway
    assert saved_bytes(config_of("rkd-d", micro_batch=8)) < 0.1 * whole + views
    assert saved_bytes(config_of("rkd-d", activation_checkpointing=True)) < 0.3 * whole + views


def test_training_in_micro_batches_takes_the_steps_of_training_on_whole_batches(tiny_config, tmp_path):
    import json

    import mrkd

    losses = []
    for micro_batch in (None, 16):
        train = dataclasses.replace(tiny_config.train, micro_batch=micro_batch, precision="32-true")
        run = mrkd.pretrain(dataclasses.replace(tiny_config, train=train), tmp_path / str(micro_batch))
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        losses.append([row["loss"] for row in rows if "loss" in row])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
