"""Every setting and every default, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from mrkd.errors import UserError


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


def _check_fraction(name: str, value: float) -> None:
    _require(0.0 <= value <= 1.0, f"{name} must be a fraction in [0, 1], got {value}")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images, how many, at which size."""

    source: str = "digits"
    """`digits` or `shapes` (embedded); a folder of images, of parquet files or of WebDataset shards (.tar); one such
    file; a CSV or TSV of paths; or `owner/name` on the Hugging Face hub (`hf:owner/name:configuration` in full)."""
    size: int = 32
    """Side of the square images the network sees, in pixels."""
    train_images: int | None = None
    """Use at most this many training images (a fixed random choice); all of them when null."""
    test_images: int | None = None
    """Use at most this many test images; all of them when null."""
    holdout: Literal["test", "validation"] = "test"
    """What evaluations score: the test split, or a fifth set aside from the training images (for every choice)."""
    image_column: str | None = None
    """Column of the images, or of their paths; usual names such as `image` or `path` are found when null."""
    label_column: str | None = None
    """Column of the labels, numbers or names; usual names such as `label` or `class` are found when null."""
    use_labels: bool = True
    """Whether to look for labels at all; folders by date, for example, are no classes."""
    outside_paths: bool = False
    """Whether a CSV may name files outside its own folder."""
    cache: str | None = "auto"
    """Folder for decoded images, so that the next run starts at once; null keeps none.
    `auto` is $MRKD_CACHE, or mrkd in the user's cache folder."""
    cache_gib: float = 20.0
    """The least recently used decoded images are removed from the cache above this many GiB."""
    max_broken_fraction: float = 0.05
    """Broken images are skipped and counted; above this fraction the data is refused."""
    mode: Literal["auto", "resident", "stream"] = "auto"
    """Training images are decoded once into memory, or by worker processes while training; `auto` streams a set that
    needs more than `max_resident_gib`."""
    max_resident_gib: float = 8.0
    """The most GiB of decoded images in memory; evaluations refuse a larger set."""
    workers: int | None = None
    """Processes that decode for a stream, for each device; null takes the cores there are."""
    max_pixels: int = 50_000_000
    """An image of more pixels (width times height) counts as broken and is not decoded."""

    def __post_init__(self) -> None:
        _require(self.size >= 8, f"data.size must be at least 8 pixels, got {self.size}")
        _require(self.max_pixels >= 1, f"data.max_pixels must be at least 1, got {self.max_pixels}")
        _require(self.workers is None or self.workers >= 1, f"data.workers must be at least 1, got {self.workers}")
        _require(self.cache_gib > 0, f"data.cache_gib must be positive, got {self.cache_gib}")
        _check_fraction("data.max_broken_fraction", self.max_broken_fraction)
        for name in ("train_images", "test_images"):
            value = getattr(self, name)
            _require(value is None or value >= 2, f"data.{name} must be at least 2, got {value}")


