import pytest
import torch
from torch import Tensor, nn

from mrkd.optim.muon import Muon, orthogonalize


def parameters(*shapes: tuple[int, int], seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    made = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    for parameter in made:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return made


def steps(optimizer: torch.optim.Optimizer, given: list[nn.Parameter], count: int = 3) -> list[Tensor]:
    """The parameters after some steps with changing gradients."""
    generator = torch.Generator().manual_seed(9)
    for _ in range(count):
        for parameter in given:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return [parameter.detach().clone() for parameter in given]


@pytest.mark.parametrize("shape", [(24, 24), (16, 64), (64, 16)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_singular_values_become_about_one_and_singular_vectors_stay(shape, scale):
    matrices = scale * torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    # A square random matrix has singular values near 0, which five steps do not raise to 1.
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    values = torch.linspace(0.1, 1.0, min(shape))
    matrices = scale * left * values @ right
    result = orthogonalize(matrices)
    found = left.mT @ result @ right.mT  # (3, r, r), of singular values alone
    diagonal = found.diagonal(dim1=-2, dim2=-1)
    assert diagonal.min() > 0.68
    assert diagonal.max() < 1.2
    assert (found - torch.diag_embed(diagonal)).abs().max() < 1e-4


def test_two_singular_values_by_hand():
    a, b, c = 3.4445, -4.7750, 2.0315
    first, second = 3 / 13**0.5, 2 / 13**0.5
    for _ in range(5):
        first, second = (a * x + b * x**3 + c * x**5 for x in (first, second))
    result = orthogonalize(torch.diag(torch.tensor([3.0, -2.0], dtype=torch.float64))[None], dtype=torch.float64)
    assert torch.allclose(result[0], torch.diag(torch.tensor([first, -second], dtype=torch.float64)), atol=1e-12)


def test_a_matrix_of_zeros_stays_zero():
    assert torch.equal(orthogonalize(torch.zeros(2, 3, 4)), torch.zeros(2, 3, 4))


@pytest.mark.parametrize("shape", [(8, 8), (12, 48), (48, 12)])
def test_steps_are_those_of_torchs_muon(shape):
    ours, theirs = parameters(shape), parameters(shape)
    settings = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.95}
    reference = torch.optim.Muon(theirs, **settings, nesterov=True, adjust_lr_fn="match_rms_adamw")
    # Like torch's, the products in bfloat16; in float32 the two differ by its rounding.
    for ours_after, theirs_after in zip(
        steps(Muon(ours, **settings, dtype=torch.bfloat16), ours), steps(reference, theirs), strict=True
    ):
        assert torch.allclose(ours_after, theirs_after, atol=1e-4)


def test_matrices_together_step_as_each_would_alone():
    shapes = [(6, 6), (6, 24), (24, 6), (6, 6), (6, 24), (6, 6)]
    together, alone = parameters(*shapes), parameters(*shapes)
    all_at_once = steps(Muon(together, lr=0.1, weight_decay=0.1), together)
    one_by_one = [Muon([parameter], lr=0.1, weight_decay=0.1) for parameter in alone]
    generator = torch.Generator().manual_seed(9)
    for _ in range(3):
        for parameter, optimizer in zip(alone, one_by_one, strict=True):
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()
    for ours, theirs in zip(all_at_once, alone, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_queries_keys_and_values_in_one_parameter_step_as_three_matrices():
    fused, apart = parameters((24, 8)), parameters((24, 8))
    three = [nn.Parameter(part.clone()) for part in apart[0].detach().chunk(3)]
    for part, gradient in zip(three, apart[0].grad.chunk(3), strict=True):
        part.grad = (
            100 * gradient if part is three[0] else gradient
        )  # a much larger gradient of one matrix does not affect the others
    fused[0].grad[:8] *= 100
    Muon([{"params": fused, "parts": 3}], lr=0.1).step()
    Muon(three, lr=0.1).step()
    assert torch.allclose(fused[0], torch.cat(three), atol=1e-6)
    whole = parameters((24, 8))
    Muon(whole, lr=0.1).step()
    assert not torch.allclose(fused[0], whole[0], atol=1e-2)


def test_an_update_has_the_root_mean_square_of_adamws():
    for shape in ((32, 32), (32, 128), (128, 32)):
        (parameter,) = parameters(shape)
        before = parameter.detach().clone()
        Muon([parameter], lr=1.0).step()
        rms = (parameter.detach() - before).square().mean().sqrt()
        assert 0.12 < rms < 0.25, shape


def test_weight_decay_is_multiplied_by_the_learning_rate():
    (parameter,) = parameters((4, 4))
    parameter.grad = torch.zeros(4, 4)
    before = parameter.detach().clone()
    Muon([parameter], lr=0.1, weight_decay=0.5).step()
    assert torch.allclose(parameter, 0.95 * before)


def test_a_parameter_without_a_gradient_does_not_change():
    still, moves = parameters((4, 4), (4, 4))
    still.grad = None
    before = still.detach().clone()
    optimizer = Muon([still, moves], lr=0.1, weight_decay=0.5)
    optimizer.step()
    assert torch.equal(still, before)
    assert still not in optimizer.state


@pytest.mark.parametrize(("shape", "parts"), [((4,), 1), ((2, 3, 4), 1), ((8, 4), 3)])
def test_a_parameter_that_is_not_a_matrix_is_refused(shape, parts):
    with pytest.raises(ValueError, match=rf"Muon needs {parts} \* R rows and C columns, got a parameter"):
        Muon([{"params": [nn.Parameter(torch.zeros(shape))], "parts": parts}], lr=0.1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_takes_the_steps_of_the_cpu_without_synchronising():
    shapes = [(64, 64), (64, 256), (256, 64), (192, 64)]
    on_cpu = parameters(*shapes)
    on_gpu = [nn.Parameter(parameter.detach().cuda()) for parameter in on_cpu]
    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        ours.grad = theirs.grad.cuda()
    optimizer = Muon(on_gpu, lr=0.1)
    optimizer.found_inf = torch.zeros((), device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    Muon(on_cpu, lr=0.1, dtype=torch.bfloat16).step()
    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        assert torch.allclose(ours.cpu(), theirs, atol=0.02)
