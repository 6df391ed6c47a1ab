"""Import Lightning Fabric without the rest of Lightning: as `lightning_fabric`, or else as `lightning.fabric`.

Fabric imports torchmetrics to compare its version, and torchmetrics imports torchvision, SciPy and audio packages: two
seconds at every start. Here Fabric sees a module that has only that version.
"""

import contextlib
import importlib
import importlib.metadata
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy


@contextlib.contextmanager
def version_only(package: str) -> Iterator[None]:
    """Inside, importing `package` gives an empty module with its version, unless it is imported already or missing."""
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        version = None
    if version is None or package in sys.modules:
        yield
        return
    stub = ModuleType(package)
    stub.__dict__["__version__"] = version
    sys.modules[package] = stub
    try:
        yield
    finally:
        del sys.modules[package]


if not TYPE_CHECKING:
    with version_only("torchmetrics"):
        try:
            root = importlib.import_module("lightning_fabric").__name__
        except ModuleNotFoundError as error:
            if error.name != "lightning_fabric":
                raise
            root = importlib.import_module("lightning.fabric").__name__
        Fabric = importlib.import_module(root).Fabric
        LightningEnvironment = importlib.import_module(f"{root}.plugins.environments.lightning").LightningEnvironment
        DDPStrategy = importlib.import_module(f"{root}.strategies.ddp").DDPStrategy

__all__ = ["DDPStrategy", "Fabric", "LightningEnvironment"]
