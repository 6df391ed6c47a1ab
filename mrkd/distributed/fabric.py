"""Devices and precision by Lightning Fabric, with the network left unwrapped."""

import logging
import os
import warnings
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.strategies.ddp import DDPStrategy
from lightning_utilities.core import rank_zero
from torch import nn

from mrkd.config import Config
from mrkd.errors import UserError


class NoWrapDDP(DDPStrategy):
    """A process per device, the module left as it is; gradients are averaged by `average_gradients`, or by FSDP.

    DistributedDataParallel itself expects one forward pass per backward pass that uses every parameter. Here there are
    two, of global and of local views, and the second leaves some parameters out.
    """

    def setup_module(self, module: nn.Module) -> nn.Module:  # type: ignore[override]
        """The module itself."""
        return module


def automatic_precision(accelerator: str) -> str:
    """bfloat16 for the networks where the device multiplies it faster than float32; losses are float32 everywhere."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if accelerator != "cpu" and (cuda or mps):
        return "bf16-mixed" if cuda else "32-true"
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if fast else "32-true"


def make_fabric(config: Config) -> Fabric:
    """Devices and precision, launched and seeded."""
    warnings.filterwarnings("ignore", message=".*lightning.*", module="lightning.*")
    rank_zero.log.setLevel(logging.WARNING)  # it announces the precision
    train = config.train
    precision = automatic_precision(train.accelerator) if train.precision == "auto" else train.precision
    started = int(os.environ.get("WORLD_SIZE", train.devices))
    if started != train.processes:
        raise UserError(
            f"train.devices * train.nodes must be the number of processes that were started, {started}, "
            f"got {train.devices} * {train.nodes}"
        )
    # Left to itself, Fabric would take a SLURM job of one task for a mistake.
    environment = None if "TORCHELASTIC_RUN_ID" in os.environ else LightningEnvironment()
    try:
        fabric = Fabric(
            accelerator=train.accelerator,
            devices=train.devices,
            num_nodes=train.nodes,
            strategy=NoWrapDDP(cluster_environment=environment) if train.processes > 1 else "auto",
            precision=precision,  # type: ignore[arg-type]
        )
    except (ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"train.accelerator, train.devices and train.precision do not go together: {reason}") from None
    fabric.launch()
    fabric.seed_everything(config.train.seed, verbose=False)
    return fabric


class AutocastForward:
    """The forward pass as Fabric's wrapper of the network takes it, in whatever precision.

    The wrapper itself forbids every way back but Fabric's own, and shares and parts of a batch ask autograd directly.
    """

    def __init__(self, network: nn.Module, fabric: Fabric) -> None:
        self.network, self.precision = network, fabric.strategy.precision

    def __call__(self, *given: Any) -> Any:
        """The network's outputs, floating-point tensors as float32."""
        given, _ = self.precision.convert_input((given, {}))
        with self.precision.forward_context():
            return self.precision.convert_output(self.network(*given))
