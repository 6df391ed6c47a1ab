import json
import signal
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mrkd.config import Config, HeadConfig, ObjectiveConfig
from mrkd.distributed import all_gather_with_grad
from mrkd.distributed.gather import (
    agree_on_stop,
    all_gather_names,
    all_gather_step,
    all_reduce_sum,
    destroy_process_group_together,
)
from mrkd.losses import rkd_angle, rkd_distance
from mrkd.objective.objective import Objective
from mrkd.objective.resolve import resolve_terms
from mrkd.objective.tokens import StepOutputs, ViewTokens

CONFIG = Config(head=HeadConfig(prototypes=6))
VIEWS, IMAGES, PATCHES, WIDTH = 2, 8, 4, 5


def network(inputs: torch.Tensor, weight: torch.Tensor, index: torch.Tensor, images: int) -> ViewTokens:
    """A linear stand-in for backbone and head, with a single weight."""
    features = (inputs @ weight).flatten(0, 1)
    split = features.unflatten(0, (VIEWS, images))
    logits = torch.cat([split, split[..., :1]], dim=-1)
    return ViewTokens(
        features=features,
        cls_backbone=split[:, :, 0],
        patch_backbone=split[:, :, 1:],
        cls_projection=split[:, :, 0],
        cls_bottleneck=split[:, :, 0],
        cls_logits=logits[:, :, 0],
        patch_logits=logits[:, :, 1:].flatten(0, 2)[index],
        prediction=2.0 * split,
        cls_prediction=2.0 * split[:, :, 0],
    )


def loss_and_gradient(method: str, rank: int, devices: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, VIEWS, IMAGES, 1 + PATCHES, WIDTH, generator=generator, dtype=torch.float64)
    mask = torch.rand(VIEWS, IMAGES, PATCHES, generator=generator) < 0.4
    weight = torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64).requires_grad_(True)
    teacher_weight = torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64)
    images = IMAGES // devices
    own = slice(rank * images, (rank + 1) * images)
    mask = mask[:, own]
    index = mask.flatten().nonzero().flatten()
    step = StepOutputs(
        student=network(inputs[0, :, own], weight, index, images),
        teacher=network(inputs[1, :, own], teacher_weight, index, images),
        student_local=None,
        patch_mask=mask,
        patch_index=index,
        masked_index=index,
    )
    objective = Objective(CONFIG, resolve_terms(ObjectiveConfig(method=method, relation_grad_norm_ratio=0.5)))
    total = objective(
        all_gather_step(step), teacher_temperature=0.05, progress=0.7, all_reduce_sum=all_reduce_sum
    ).total
    total.backward()
    return total.detach(), weight.grad


def relations_in_a_loop(rank: int, devices: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A step in a user's loop: a loss of the mean embeddings of two views, one of them not contiguous."""
    generator = torch.Generator().manual_seed(1)
    views = torch.randn(2, IMAGES, WIDTH, generator=generator, dtype=torch.float64)
    teacher = torch.randn(IMAGES, 3, generator=generator, dtype=torch.float64)
    weight = torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64).requires_grad_(True)
    own = slice(rank * IMAGES // devices, (rank + 1) * IMAGES // devices)
    first = all_gather_with_grad(views[0, own] @ weight)
    second = all_gather_with_grad((weight.T @ views[1, own].T).T)
    student, teacher = (first + second) / 2, all_gather_with_grad(teacher[own])
    total = rkd_distance(student, teacher) + 2 * rkd_angle(student, teacher)
    total.backward()
    return total.detach(), weight.grad


METHODS = [
    "rkd-d",
    "rkd-a",
    "structural",
    "ibot",
    "ibot+rkd-d",
    "simclr",
    "vicreg",
    "barlow-twins",
    "lejepa",
    "simdino",
    "byol",
    "fitnet",
    "ibot+cka",
]


def worker(rank: int, devices: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=devices)
    results = {}
    for method in METHODS:
        total, gradient = loss_and_gradient(method, rank, devices)
        dist.all_reduce(gradient)
        results[method] = (total, gradient / devices)  # as in data-parallel training
    total, gradient = relations_in_a_loop(rank, devices)
    dist.all_reduce(gradient)
    results["loop"] = (total, gradient / devices)
    results["rows"] = all_gather_with_grad(torch.tensor([[rank, 0], [rank, 1]]))
    torch.save(results, f"{folder}/{rank}.pt")
    said = {
        "names": all_gather_names(["both.png", f"of-{rank}.png"]),
        "agreed": [agreed(rank, *wish) for wish in WISHES],
    }
    Path(folder, f"{rank}.json").write_text(json.dumps(said))
    destroy_process_group_together()


WISHES = [(None, 0), (signal.SIGTERM, 1), (None, None)]
"""Cases: a signal that the first process receives, and the process for which a checkpoint is due."""


def agreed(rank: int, received: signal.Signals | None, due: int | None) -> list[int | bool]:
    got, now = agree_on_stop(received if rank == 0 else None, due == rank, torch.device("cpu"))
    return [int(got or 0), now]


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """The folder with the results of two processes."""
    folder = tmp_path_factory.mktemp("two")
    mp.spawn(worker, args=(2, str(folder)), nprocs=2)
    return folder


def test_two_processes_give_the_loss_and_the_gradient_of_one_on_the_whole_batch(two_processes):
    for method in METHODS:
        total, gradient = loss_and_gradient(method, 0, 1)
        for rank in range(2):
            theirs = torch.load(two_processes / f"{rank}.pt", weights_only=True)[method]
            assert torch.allclose(theirs[0], total, rtol=1e-6), method
            assert (theirs[1] - gradient).norm() <= 1e-6 * gradient.norm(), method

    said = [json.loads((two_processes / f"{rank}.json").read_text()) for rank in range(2)]
    assert said[0] == said[1]  # all processes learn of a broken image and of a due checkpoint
    assert said[0]["names"] == ["both.png", "of-0.png", "of-1.png"]
    assert [bool(now or got) for got, now in said[0]["agreed"]] == [True, True, False]
    assert said[0]["agreed"][1][0] == signal.SIGTERM


def test_relations_of_embeddings_gathered_in_a_loop_have_the_gradient_of_one_process(two_processes):
    total, gradient = relations_in_a_loop(0, 1)
    assert gradient.norm() > 0.01
    for rank in range(2):
        theirs = torch.load(two_processes / f"{rank}.pt", weights_only=True)
        assert torch.allclose(theirs["loop"][0], total, rtol=1e-6)
        assert (theirs["loop"][1] - gradient).norm() <= 1e-6 * gradient.norm()
        assert theirs["rows"].tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_without_a_process_group_nothing_is_gathered():
    step, embeddings = object(), torch.zeros(2, 3)
    assert all_gather_step(step) is step
    assert all_gather_with_grad(embeddings) is embeddings
