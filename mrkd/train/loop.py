"""The training loop: one student step after another, watched, and never lost."""

import contextlib
import math
import os
import platform
import resource
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.distributed import DistError

import mrkd
from mrkd.config import Config
from mrkd.data.feed import Feed, open_feed
from mrkd.data.loader import batches_from, steps_per_epoch
from mrkd.data.sources.find import check_outside
from mrkd.distributed.fabric import make_fabric
from mrkd.distributed.gather import (
    all_gather_names,
    all_reduce_max,
    destroy_process_group_together,
    local_slice,
    world_size,
)
from mrkd.errors import Interrupted, UserError
from mrkd.evaluation.collapse import Verdict
from mrkd.objective.methods import resolve_terms
from mrkd.objective.metrics import step_health
from mrkd.optim.optimizers import check_optimizer
from mrkd.runs.checkpoint import Checkpoints
from mrkd.runs.run import BACKBONE, BROKEN, CHECKPOINTS, SUMMARY, Run
from mrkd.runs.weights import save_backbone
from mrkd.system.files import read_json, write_json
from mrkd.system.progress import Bar
from mrkd.system.signals import StopRequest
from mrkd.train.autotune import recall, resolve, run_length, start_of
from mrkd.train.loggers import MetricsLoggers, check_logger
from mrkd.train.monitor import FeatureMonitor, judge, status
from mrkd.train.nonfinite import NonfiniteWatch
from mrkd.train.profiling import Profile, table
from mrkd.train.relation_log import RelationLog
from mrkd.train.step import Learner, StepResult


def pretrain(config: Config, out: str | Path, *, profile: bool = False) -> Path:
    """Train one method on one data set and write everything into the run directory `out`.

    An unfinished run of the same config goes on after its last checkpoint; a finished one is left as it is.

    Args:
        config: decides everything.
        out: the directory.
        profile: print where the time of the steps went, and write it to `profile.json`; this slows them a little.
    Returns:
        The directory.
    Raises:
        UserError: bad settings, data or directory; a loss that is not finite.
        Interrupted: SIGTERM or SIGINT came; a checkpoint has been written.
    """
    started = time.monotonic()
    config = recall(config, out)
    Run(out).check(config)
    if not Run(out).started:
        check_outside(out, config.data.source)
    terms = resolve_terms(config.objective)
    check_optimizer(config.optim.name)
    if Run(out).finished:
        print(f"{out} is finished: nothing is left to train")
        return Path(out)
    check_logger(config.train.logger)
    fabric = make_fabric(config)
    feed = open_feed(config, fabric.device)
    _check_images(config, feed, out)
    config = resolve(config, terms, feed, fabric, started)
    length = run_length(config, len(feed)) if terms else 0
    learner = Learner(start_of(config, out), terms, fabric, length)
    # One process writes; the others compute the same numbers and keep quiet.
    writes = fabric.is_global_zero
    if writes and learner.weights_note:
        print(learner.weights_note, flush=True)
    run = Run.start(out, config) if writes else Run(out)
    try:
        if writes:
            run.report_to(MetricsLoggers(config, run.path))
        with StopRequest() as request, contextlib.ExitStack() as silence, _blaming_the_process_that_ended():
            if not writes:
                silence.enter_context(contextlib.redirect_stdout(silence.enter_context(Path(os.devnull).open("w"))))
            training = Training(run, config, learner, feed, request, profile=profile)
            training.begin()
            try:
                training.train()
                training.finish()
            except Interrupted:  # all processes leave after the same step
                destroy_process_group_together()
                raise
            destroy_process_group_together()
            if request.received:
                raise Interrupted.by(request.received, f"{run.path} has just finished training")
    except Exception as error:
        if writes:
            run.note_failure(error)
        raise
    finally:
        run.close()
    return run.path


def _check_images(config: Config, feed: Feed, out: str | Path) -> None:
    """Before the stored settings of a run name other images: they must be those of its last checkpoint."""
    run = Run(out)
    if run.started and (run.config().data.source != config.data.source or len(feed) < config.train.batch):
        state = Checkpoints(run.path / CHECKPOINTS, config.train.keep_checkpoints).newest_readable()
        if state is not None:
            _refuse_other_images(state, feed)


