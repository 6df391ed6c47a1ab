"""The relational losses on Apple's GPUs, which have no float64; tensors without values stand in for one."""

import inspect

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mrkd.losses import angle, distance
from mrkd.losses.kernels import autograd


class RefuseFloat64(TorchDispatchMode):
    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = operator(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "mps" and tensor.dtype == torch.float64:
                raise TypeError(f"{operator} made float64 on MPS")
        return result


def on_mps(operator, **options):
    """What the operator's own code returns for (2, 12, 5) embeddings on MPS, and the student."""
    with FakeTensorMode(), RefuseFloat64():
        student, teacher = (torch.randn(2, 12, 5, device="mps") for _ in range(2))
        anchors = torch.randn(2, 7, 5, device="mps") if options.pop("anchored", False) else None
        given = {"anchors": anchors, "row_weights": torch.ones(2, 12, device="mps")}
        given |= {"vertices": None, "group_factors": None, "backend": None}
        given |= {"huber_delta": 1.0, "height": 4, "need_gradient": True, "check": False, **options}
        names = list(inspect.signature(operator._init_fn).parameters)[2:]
        result = operator._init_fn(student, teacher, **{name: given[name] for name in names})
        gradient = None
        if anchors is None:
            height = 4 if "vertices" not in names else 12
            gradient = autograd._gradient._init_fn(
                student, None, given["row_weights"], *result[1:], result[0].new_ones(()), height
            )
        return result, gradient


@pytest.mark.parametrize("operator", [distance._distance, angle._angle], ids=["distance", "angle"])
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("anchored", [False, True])
def test_the_relational_losses_need_no_float64_on_an_apple_gpu(operator, standardize, anchored):
    (value, *_), gradient = on_mps(operator, standardize=standardize, anchored=anchored)
    assert value.shape == ()
    assert (value.device.type, value.dtype) == ("mps", torch.float32)
    assert gradient is None or gradient.shape == (2, 12, 5)


def test_float64_on_an_apple_gpu_is_noticed():
    with FakeTensorMode(), RefuseFloat64(), pytest.raises(TypeError, match="float64 on MPS"):
        torch.ones(3, device="mps").double()
