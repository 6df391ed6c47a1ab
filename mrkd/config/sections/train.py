"""Section `train`: length, batch, hardware, monitoring and checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mrkd.config.checks import check_least, check_seed, require
from mrkd.config.setting import setting


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Length, batch, hardware, monitoring and checkpoints."""

    epochs: int = setting(100, equal_among_compared=True)
    """Number of passes over the training images."""
    steps: int | None = setting(None, equal_among_compared=True)
    """Length of the run in steps; overrides `epochs`."""
    minutes: float | None = setting(None, equal_among_compared=True)
    """Minutes for the whole training: steps are timed at its start, and `steps` is set to the number that fits."""
    batch: int = setting(256, equal_among_compared=True)
    """Number of images per step, over all devices. `auto` is the same as `auto_batch: true`."""
    auto_batch: bool = setting(False, equal_among_compared=True)
    """Choose `batch` at the start: on a GPU by its memory, on a CPU by the number of images."""
    seed: int = 0
    """Seed of weights, data order, views and masks."""
    accelerator: str = "auto"
    """Lightning Fabric's accelerator: auto, cpu, cuda, mps."""
    devices: int = setting(1, resumable=True)
    """Number of devices on each node, or of processes on a CPU; the batch is split among them."""
    nodes: int = setting(1, resumable=True)
    """Number of machines with `devices` devices each; torchrun starts more than one."""
    strategy: Literal["ddp", "fsdp"] = setting("ddp", resumable=True)
    """With several processes: `ddp` has full networks on each device, `fsdp` shards parameters and optimizer state."""
    precision: str = "auto"
    """auto, 32-true or bf16-mixed, as Lightning Fabric names them; auto is bf16-mixed on CUDA and on CPUs that multiply
    bfloat16 (AVX-512 BF16, AMX), 32-true elsewhere."""
    micro_batch: int | None = None
    """Number of views that go through the backbone of a device at a time; null processes all at once. Losses still use
    the whole batch. Saves memory at the cost of one more forward pass of the student."""
    activation_checkpointing: bool = setting(False, resumable=True, formerly="train.checkpoint_activations")
    """Recompute each block in the backward pass instead of storing its activations: less memory, more time."""
    compile: bool = setting(False, resumable=True)
    """Compile the networks' blocks with torch.compile, which takes 10 s to a minute at the first step. On a CPU it
    gained 1 to 4 % (docs/results/performance.md)."""
    log_steps: int = setting(10, resumable=True)
    """Number of steps between two records of metrics."""
    logger: Literal["none", "wandb", "mlflow"] = setting("none", resumable=True)
    """Further loggers besides `metrics.jsonl` and TensorBoard files; each needs its extra, such as `mrkd[wandb]`."""
    monitor_times: int = setting(8, resumable=True)
    """Number of measurements of features (k-NN, RankMe) on training images, evenly spaced over the run."""
    monitor_images: int = setting(4000, resumable=True)
    """Maximum number of training images for these measurements."""
    relation_images: int = setting(64, resumable=True)
    """Number of training images whose relations are recorded at each measurement, for the report; 0 records none."""
    on_collapse: Literal["warn", "stop"] = setting("warn", resumable=True)
    """What to do if features are collapsed in the second half of the run: only warn, or stop. Warnings come at once."""
    on_nonfinite: Literal["stop", "skip"] = setting("stop", resumable=True)
    """What to do if a loss term or the gradient norm is NaN or infinite; `skip` leaves the weights unchanged."""
    max_skipped_steps: int = setting(10, resumable=True)
    """With `skip`, the run stops after more skipped steps than this."""
    checkpoint_steps: int = setting(500, resumable=True)
    """Number of steps between two checkpoints: at most this many steps are lost in a crash."""
    checkpoint_seconds: float = setting(300.0, resumable=True)
    """With slow steps, a checkpoint is also written this many seconds after the last one."""
    keep_checkpoints: int = setting(2, resumable=True)
    """Number of checkpoints to keep, besides the one with the best k-NN; a second is used if the last is damaged."""

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
        """Whether each process holds only a shard of the networks."""
        return self.strategy == "fsdp" and self.processes > 1