def _refuse_other_images(state: dict[str, Any], feed: Feed) -> None:
    if not feed.is_of(state.get("images")):
        raise UserError(
            f"the training images have changed: expected {state.get('images')}, got {feed.fingerprint}; "
            "restore them or choose another --out"
        )


@contextlib.contextmanager
def _blaming_the_process_that_ended() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if world_size() > 1 and (isinstance(error, DistError) or "gloo" in str(error)):
            raise UserError("another process of this training has ended, and this one with it") from None
        raise


@dataclass
class Progress:
    """Where a run stands, besides its networks."""

    step: int = 0
    """Steps taken."""
    seconds: float = 0.0
    """Spent on them, over all the processes that took part one after another."""
    features: dict[str, float] = field(default_factory=dict)
    """As last measured."""
    measurements: list[dict[str, float]] = field(default_factory=list)
    """All that were measured, the untrained network's first."""
    best_knn: float = -1.0
    """Highest percent so far; -1 without labels."""
    verdict: dict[str, str] = field(default_factory=lambda: {"kind": "healthy", "sentence": "healthy: not trained"})
    warned: list[str] = field(default_factory=list)
    """Kinds of collapse that have been told."""
    skipped_steps: int = 0
    """Steps left out because a number was not finite."""


class Training:
    """One run from its first step, or from its last checkpoint, to its last step."""

    def __init__(
        self,
        run: Run,
        config: Config,
        learner: Learner,
        feed: Feed,
        request: StopRequest,
        *,
        profile: bool = False,
    ) -> None:
        self.run, self.config, self.learner, self.request = run, config, learner, request
        self.writes = learner.fabric.is_global_zero
        self.feed = feed
        self.steps_each = steps_per_epoch(len(feed), config.train.batch)
        images = feed.some(config.train.monitor_images)
        self.monitor = FeatureMonitor(images, config)
        self.relations = None
        # A sharded network computes only on all devices together.
        if self.writes and config.train.relation_images and learner.steps and not config.train.sharded:
            self.relations = RelationLog(images, config, learner.pair.grid, run.path)
        self.monitor_every = max(1, math.ceil(learner.steps / max(1, config.train.monitor_times)))
        self.checkpoints = Checkpoints(run.path / CHECKPOINTS, config.train.keep_checkpoints)
        self.finite = NonfiniteWatch(run, config.train, learner.fabric.device, self.writes)
        self.broken_reported = 0
        self.progress = Progress()
        self.checkpoint: Path | None = None
        self.started = self.training_since = self.checkpoint_time = time.monotonic()
        self.profile = Profile(learner.profile(), config.train.batch, learner.matrix_dtype) if profile else None

    def begin(self) -> None:
        """Go back to the last checkpoint; without one, measure the untrained network."""
        self._recall_broken()
        self._report_broken()
        # All processes go on from the one that the writer found sound.
        found = self.checkpoints.newest() if self.writes else None
        checkpoint = self.learner.fabric.broadcast(found[0] if found else None)
        if checkpoint is not None:
            self._load(found[1] if found else checkpoint.read())
            self.checkpoint = checkpoint.path
            print(f"{self.run.path} goes on after step {checkpoint.step} of {self.learner.steps}", flush=True)
        else:
            self._measure()
        if self.writes:
            self.run.keep_metrics(self.progress.step if checkpoint else -1)
        if checkpoint is None:
            self._log({"step": 0, "epoch": 0.0, **self.progress.features})
        self.started = time.monotonic() - self.progress.seconds

    def _measure(self) -> None:
        self.progress.features = self.monitor.measure(self.learner.pair)
        self.progress.measurements.append(self.progress.features)
        if self.relations is not None:
            self.relations.keep(self.learner.pair, self.progress.step)

    def _recall_broken(self) -> None:
        """A stream that goes on knows the broken images that it has met before; images in memory are all known."""
        if self.feed.streams and (self.run.path / BROKEN).is_file():
            self.feed.broken.extend(read_json(self.run.path / BROKEN))
            self.broken_reported = len(self.feed.broken)

    def _report_broken(self) -> None:
        """Name the broken images that have come to light since the last time."""
        broken = all_gather_names(self.feed.broken) if self.feed.streams else self.feed.broken
        if self.writes and len(broken) > self.broken_reported:
            self.broken_reported = len(broken)
            write_json(self.run.path / BROKEN, list(broken))
            done = "replaced by others of their batch" if self.feed.streams else "skipped"
            print(f"{len(broken)} broken images were {done}: {self.run.path / BROKEN}", flush=True)

    def _log(self, row: dict[str, Any]) -> None:
        if self.writes:
            self.run.log(row)

    def _load(self, state: dict[str, Any]) -> None:
        _refuse_other_images(state, self.feed)
        self.learner.load(state)
        try:
            self.progress = Progress(**state["progress"])
        except (KeyError, TypeError):
            raise UserError("the checkpoint was written by another version of mrkd: choose another --out") from None
        if not self.progress.measurements:  # of a checkpoint from before they were kept
            self.progress.measurements = [self.progress.features]
        self.finite.skipped = self.progress.skipped_steps

    def train(self) -> None:
        """Take the steps that are left."""
        config, learner, progress = self.config, self.learner, self.progress
        order = batches_from(progress.step, learner.steps, len(self.feed), config.train.batch, seed=config.train.seed)
        rest = self.feed.batches(order, local_slice(config.train.batch))
        first = progress.step
        title = f"{config.objective.method} seed {config.train.seed}"
        with Bar(title, learner.steps, progress.step) as bar:
            while True:
                with learner.clock.part("data"):
                    batch = next(rest, None)
                if batch is None:
                    break
                if batch.step == first:  # the workers' start is no wait of the training
                    self.training_since, self.feed.waited_seconds = time.monotonic(), 0.0
                draws = learner.draws()
                taken = self._take(batch.images, batch.step)
                if config.train.compile and batch.step == first:
                    bar.say(f"the first step and its compilation took {time.monotonic() - self.training_since:.0f} s")
                progress.step = batch.step + 1
                self.finite.note(progress.step, batch.rows, draws, taken.numbers())
                if progress.step % self.finite.every == 0 or progress.step == learner.steps:
                    self._look_for_nonfinite()
                with learner.clock.part("watching"):
                    message, best = self._watch(taken, bar)
                with learner.clock.part("checkpoint"):
                    self._save_when_due(best)
                bar.advance(message)

    def _take(self, images: Tensor, step: int) -> StepResult:
        if self.profile is None:
            return self.learner.training_step(images, step)
        return self.profile.take(lambda: self.learner.training_step(images, step))

    def _look_for_nonfinite(self) -> None:
        self.finite.look(self.checkpoint)
        self.progress.skipped_steps = self.finite.skipped

    def _watch(self, taken: StepResult, bar: Bar) -> tuple[str, bool]:
        """Measure and log when it is time; the status to show, and whether the k-NN is the best so far."""
        config, progress = self.config, self.progress
        last = progress.step == self.learner.steps
        measured = progress.step % self.monitor_every == 0 or last
        if measured:
            self._measure()
        if not measured and progress.step % config.train.log_steps:
            return "", False
        self._report_broken()
        # One read for all these numbers, because each makes the host wait for the device.
        numbers = [taken.losses.total, taken.gradient_norm, *taken.losses.by_term.values()]
        loss, gradient_norm, *terms = torch.stack([number.detach().float() for number in numbers]).tolist()
        health = step_health(taken.outputs, config.distillation, taken.teacher_temperature)
        verdict = judge(progress.measurements, health, self.learner.pair, config)
        progress.verdict = asdict(verdict)
        progress.seconds = time.monotonic() - self.started
        spent = time.monotonic() - self.training_since
        data_wait = self.feed.waited_seconds / spent if self.feed.streams else None
        self._log(
            {
                "step": progress.step,
                "epoch": progress.step / self.steps_each,
                "loss": loss,
                "terms": dict(zip(taken.losses.by_term, terms, strict=True)),
                "gradient_norm": gradient_norm,
                **health,
                **(progress.features if measured else {}),
                "learning_rate": taken.learning_rate,
                "seconds": progress.seconds,
                "verdict": verdict.kind,
                **({} if data_wait is None else {"data_wait": data_wait}),
                "images_per_second": progress.step * config.train.batch / progress.seconds,
            }
        )
        self._warn(verdict, bar)
        best = measured and progress.features.get("knn", -1.0) > progress.best_knn
        if best:
            progress.best_knn = progress.features["knn"]
        return status(loss, progress.features, verdict, data_wait), best

    def _warn(self, verdict: Verdict, bar: Bar) -> None:
        if not verdict.worrying:
            return
        if verdict.kind not in self.progress.warned:
            self.progress.warned.append(verdict.kind)
            bar.say(f"warning at step {self.progress.step}: {verdict.sentence}")
        stops = verdict.collapsed and self.config.train.on_collapse == "stop"
        if stops and self.progress.step - 1 > 0.5 * self.learner.steps:
            raise UserError(f"stopped at step {self.progress.step}: {verdict.sentence}")

    def _save_when_due(self, best: bool) -> None:
        """Write a checkpoint at its interval, at the best k-NN, at the end, and before leaving for a signal."""
        train, step = self.config.train, self.progress.step
        waited = time.monotonic() - self.checkpoint_time >= train.checkpoint_seconds
        received, due = self._agreed(self.request.received, best or waited)
        if received or due or step % train.checkpoint_steps == 0 or step == self.learner.steps:
            self._look_for_nonfinite()
            self._save(best)
        if received and step < self.learner.steps:
            raise Interrupted.by(
                received,
                f"stopped after step {step} of {self.learner.steps}; "
                f"go on with: mrkd pretrain --resume {self.run.path}",
            )

    def _agreed(self, received: signal.Signals | None, due: bool) -> tuple[signal.Signals | None, bool]:
        """The signal that any process got, and, without one, whether a checkpoint is due for any.

        All of them leave, or put sharded networks together, after the same step, though their clocks differ.
        """
        if world_size() == 1:
            return received, due
        highest = all_reduce_max(2 * (received.value if received else 0) + due, self.learner.fabric.device)
        return signal.Signals(highest // 2) if highest > 1 else None, bool(highest % 2)

    def _save(self, best: bool) -> None:
        self.checkpoint_time = time.monotonic()
        self.progress.seconds = self.checkpoint_time - self.started
        state = {
            **self.learner.state(),
            "step": self.progress.step,
            "progress": asdict(self.progress),
            "images": self.feed.fingerprint,
        }
        if not self.writes:
            return
        self.run.sync_metrics()
        self.checkpoint = self.checkpoints.save(state, best=best)

    def finish(self) -> None:
        """Write what is read by others; the summary comes last, because it says that the training is done."""
        progress, pair = self.progress, self.learner.pair
        if progress.step == 0:
            self._save(best=False)  # a method without terms takes no step
        vit = pair.teacher_vit()
        if not self.writes:
            return
        if self.profile is not None:
            self._report_profile(self.profile)
        save_backbone(vit, self.run.path / BACKBONE, {"method": self.config.objective.method})
        write_json(
            self.run.path / SUMMARY,
            {
                "method": self.config.objective.method,
                "seed": self.config.train.seed,
                "data": self.config.data.source,
                "steps": progress.step,
                "skipped_steps": progress.skipped_steps,
                "seconds": progress.seconds,
                **_machine(self.learner.fabric),
                "parameters": sum(parameter.numel() for parameter in pair.network.backbone.vit.parameters()),
                "verdict": progress.verdict,
                "versions": {"mrkd": mrkd.__version__, "torch": torch.__version__, "python": platform.python_version()},
            },
        )

    def _report_profile(self, profile: Profile) -> None:
        report, machine = profile.report(), _machine(self.learner.fabric)
        print(table(report, f"{machine['peak_memory_mib']:.0f} MiB ({machine['memory_kind']}, at most)"), flush=True)
        write_json(self.run.path / "profile.json", {**report, **machine})


def _machine(fabric: Fabric) -> dict[str, Any]:
    if fabric.device.type == "cuda":
        return {
            "peak_memory_mib": torch.cuda.max_memory_allocated() / 2**20,
            "memory_kind": "device allocations",
            "device": torch.cuda.get_device_name(),
        }
    # ru_maxrss counts KiB on Linux and bytes on macOS.
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return {
        "peak_memory_mib": resident,
        "memory_kind": "process",
        "device": f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
    }
