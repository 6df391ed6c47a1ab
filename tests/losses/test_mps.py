"""The relational losses on Apple's GPUs, which have no float64; the CPU stands in for one and refuses it too."""

import inspect

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mrkd.losses import angle, distance
from mrkd.losses.kernels.precision import sum_dtype


class RefuseFloat64(TorchDispatchMode):
    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = operator(*args, **(kwargs or {}))
        if any(isinstance(leaf, torch.Tensor) and leaf.dtype == torch.float64 for leaf in tree_leaves(result)):
            raise TypeError(f"{operator} made float64")
        return result


def computed(operator, standardize, anchored):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 2, 12, 5)
    given = {"anchors": torch.randn(2, 7, 5) if anchored else None, "row_weights": None, "standardize": standardize}
    given |= {"group_factors": None, "vertices": None, "backend": "torch", "huber_delta": 1.0, "stripe_rows": 12}
    given |= {"need_gradient": True, "check": False}
    names = list(inspect.signature(operator._init_fn).parameters)[2:]
    return operator._init_fn(student, teacher, **{name: given[name] for name in names})


@pytest.mark.parametrize("operator", [distance._distance, angle._angle], ids=["distance", "angle"])
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("anchored", [False, True])
def test_the_relational_losses_need_no_float64_on_an_apple_gpu(monkeypatch, operator, standardize, anchored):
    expected = computed(operator, standardize, anchored)
    with RefuseFloat64(), pytest.raises(TypeError, match="made float64"):
        computed(operator, standardize, anchored)
    for module in ("distance", "kernels.angle_torch"):
        monkeypatch.setattr(f"mrkd.losses.{module}.sum_dtype", lambda device: sum_dtype(torch.device("mps")))
    with RefuseFloat64():
        result = computed(operator, standardize, anchored)
    for ours, wanted in zip(result, expected, strict=True):
        assert torch.allclose(ours, wanted, rtol=1e-4, atol=1e-6)
