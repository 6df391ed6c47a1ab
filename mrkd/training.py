"""The training loop: one student step after another, watched."""

import io
import math
import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor

import mrkd
from mrkd.config import Config
from mrkd.data.loader import epoch_batches, steps_per_epoch
from mrkd.data.masking import draw_masks
from mrkd.data.sources import ImageSet, load, stratified_split
from mrkd.data.views import ViewMaker
from mrkd.errors import UserError
from mrkd.evaluation.collapse import Verdict, diagnose, feature_std, rankme
from mrkd.evaluation.features import extract
from mrkd.evaluation.knn import accuracy, knn_class_scores
from mrkd.gathering import gather_step, sum_over_devices
from mrkd.losses.methods import resolve_terms
from mrkd.losses.monitors import step_health
from mrkd.losses.objective import Objective
from mrkd.losses.terms import needs_of
from mrkd.model.export import save_backbone
from mrkd.model.teacher_student import TeacherStudent
from mrkd.optim import cosine, linear_ramp, make_optimizer, scaled_learning_rate, set_schedule, warmup_cosine
from mrkd.progress import Bar
from mrkd.run import BACKBONE, SUMMARY, Run, write_bytes, write_json


def pretrain(config: Config, out: str | Path) -> Path:
    """Train one method on one data set and write everything into the run directory `out`.

    Returns:
        The directory.
    Raises:
        UserError: bad settings, data or directory; a loss that is not finite.
    """
    terms = resolve_terms(config.objective)
    splits = load(config.data)
    steps_each = steps_per_epoch(len(splits.train), config.train.batch)
    steps = steps_each * config.train.epochs if terms else 0

    fabric = _make_fabric(config)
    fabric.seed_everything(config.train.seed, verbose=False)
    objective = Objective(config, terms)
    pair = TeacherStudent(config, needs_of(terms))
    objective.to(fabric.device)
    optimizer = make_optimizer(pair.network, config.optim)
    pair.student, optimizer = fabric.setup(pair.network, optimizer)
    pair.teacher.to(fabric.device)
    train = splits.train.to(fabric.device)
    view_maker = ViewMaker(config.views, config.data.size)
    mask_generator = torch.Generator().manual_seed(config.train.seed)
    monitor = FeatureMonitor(train, config)
    peak_rate = scaled_learning_rate(config.optim, config.train.batch)
    monitor_every = max(1, math.ceil(steps / max(1, config.train.monitor_times)))

    run = Run.create(out, config)
    if splits.broken:
        write_json(run.path / "broken.json", list(splits.broken))
        print(f"{len(splits.broken)} broken images were skipped; their names are in {run.path / 'broken.json'}")
    features = monitor.measure(pair)
    run.log({"step": 0, "epoch": 0.0, **features})
    verdict = Verdict(kind="healthy", sentence="healthy: not trained")
    started = time.monotonic()
    step = 0
    with Bar(f"{config.objective.method} seed {config.train.seed}", steps) as bar:
        for epoch in range(config.train.epochs if terms else 0):
            for index in epoch_batches(len(train), config.train.batch, seed=config.train.seed, epoch=epoch):
                progress = step / steps
                rate = warmup_cosine(
                    step, steps, max(1, round(config.optim.warmup * steps)), peak_rate, config.optim.final_learning_rate
                )
                decay = cosine(step, steps, config.optim.weight_decay, config.optim.final_weight_decay)
                set_schedule(optimizer, rate, decay)
                temperature = linear_ramp(
                    step,
                    steps,
                    config.distillation.teacher_temperature_warmup,
                    config.distillation.teacher_temperature_start,
                    config.distillation.teacher_temperature,
                )

                views, local = view_maker(train.images[index.to(fabric.device)])
                patch_mask = draw_masks((views.shape[0], len(index)), pair.grid, config.mask, mask_generator)
                with fabric.autocast():
                    outputs = pair(views, local, patch_mask.to(fabric.device))
                outputs = gather_step(outputs)
                losses = objective(
                    outputs,
                    teacher_temperature=temperature,
                    progress=progress,
                    sum_over_devices=sum_over_devices,
                )
                fabric.backward(losses.total)
                if pair.network.head is not None and progress < config.optim.freeze_prototypes:
                    pair.network.head.prototypes.grad = None
                # An infinite limit clips nothing and still measures.
                norm = fabric.clip_gradients(
                    pair.student, optimizer, max_norm=config.optim.clip or math.inf, error_if_nonfinite=False
                )
                assert norm is not None
                optimizer.step()
                optimizer.zero_grad()
                pair.update_teacher(cosine(step, steps, config.optim.ema, config.optim.final_ema))
                step += 1

                if step % monitor_every == 0 or step == steps:
                    features = monitor.measure(pair)
                if step % config.train.log_steps == 0 or step % monitor_every == 0 or step == steps:
                    _require_finite(losses.by_term, step)
                    health = step_health(outputs, config.distillation, temperature)
                    verdict = diagnose(
                        feature_std=features["feature_std"],
                        rank=features["rankme"],
                        width=pair.network.backbone.vit.embed_dim,
                        teacher_entropy=health.get("teacher_entropy"),
                        prototypes=config.head.prototypes,
                    )
                    seconds = time.monotonic() - started
                    fresh = features if step % monitor_every == 0 or step == steps else {}
                    run.log(
                        {
                            "step": step,
                            "epoch": step / steps_each,
                            "loss": losses.total.item(),
                            "terms": {name: value.item() for name, value in losses.by_term.items()},
                            "gradient_norm": norm.item(),
                            **health,
                            **fresh,
                            "learning_rate": rate,
                            "seconds": seconds,
                            "verdict": verdict.kind,
                            "images_per_second": step * config.train.batch / seconds,
                        }
                    )
                    if config.train.on_collapse == "stop" and verdict.kind != "healthy" and progress > 0.5:
                        raise UserError(f"stopped at step {step}: {verdict.sentence}")
                    status = _status(losses.total.item(), features, verdict)
                bar.advance(status if step >= config.train.log_steps else "")
    seconds = time.monotonic() - started
    _finish(run, config, fabric, pair, objective, optimizer, seconds, step, verdict)
    return run.path


