"""Compare the Triton kernels, in Triton's interpreter on the CPU, with the torch backend; run by test_angle.py."""

import torch
from triton.runtime import interpreter

_patch = interpreter._patch_lang_tensor


def _patch_and_read_one_element(tensor, scope):
    # Triton 3.6 calls int() on an array of one element, which NumPy 2.4 refuses.
    _patch(tensor, scope)
    scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))


interpreter._patch_lang_tensor = _patch_and_read_one_element

from mrkd.losses.kernels import angle_torch, angle_triton  # noqa: E402
from mrkd.losses.kernels.distances import WeightedEmbeddings, squared_distances  # noqa: E402

torch.manual_seed(0)
for groups, rows, dtype, tolerance in (
    (1, 2, torch.float64, 1e-12),
    (3, 17, torch.float64, 1e-12),
    (2, 34, torch.float64, 1e-12),
    (1, 50, torch.float32, 2e-5),
    (12, 3, torch.float64, 1e-12),
):
    weights = torch.rand(groups, rows, dtype=dtype)
    weights /= weights.sum(dim=1, keepdim=True)
    student, teacher = torch.randn(2, groups, rows, 6, dtype=dtype)
    if rows > 4:
        student[:, 1], teacher[:, 3] = student[:, 0], teacher[:, 2]
        weights[:, 4] = 0.0
    delta = torch.linspace(0.3, 1.5, groups, dtype=dtype)
    student_squared, target = (
        squared_distances(WeightedEmbeddings(x, weights, None, masked=False))[0] for x in (student, teacher)
    )
    expected = angle_torch.exact(student_squared.clone(), target, weights, delta)
    result = angle_triton.exact(student_squared.clone(), target, weights, delta)
    assert torch.equal(result[1], result[1].mT)  # the gradient of each pair is stored in both orders
    pairs = [*zip(result, expected, strict=True)]
    pairs.append((angle_triton.exact_moments(target, weights), angle_torch.exact_moments(target, weights)))
    for got, wanted in pairs:
        error = (got - wanted).abs().max() / wanted.abs().max().clamp(min=1e-300)
        assert error < tolerance, (groups, rows, dtype, error)
    again = angle_triton.exact(student_squared.clone(), target, weights, delta)
    assert all(torch.equal(a, b) for a, b in zip(result, again, strict=True))
for groups, rows in ((65_537, 3), (1, 600), (70_000, 17), (1_000_000, 2)):
    for dtype in angle_triton.TILES:
        plan = angle_triton.launch_plan(groups, rows, dtype)
        blocks = -(-rows // plan.tile)
        assert plan.programs == groups * blocks**2 * plan.stretches < 2**31
print("agrees")
