"""Settings of the optimizer and of the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mrkd.config.checks import check_fraction, check_least, check_positive, check_seed, require
from mrkd.config.setting import setting


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """The optimizer and its schedules; warm-up lengths are fractions of the run, so any recipe can be shortened."""

    name: str = "adamw"
    """adamw, or muon: momentum with orthogonalised matrices for the linear layers of the ViT's blocks, AdamW for
    everything else."""
    learning_rate: float = 5e-4
    """Peak learning rate at batch 256; scaled by batch / 256."""
    final_learning_rate: float = 1e-6
    """Learning rate at the last step, not scaled."""
    warmup: float = 0.1
    """Linear warm-up, as a fraction of the run."""
    weight_decay: float = 0.04
    """At the first step; biases, norms, tokens, rotations and prototypes are exempt."""
    final_weight_decay: float = 0.4
    """At the last step, reached along a cosine."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's momenta."""
    muon_rate_factor: float = 3.0
    """Muon's learning rate as a multiple of AdamW's; an update has the same root mean square at the same rate."""
    muon_head: bool = False
    """Muon for the linear layers of the head, without its prototypes, and for the predictor too."""
    clip: float = 3.0
    """Largest gradient norm; 0 turns clipping off."""
    ema: float = 0.996
    """Teacher momentum at the first step; rises to `final_ema` along a cosine."""
    final_ema: float = 1.0
    """Teacher momentum at the last step."""
    freeze_prototypes: float = 0.01
    """The prototypes stay fixed for this fraction of the run."""

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


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Length, batch, hardware and what is watched."""

    epochs: int = setting(100, equal_among_compared=True)
    """Passes over the training images."""
    steps: int | None = setting(None, equal_among_compared=True)
    """Length of the run in steps; takes the place of `epochs` when given."""
    minutes: float | None = setting(None, equal_among_compared=True)
    """Time for the whole training; steps are timed at its start, and `steps` is set to the number that fits."""
    batch: int = setting(256, equal_among_compared=True)
    """Images per step; each gives all its views. `auto` stands for `auto_batch`."""
    auto_batch: bool = setting(False, equal_among_compared=True)
    """Choose `batch` at the start: as many as the device's memory holds, or on a CPU by the number of images."""
    seed: int = 0
    """Seeds weights, data order, views and masks."""
    accelerator: str = "auto"
    """Lightning Fabric's accelerator: auto, cpu, cuda, mps."""
    devices: int = setting(1, resumable=True)
    """Devices on each node, one process each, or processes with `--train.accelerator cpu`; the batch is shared out."""
    nodes: int = setting(1, resumable=True)
    """Number of machines, each with `devices` devices; more than one is started by torchrun."""
    strategy: Literal["ddp", "fsdp"] = setting("ddp", resumable=True)
    """With several processes: whole networks on each device, or all parameters and their state cut into shares."""
    precision: str = "auto"
    """auto, 32-true or bf16-mixed, as Lightning Fabric names them; auto is bf16-mixed on CUDA and on CPUs that multiply
    bfloat16 (AVX-512 BF16, AMX), 32-true elsewhere."""
    micro_batch: int | None = None
    """Views that go through a device's backbone at a time; null takes all at once. Losses still see the whole batch, so
    that it may be larger than the memory allows; costs one more forward pass."""
    activation_checkpointing: bool = setting(False, resumable=True, formerly="train.checkpoint_activations")
    """Compute each block again in the backward pass instead of keeping what is inside it: less memory, more time."""
    compile: bool = setting(False, resumable=True)
    """Compile the networks' blocks with torch.compile when they are first used, which takes 10 s to a minute. On a CPU
    it gained 1 to 4 % (docs/results/performance.md)."""
    log_steps: int = setting(10, resumable=True)
    """Metrics are written every so many steps."""
    logger: Literal["none", "wandb", "mlflow"] = setting("none", resumable=True)
    """Where metrics go as well, besides `metrics.jsonl` and TensorBoard files; each needs its extra, `mrkd[wandb]`."""
    monitor_times: int = setting(8, resumable=True)
    """How often, evenly over the run, features are measured on the training images (k-NN, RankMe)."""
    monitor_images: int = setting(4000, resumable=True)
    """At most this many training images are used for that."""
    relation_images: int = setting(64, resumable=True)
    """The relations of this many training images are kept at every monitoring, for the report; 0 keeps none."""
    on_collapse: Literal["warn", "stop"] = setting("warn", resumable=True)
    """What to do when the health check names a collapse in the last half of the run; a warning comes at once."""
    on_nonfinite: Literal["stop", "skip"] = setting("stop", resumable=True)
    """What to do when a loss term or the gradient's norm is NaN or infinite; `skip` leaves the weights as they were."""
    max_skipped_steps: int = setting(10, resumable=True)
    """With `skip`, more skipped steps than this stop the run all the same."""
    checkpoint_steps: int = setting(500, resumable=True)
    """A checkpoint is written every so many steps: at most this many steps are lost to a crash."""
    checkpoint_seconds: float = setting(300.0, resumable=True)
    """And when so many seconds have passed since the last one, for slow steps."""
    keep_checkpoints: int = setting(2, resumable=True)
    """Number of checkpoints kept, besides the one with the best k-NN; the second serves when the first is damaged."""

    def __post_init__(self) -> None:
        counts = ("epochs", "steps", "batch", "micro_batch", "devices", "nodes", "log_steps", "monitor_times")
        check_least(1, "train", self, *counts, "checkpoint_steps", "keep_checkpoints")
        check_least(10, "train", self, "monitor_images")
        check_least(0, "train", self, "max_skipped_steps")
        check_seed("train.seed", self.seed)
        require(self.minutes is None or self.minutes > 0, f"train.minutes must be positive, got {self.minutes}")
        require(
            self.precision in ("auto", "32-true", "bf16-mixed"),
            f"train.precision must be auto, 32-true or bf16-mixed, got {self.precision}",
        )
        require(self.batch >= 2, f"train.batch must be at least 2, because relations need pairs, got {self.batch}")
        require(
            self.batch % self.processes == 0,
            f"train.batch must be a multiple of train.devices * train.nodes = {self.processes}, got {self.batch}",
        )
        require(
            self.relation_images == 0 or self.relation_images >= 3,
            f"train.relation_images must be 0, or at least 3, got {self.relation_images}",
        )
        require(
            self.checkpoint_seconds > 0, f"train.checkpoint_seconds must be positive, got {self.checkpoint_seconds}"
        )

    @property
    def processes(self) -> int:
        """Number of processes that train together."""
        return self.devices * self.nodes

    @property
    def sharded(self) -> bool:
        """Whether each process holds a share of the networks."""
        return self.strategy == "fsdp" and self.processes > 1
