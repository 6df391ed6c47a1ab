"""The optimizer and its parameter groups."""

from torch import nn
from torch.optim import AdamW

from mrkd.config import OptimConfig


def make_optimizer(module: nn.Module, config: OptimConfig) -> AdamW:
    """AdamW in two groups: matrices with weight decay; biases, norms, tokens, rotations and prototypes without."""
    decayed: list[nn.Parameter] = []
    exempt: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        leaf = name.rpartition(".")[2]
        positions = ("pos_embed", "cls_token", "mask_token", "reg_token", "freqs")
        free = parameter.ndim < 2 or leaf in positions or "prototypes" in name
        (exempt if free else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": exempt, "weight_decay": 0.0}]
    return AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


def set_schedule(optimizer: AdamW, learning_rate: float, weight_decay: float) -> None:
    """Write this step's values; the exempt group keeps no weight decay."""
    for index, group in enumerate(optimizer.param_groups):
        group["lr"] = learning_rate
        group["weight_decay"] = weight_decay if index == 0 else 0.0
