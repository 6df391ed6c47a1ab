"""Set up devices, processes and precision with Lightning Fabric, without wrapping the network in DDP."""

import logging
import os
import warnings
from typing import Any

import torch
from lightning_utilities.core import rank_zero
from torch import nn

from mrkd.config import Config
from mrkd.distributed.fabric_package import DDPStrategy, Fabric, LightningEnvironment
from mrkd.errors import UserError


class NoWrapDDP(DDPStrategy):
    """Fabric's DDP strategy without the DDP wrapper: `average_gradients` or FSDP averages the gradients.

    DistributedDataParallel expects one forward pass, which uses every parameter, per backward pass. Here there are two,
    for global and for local views, and the second does not use all parameters.
    """

    def setup_module(self, module: nn.Module) -> nn.Module:  # type: ignore[override]
        """Return the module unchanged."""
        return module


def automatic_precision(accelerator: str) -> str:
    """Fabric's name of the precision for networks: bfloat16 where it is faster than float32. Losses are in float32."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if accelerator != "cpu" and (cuda or mps):
        return "bf16-mixed" if cuda else "32-true"
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if fast else "32-true"


def make_fabric(config: Config) -> Fabric:
    """Create Fabric from the settings, launch its processes and seed the random generators."""
    warnings.filterwarnings("ignore", message=".*lightning.*", module="lightning.*")
    rank_zero.log.setLevel(logging.WARNING)  # it logs the precision
    train = config.train
    precision = automatic_precision(train.accelerator) if train.precision == "auto" else train.precision
    started = int(os.environ.get("WORLD_SIZE", train.devices))
    if started != train.processes:
        raise UserError(
            f"train.devices * train.nodes must equal the number of started processes, {started}, "
            f"got {train.devices} * {train.nodes}"
        )
    # By default, Fabric would refuse a SLURM job of one task.
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
    """Calls a network in the precision of Fabric, as Fabric's own wrapper does.

    That wrapper permits no backward pass except `fabric.backward`. Gradient norm ratios and micro-batches call autograd
    directly.
    """

    def __init__(self, network: nn.Module, fabric: Fabric) -> None:
        self.network, self.precision = network, fabric.strategy.precision

    def __call__(self, *given: Any) -> Any:
        """The network's outputs, with floating-point tensors converted to float32."""
        given, _ = self.precision.convert_input((given, {}))
        with self.precision.forward_context():
            return self.precision.convert_output(self.network(*given))