@dataclass(frozen=True, kw_only=True)
class ViewsConfig:
    """Random views of each image. Defaults suit 32-pixel photographs: no blur."""

    crop_scale: tuple[float, float] = (0.25, 1.0)
    """Area of a global crop, as a fraction of the image's."""
    crop_ratio: tuple[float, float] = (0.75, 1.3333)
    """Aspect ratio of a crop, width over height."""
    local_views: int = 0
    """Number of small crops that only the student sees; 0 for none."""
    local_size: int = 16
    """Side of a local crop, in pixels; a multiple of the patch size."""
    local_scale: tuple[float, float] = (0.08, 0.25)
    """Area of a local crop, as a fraction of the image's."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    rotate_degrees: float = 0.0
    """Rotations are drawn from plus or minus this many degrees."""
    jitter: float = 0.8
    """Probability of colour jitter."""
    brightness: float = 0.4
    """Strength of the brightness jitter: a factor from 1 - x to 1 + x."""
    contrast: float = 0.4
    """Strength of the contrast jitter, likewise."""
    saturation: float = 0.2
    """Strength of the saturation jitter, likewise."""
    hue: float = 0.1
    """Strength of the hue jitter, as a fraction of the colour circle."""
    grey: float = 0.2
    """Probability of losing all colour."""
    blur: float = 0.0
    """Probability of a Gaussian blur; meant for 96 pixels and more."""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Its standard deviation is drawn between these, in pixels of a 224-pixel view; smaller views get less."""

    def __post_init__(self) -> None:
        for name in ("flip", "jitter", "grey", "blur"):
            _check_fraction(f"views.{name}", getattr(self, name))
        for name in ("crop_scale", "local_scale"):
            low, high = getattr(self, name)
            _require(0 < low <= high <= 1, f"views.{name} must satisfy 0 < low <= high <= 1, got ({low}, {high})")
        _require(
            0 < self.blur_sigma[0] <= self.blur_sigma[1],
            f"views.blur_sigma must satisfy 0 < low <= high, got {self.blur_sigma}",
        )
        _require(self.local_views >= 0, f"views.local_views must be 0 or more, got {self.local_views}")


