"""The losses run where only torch, numpy and numba are installed, with what these three require."""

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

from tests.helpers.blocked import without

NEEDED = ("torch", "numpy", "numba")


def installed_with(*names: str) -> set[str]:
    """These distributions and all that they require, in normal form."""
    found: set[str] = set()
    missing = list(names)
    while missing:
        name = re.sub(r"[-_.]+", "-", missing.pop()).lower()
        if name in found:
            continue
        found.add(name)
        try:
            lines = requires(name) or []
        except PackageNotFoundError:  # of another platform
            continue
        missing += [re.match(r"[\w.-]+", line)[0] for line in lines if "extra ==" not in line]
    return found


def other_packages() -> list[str]:
    """Top-level modules of all other installed distributions."""
    kept = installed_with(*NEEDED)
    return sorted(
        module
        for module, distributions in packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", name).lower() for name in distributions} & kept
        and module.isidentifier()
        and module not in ("mrkd", "_distutils_hack")
        and not module.startswith("__editable__")
    )


RUN_LOSSES = """
import torch
import mrkd.losses
from mrkd.losses import nt_xent, rkd_angle, rkd_angle_sampled, rkd_distance, structural
student = torch.randn(16, 4, requires_grad=True)
teacher = torch.randn(16, 6)
loss = rkd_distance(student, teacher) + rkd_angle(student, teacher) + structural(student, teacher)
loss.backward()
assert student.grad.abs().sum() > 0
for name in mrkd.losses.__all__:
    getattr(mrkd.losses, name)
from mrkd.distributed import all_gather_with_grad
assert all_gather_with_grad(teacher) is teacher
assert "numba" in sys.modules
"""


def test_losses_run_without_any_other_package():
    blocked = other_packages()
    assert {"timm", "lightning_fabric", "sklearn", "scipy", "yaml", "PIL", "matplotlib"} <= set(blocked)
    assert not {"torch", "numpy", "numba", "llvmlite", "typing_extensions"} & set(blocked)
    done = subprocess.run(
        [sys.executable, "-c", without(*blocked) + RUN_LOSSES], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
