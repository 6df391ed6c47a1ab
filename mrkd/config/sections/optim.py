"""Section `optim`: the optimizer, its schedules, and the teacher's momentum."""

from __future__ import annotations

from dataclasses import dataclass

from mrkd.config.checks import check_fraction, check_least, check_positive, require


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """The optimizer and its schedules; warm-up lengths are fractions of the run, so any recipe can be shortened."""

    name: str = "adamw"
    """`adamw`, or `muon`: Muon (orthogonalised momentum) for the linear layers of the ViT's blocks, AdamW for the other
    parameters."""
    learning_rate: float = 5e-4
    """Peak learning rate at batch 256; scaled by batch / 256."""
    final_learning_rate: float = 1e-6
    """Learning rate at the last step, not scaled."""
    warmup: float = 0.1
    """Linear warm-up, as a fraction of the run."""
    weight_decay: float = 0.04
    """Weight decay at the first step; biases and norms have none."""
    final_weight_decay: float = 0.4
    """Weight decay at the last step, reached along a cosine."""
    decay_embeddings: bool = False
    """Weight decay also for class and mask token, position embeddings and prototypes, as in DINO, iBOT and DINOv2."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's betas."""
    muon_rate_factor: float = 3.0
    """Muon's learning rate as a multiple of AdamW's; at 1 both have updates of the same root mean square."""
    muon_head: bool = False
    """Use Muon also for the predictor and for the linear layers of the head except its prototypes."""
    clip: float = 3.0
    """Gradients are clipped to this norm; 0 turns clipping off."""
    ema: float = 0.996
    """Teacher momentum at the first step; rises to `final_ema` along a cosine."""
    final_ema: float = 1.0
    """Teacher momentum at the last step."""
    freeze_prototypes: float = 0.01
    """Fraction of the run, from its start, in which the prototypes are not trained."""

    def __post_init__(self) -> None:
        require(self.learning_rate > 0, f"optim.learning_rate must be positive, got {self.learning_rate}")
        check_positive("optim", self, "muon_rate_factor")
        for name in ("warmup", "ema", "final_ema", "freeze_prototypes"):
            check_fraction(f"optim.{name}", getattr(self, name))
        check_least(0, "optim", self, "final_learning_rate", "weight_decay", "final_weight_decay", "clip")
        require(
            all(0 <= beta < 1 for beta in self.betas),
            f"optim.betas must each be at least 0 and below 1, got {list(self.betas)}",
        )