@dataclass(frozen=True, kw_only=True)
class MaskConfig:
    """Which patches the student does not see."""

    kind: Literal["random", "block"] = "random"
    """Independent patches, or rectangles of neighbouring patches."""
    ratio: tuple[float, float] = (0.2, 0.5)
    """Fraction of masked patches, drawn anew for each image between these two."""
    probability: float = 0.5
    """Probability that a view is masked at all."""

    def __post_init__(self) -> None:
        low, high = self.ratio
        _require(0 <= low <= high < 1, f"mask.ratio must satisfy 0 <= low <= high < 1, got ({low}, {high})")
        _check_fraction("mask.probability", self.probability)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The Vision Transformer, by timm name or by its sizes."""

    name: str | None = None
    """A timm ViT such as `vit_small_patch16_224`; null builds one from the sizes below."""
    weights: str | None = None
    """Start from these instead of random weights: a file of a timm ViT (safetensors, pth), a run, or an export of one.
    Position embeddings are resampled to `data.size`."""
    patch: int = 8
    """Side of a patch in pixels, for a ViT built from sizes."""
    width: int = 192
    """Embedding width, for a ViT built from sizes."""
    depth: int = 12
    """Number of blocks, for a ViT built from sizes."""
    heads: int = 3
    """Attention heads per block, for a ViT built from sizes."""
    drop_path: float = 0.0
    """Stochastic depth of the student, as the probability at the last block."""

    def __post_init__(self) -> None:
        _check_fraction("model.drop_path", self.drop_path)
        if self.name is None:
            for name in ("patch", "width", "depth", "heads"):
                _require(getattr(self, name) >= 1, f"model.{name} must be at least 1, got {getattr(self, name)}")
            _require(
                self.width % self.heads == 0,
                f"model.width must be a multiple of model.heads = {self.heads}, got {self.width}",
            )


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """The projection head, shared by class and patch tokens, used by iBOT's terms."""

    prototypes: int = 1024
    """Number of prototypes K."""
    hidden: int = 2048
    """Width of the hidden layers."""
    bottleneck: int = 256
    """Width before the prototypes."""
    layers: int = 3
    """Linear layers up to the bottleneck."""
    norm: Literal["batch", "none"] = "batch"
    """BatchNorm after each hidden layer removes the plateau at initialisation; `none` is the original head."""

    def __post_init__(self) -> None:
        for name in ("prototypes", "hidden", "bottleneck", "layers"):
            _require(getattr(self, name) >= 1, f"head.{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """How the teacher's logits become targets for iBOT's cross-entropy."""

    student_temperature: float = 0.1
    """Divides the student's cosines."""
    teacher_temperature: float = 0.07
    """Divides the teacher's cosines after the warm-up."""
    teacher_temperature_start: float = 0.04
    """Divides them at the first step."""
    teacher_temperature_warmup: float = 0.3
    """Part of the run over which it rises, as a fraction."""
    centering: Literal["sinkhorn", "ema"] = "sinkhorn"
    """Sinkhorn-Knopp on each batch, or iBOT's moving centre."""
    sinkhorn_iterations: int = 3
    """Row-and-column normalisations."""
    center_momentum: float = 0.9
    """Momentum of the moving centre."""

    def __post_init__(self) -> None:
        for name in ("student_temperature", "teacher_temperature", "teacher_temperature_start"):
            _require(getattr(self, name) > 0, f"distillation.{name} must be positive, got {getattr(self, name)}")


TokenKind = Literal["cls", "patch-position", "patch-image"]
Space = Literal["backbone", "projection", "bottleneck", "logits"]


@dataclass(frozen=True, kw_only=True)
class Term:
    """One named loss of a method."""

    loss: str
    """A name from the tables in `mrkd.losses.objective`."""
    tokens: TokenKind = "cls"
    """Class tokens across the batch, patches at one position across the batch, or patches within an image."""
    space: Space = "backbone"
    """Backbone output, or the head's last linear layer, its normalised form or the prototype logits."""
    block: int | None = None
    """A block of the backbone, counted from 0, whose output is used instead of the backbone's."""
    rows: Literal["all", "masked"] = "all"
    """Which patches a patch relation starts from."""
    anchors: Literal["own", "teacher"] = "own"
    """Relations to one's own other tokens, or of both networks to the teacher's."""
    weight: float = 1.0
    """Factor of this term in the sum."""
    share: float | None = None
    """Instead of a weight: the term's gradient at the backbone's output is this many times as long as that of all
    terms with a plain weight together."""
    ramp: float = 0.0
    """Part of the run over which the weight rises from 0, as a fraction."""
    options: dict[str, Any] = field(default_factory=dict)
    """The loss function's own keyword arguments, such as `standardize: true`."""

    def __post_init__(self) -> None:
        _require(self.weight >= 0, f"term {self.loss}: weight must be 0 or more, got {self.weight}")
        _require(self.share is None or self.share > 0, f"term {self.loss}: share must be positive, got {self.share}")
        _require(self.block is None or self.block >= 0, f"term {self.loss}: block must be 0 or more, got {self.block}")
        _check_fraction(f"term {self.loss}: ramp", self.ramp)


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Which method, and how its terms are weighed."""

    method: str = "ibot+rkd-d"
    """A name from `mrkd methods`, or several joined by `+`."""
    terms: list[Term] | None = None
    """A method of one's own: when given, these terms are used and `method` is only their name."""
    relation_weight: float = 5.0
    """Factor on every relation that is added to another kind of loss."""
    relation_share: float | None = None
    """Instead of that factor: length of the relations' gradient over the other terms' (see `Term.share`)."""
    relation_space: Space | None = None
    """Overrides the space of every relation; null keeps each method's own."""
    relation_options: dict[str, Any] = field(default_factory=dict)
    """Options laid over those of every relation that has them, such as `{standardize: true}`."""
    patch_relation_weight: float = 1.0
    """Factor on relations between patches, beside those between images."""
    koleo: float = 0.0
    """Weight of KoLeo on the backbone's class tokens, added to iBOT's class term when no relation is present."""

    def __post_init__(self) -> None:
        for name in ("relation_weight", "patch_relation_weight", "koleo"):
            _require(getattr(self, name) >= 0, f"objective.{name} must be 0 or more, got {getattr(self, name)}")
        _require(
            self.relation_share is None or self.relation_share > 0,
            f"objective.relation_share must be positive, got {self.relation_share}",
        )


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW and its schedules; warm-up lengths are fractions of the run, so any recipe can be shortened."""

    learning_rate: float = 5e-4
    """Peak learning rate at batch 256; scaled by batch / 256."""
    final_learning_rate: float = 1e-6
    """Learning rate at the last step, not scaled."""
    warmup: float = 0.1
    """Linear warm-up, as a fraction of the run."""
    weight_decay: float = 0.04
    """At the first step; biases, norms and tokens are exempt."""
    final_weight_decay: float = 0.4
    """At the last step, reached along a cosine."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's momenta."""
    clip: float = 3.0
    """Largest gradient norm; 0 turns clipping off."""
    ema: float = 0.996
    """Teacher momentum at the first step; rises to `final_ema` along a cosine."""
    final_ema: float = 1.0
    """Teacher momentum at the last step."""
    freeze_prototypes: float = 0.01
    """The prototypes stay fixed for this fraction of the run."""

    def __post_init__(self) -> None:
        _require(self.learning_rate > 0, f"optim.learning_rate must be positive, got {self.learning_rate}")
        for name in ("warmup", "ema", "final_ema", "freeze_prototypes"):
            _check_fraction(f"optim.{name}", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Length, batch, hardware and what is watched."""

    epochs: int = 100
    """Passes over the training images."""
    steps: int | None = None
    """Length of the run in steps; takes the place of `epochs` when given."""
    minutes: float | None = None
    """Time for the whole training; steps are timed at its start, and `steps` is set to the number that fits."""
    batch: int = 256
    """Images per step; each gives all its views. `auto` stands for `auto_batch`."""
    auto_batch: bool = False
    """Choose `batch` at the start: as many as the device's memory holds, or on a CPU by the number of images."""
    seed: int = 0
    """Seeds weights, data order, views and masks."""
    accelerator: str = "auto"
    """Lightning Fabric's accelerator: auto, cpu, cuda, mps."""
    devices: int = 1
    """Devices on each node, one process each, or processes with `--train.accelerator cpu`; the batch is shared out."""
    nodes: int = 1
    """Number of machines, each with `devices` devices; more than one is started by torchrun."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """With several processes: whole networks on each device, or all parameters and their state cut into shares."""
    precision: str = "auto"
    """Lightning Fabric's precision, without float16; auto is bf16-mixed on CUDA and on CPUs that multiply bfloat16
    (AVX-512 BF16, AMX), 32-true elsewhere."""
    micro_batch: int | None = None
    """Views that go through a device's backbone at a time; null takes all at once. Losses still see the whole batch, so
    that it may be larger than the memory allows; costs one more forward pass."""
    checkpoint_activations: bool = False
    """Compute each block again in the backward pass instead of keeping what is inside it: less memory, more time."""
    compile: bool = False
    """Compile the networks' blocks with torch.compile when they are first used, which takes 10 s to a minute. On a CPU
    it gained 1 to 4 % (docs/results/performance.md)."""
    log_steps: int = 10
    """Metrics are written every so many steps."""
    logger: Literal["none", "wandb", "mlflow"] = "none"
    """Where metrics go as well, besides `metrics.jsonl` and TensorBoard files; each needs its extra, `mrkd[wandb]`."""
    monitor_times: int = 8
    """How often, evenly over the run, features are measured on the training images (k-NN, RankMe)."""
    monitor_images: int = 4000
    """At most this many training images are used for that."""
    relation_images: int = 64
    """The relations of this many training images are kept at every monitoring, for the report; 0 keeps none."""
    on_collapse: Literal["warn", "stop"] = "warn"
    """What to do when the health check names a collapse in the last half of the run; a warning comes at once."""
    on_nonfinite: Literal["stop", "skip"] = "stop"
    """What to do when a loss term or the gradient's norm is NaN or infinite; `skip` leaves the weights as they were."""
    max_skipped_steps: int = 10
    """With `skip`, more skipped steps than this stop the run all the same."""
    checkpoint_steps: int = 500
    """A checkpoint is written every so many steps: at most this many steps are lost to a crash."""
    checkpoint_seconds: float = 300.0
    """And when so many seconds have passed since the last one, for slow steps."""
    keep_checkpoints: int = 2
    """Number of checkpoints kept, besides the one with the best k-NN; the second serves when the first is damaged."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "log_steps", "devices", "nodes", "checkpoint_steps", "keep_checkpoints"):
            _require(getattr(self, name) >= 1, f"train.{name} must be at least 1, got {getattr(self, name)}")
        _require(self.steps is None or self.steps >= 1, f"train.steps must be at least 1, got {self.steps}")
        _require(self.minutes is None or self.minutes > 0, f"train.minutes must be positive, got {self.minutes}")
        _require(
            self.precision not in ("16", "16-mixed", "16-true"),
            f"train.precision must be auto, 32-true, bf16-mixed or another without float16, got {self.precision}",
        )
        _require(
            self.micro_batch is None or self.micro_batch >= 1,
            f"train.micro_batch must be at least 1, got {self.micro_batch}",
        )
        _require(self.batch >= 2, f"train.batch must be at least 2, because relations need pairs, got {self.batch}")
        _require(
            self.batch % self.processes == 0,
            f"train.batch must be a multiple of train.devices * train.nodes = {self.processes}, got {self.batch}",
        )
        _require(
            self.relation_images == 0 or self.relation_images >= 3,
            f"train.relation_images must be 0, or at least 3, got {self.relation_images}",
        )
        _require(
            self.checkpoint_seconds > 0, f"train.checkpoint_seconds must be positive, got {self.checkpoint_seconds}"
        )
        _require(
            self.max_skipped_steps >= 0, f"train.max_skipped_steps must be 0 or more, got {self.max_skipped_steps}"
        )

    @property
    def processes(self) -> int:
        """Number of processes that train together."""
        return self.devices * self.nodes


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How the frozen backbone, and the fine-tuned one, are measured."""

    k: int = 20
    """Neighbours of the weighted k-NN."""
    knn_temperature: float = 0.07
    """Votes weigh exp(cosine / this)."""
    linear_epochs: tuple[int, ...] = (10, 100)
    """Lengths of the linear probe, in epochs; each is reported."""
    linear_batch: int = 256
    """Images per step of the linear probe."""
    linear_learning_rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    """Candidates; one is chosen on training images held out from the probe."""
    finetune_epochs: int = 10
    """Length of the fine-tuning of all weights from the class token; 0 skips it."""
    finetune_batch: int = 128
    """Images per step of the fine-tuning."""
    finetune_learning_rates: tuple[float, ...] = (5e-4, 2e-3)
    """Candidates; one is chosen on held-out training images."""
    cluster_restarts: int = 10
    """k-means initialisations; the lowest inertia is kept."""
    cluster_head_epochs: int = 20
    """Length of training of the clustering head on frozen features; 0 skips it."""
    map_images: int = 1000
    """At most this many test images are laid out on the report's map; 0 makes none."""
    heldout_fraction: float = 0.2
    """Part of the training images held out for choices, and for the k-NN shown during training."""
    seed: int = 0
    """Seeds the probes and k-means."""

    def __post_init__(self) -> None:
        _require(self.k >= 1, f"evaluation.k must be at least 1, got {self.k}")
        _require(
            self.map_images == 0 or self.map_images >= 10,
            f"evaluation.map_images must be 0, or at least 10, got {self.map_images}",
        )
        _require(
            0 < self.heldout_fraction < 1, f"evaluation.heldout_fraction must be in (0, 1), got {self.heldout_fraction}"
        )
        _require(len(self.linear_epochs) > 0, "evaluation.linear_epochs must name at least one length, got none")


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    """The attention figure."""

    images: int = 6
    """Number of images shown."""
    scale: int = 3
    """Images are enlarged this many times before the network sees them, for finer maps."""
    mass: float = 0.6
    """A mask keeps the patches that hold this fraction of a head's attention."""

    def __post_init__(self) -> None:
        _require(self.images >= 1 and self.scale >= 1, "attention.images and attention.scale must be at least 1")
        _require(0 < self.mass <= 1, f"attention.mass must be in (0, 1], got {self.mass}")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides a run."""

    data: DataConfig = field(default_factory=DataConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    attention: AttentionConfig = field(default_factory=AttentionConfig)