def _make_fabric(config: Config) -> Fabric:
    import warnings

    warnings.filterwarnings("ignore", message=".*lightning.*", module="lightning.*")
    precision = config.train.precision
    if precision == "auto":
        precision = "bf16-mixed" if torch.cuda.is_available() and config.train.accelerator != "cpu" else "32-true"
    fabric = Fabric(accelerator=config.train.accelerator, devices=config.train.devices, precision=precision)  # type: ignore[arg-type]
    fabric.launch()
    return fabric


class FeatureMonitor:
    """Frozen features of training images, measured now and then; the test split is never looked at."""

    def __init__(self, train: ImageSet, config: Config) -> None:
        self.config = config
        if len(train) > config.train.monitor_images:
            train = stratified_split(train, config.train.monitor_images / len(train))[1]
        self.bank, self.queries = stratified_split(train, config.evaluation.heldout_fraction)

    def measure(self, pair: TeacherStudent) -> dict[str, float]:
        """RankMe and std of the teacher's features, and k-NN from bank to held-out training images when labelled."""
        vit = pair.teacher.backbone.vit
        bank, queries = extract(vit, self.bank.images), extract(vit, self.queries.images)
        result = {"feature_std": feature_std(queries), "rankme": rankme(queries)}
        if self.bank.labels is not None and self.queries.labels is not None:
            settings = self.config.evaluation
            votes = knn_class_scores(
                bank,
                self.bank.labels,
                queries,
                k=min(settings.k, len(bank)),
                temperature=settings.knn_temperature,
                classes=len(self.bank.class_names),
            )
            result["knn"] = accuracy(votes, self.queries.labels)
        return result


def _require_finite(by_term: dict[str, Tensor], step: int) -> None:
    for name, value in by_term.items():
        if not value.isfinite():
            raise UserError(f"the term {name} became {value.item()} at step {step}: lower optim.learning_rate")


def _status(loss: float, features: dict[str, float], verdict: Verdict) -> str:
    knn = f" · k-NN {features['knn']:.1f} %" if "knn" in features else ""
    return f"loss {loss:.4f}{knn} · {verdict.sentence}"


def _finish(
    run: Run,
    config: Config,
    fabric: Fabric,
    pair: TeacherStudent,
    objective: Objective,
    optimizer: Any,
    seconds: float,
    steps: int,
    verdict: Verdict,
) -> None:
    state = {
        "step": steps,
        "student": pair.network.state_dict(),
        "teacher": pair.teacher.state_dict(),
        "objective": objective.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    # Through memory, because torch reports a full disk as a RuntimeError, and plain writing as what it is.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes(run.path / "checkpoints" / "last.pt", buffer.getvalue())
    save_backbone(pair.teacher.backbone.vit, run.path / BACKBONE, {"method": config.objective.method})
    cuda = fabric.device.type == "cuda"
    # ru_maxrss counts KiB on Linux and bytes on macOS.
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    write_json(
        run.path / SUMMARY,
        {
            "method": config.objective.method,
            "seed": config.train.seed,
            "data": config.data.source,
            "steps": steps,
            "seconds": seconds,
            "peak_memory_mib": torch.cuda.max_memory_allocated() / 2**20 if cuda else resident,
            "memory_kind": "device allocations" if cuda else "process",
            "device": torch.cuda.get_device_name()
            if cuda
            else f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
            "parameters": sum(parameter.numel() for parameter in pair.network.backbone.vit.parameters()),
            "verdict": {"kind": verdict.kind, "sentence": verdict.sentence},
            "versions": {"mrkd": mrkd.__version__, "torch": torch.__version__, "python": platform.python_version()},
        },
    )
    run.close()
