"""The training loop: take steps, measure, log and save checkpoints."""

import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mrkd.config import Config
from mrkd.data.dataset import ImageDataset, sample_in_memory, training_batches
from mrkd.distributed.gather import agree_on_stop, local_slice
from mrkd.errors import Interrupted, UserError
from mrkd.evaluation.collapse import Verdict
from mrkd.objective.metrics import step_health
from mrkd.runs.checkpoint import Checkpoints
from mrkd.runs.run import BACKBONE, CHECKPOINTS, RunDirectory
from mrkd.runs.weights import save_backbone
from mrkd.system.output import say
from mrkd.system.progress import Bar
from mrkd.system.signals import StopRequest
from mrkd.train.autotune import sampler_of
from mrkd.train.broken_images import BrokenImages
from mrkd.train.monitor import FeatureMonitor, judge, status
from mrkd.train.nonfinite import NonfiniteWatch
from mrkd.train.profiling import Profile
from mrkd.train.progress import Progress
from mrkd.train.relation_log import RelationLog
from mrkd.train.same_images import check_same_images
from mrkd.train.step import Learner, StepResult
from mrkd.train.summary import write_profile, write_summary


class Training:
    """One run from its first step, or from its last checkpoint, to its last step.

    Args:
        run: its directory, open for writing in the process that writes.
        config: of the run.
        learner: at its start.
        dataset: the training images.
        request: tells when a signal asks the run to stop.
        profile: whether the parts of the steps are timed.
    """

    def __init__(
        self,
        run: RunDirectory,
        config: Config,
        learner: Learner,
        dataset: ImageDataset,
        request: StopRequest,
        *,
        profile: bool = False,
    ) -> None:
        self.run, self.config, self.learner, self.request = run, config, learner, request
        self.writes = learner.fabric.is_global_zero
        self.dataset = dataset
        self.sampler = sampler_of(config, len(dataset))
        images = sample_in_memory(dataset, config.train.monitor_images)
        self.monitor = FeatureMonitor(images, config)
        self.relations = None
        # A sharded network computes only on all devices together.
        if self.writes and config.train.relation_images and learner.steps and not config.train.sharded:
            self.relations = RelationLog(images, config, learner.pair.grid, run.path)
        self.monitor_every = max(1, math.ceil(learner.steps / max(1, config.train.monitor_times)))
        self.checkpoints = Checkpoints(run.path / CHECKPOINTS, config.train.keep_checkpoints)
        self.nonfinite = NonfiniteWatch(run, config.train, learner.fabric.device, self.writes)
        self.broken_images = BrokenImages(dataset, run, writes=self.writes)
        self.progress = Progress()
        self.checkpoint: Path | None = None
        self.started = self.first_batch_time = self.checkpoint_time = time.monotonic()
        self.waited_before = 0.0
        self.profile = Profile(learner.profile(), config.train.batch, learner.matrix_dtype) if profile else None

    def begin(self) -> None:
        """Go back to the last checkpoint; without one, measure the untrained network."""
        self.broken_images.recall()
        self.broken_images.report()
        # All processes go on from the one that the writer found sound.
        found = self.checkpoints.newest() if self.writes else None
        checkpoint = self.learner.fabric.broadcast(found[0] if found else None)
        if checkpoint is not None:
            self._load(found[1] if found else checkpoint.read())
            self.checkpoint = checkpoint.path
            say(f"{self.run.path} goes on after step {checkpoint.step} of {self.learner.steps}")
        else:
            self._measure()
        if self.writes:
            self.run.keep_metrics(self.progress.step if checkpoint else -1)
        if checkpoint is None:
            self._log({"step": 0, "epoch": 0.0, **self.progress.features})
        self.started = time.monotonic() - self.progress.seconds

    def _measure(self) -> None:
        self.run.check_held()
        self.progress.features = self.monitor.measure(self.learner.pair)
        self.progress.measurements.append(self.progress.features)
        if self.relations is not None:
            self.relations.keep(self.learner.pair, self.progress.step)

    def _log(self, row: dict[str, Any]) -> None:
        if self.writes:
            self.run.log(row)

    def _load(self, state: dict[str, Any]) -> None:
        check_same_images(state, self.dataset)
        self.learner.load(state)
        try:
            self.progress = Progress(**state["progress"])
        except (KeyError, TypeError):
            raise UserError("the checkpoint was written by another version of mrkd: choose another --out") from None
        if not self.progress.measurements:  # of a checkpoint from before they were kept
            self.progress.measurements = [self.progress.features]
        self.nonfinite.skipped = self.progress.skipped_steps

    def train(self) -> None:
        """Take the steps that are left."""
        config, learner, progress = self.config, self.learner, self.progress
        first, local = progress.step, local_slice(config.train.batch)
        batches = training_batches(self.dataset, self.sampler, start=first, stop=learner.steps, local=local)
        title = f"{config.objective.method} seed {config.train.seed}"
        known = status(None, progress.features, progress.verdict["sentence"])
        with Bar(title, learner.steps, progress.step, status=known) as bar:
            while True:
                with learner.clock.part("data"):
                    found = next(batches, None)
                if found is None:
                    break
                step, batch = found
                if step == first:  # the time that the workers take to start is no wait of the training
                    self.first_batch_time, self.waited_before = time.monotonic(), self.dataset.waited_seconds
                random_state = learner.random_state()
                result = self._take_step(batch.images, step)
                if config.train.compile and step == first:
                    bar.say(f"the first step and its compilation took {time.monotonic() - self.first_batch_time:.0f} s")
                progress.step = step + 1
                self.nonfinite.note(progress.step, batch.indices, random_state, result.numbers())
                if progress.step % self.nonfinite.every == 0 or progress.step == learner.steps:
                    self._check_nonfinite()
                with learner.clock.part("monitoring"):
                    message, best = self._monitor(result, bar)
                with learner.clock.part("checkpoint"):
                    self._save_when_due(best)
                bar.advance(message)

    def _take_step(self, images: Tensor, step: int) -> StepResult:
        if self.profile is None:
            return self.learner.training_step(images, step)
        return self.profile.take(lambda: self.learner.training_step(images, step))

    def _check_nonfinite(self) -> None:
        self.nonfinite.look(self.checkpoint)
        self.progress.skipped_steps = self.nonfinite.skipped

    def _monitor(self, result: StepResult, bar: Bar) -> tuple[str, bool]:
        """Measure and log if it is due; returns the status to show, and whether the k-NN is the best so far."""
        config, progress = self.config, self.progress
        last = progress.step == self.learner.steps
        measured = progress.step % self.monitor_every == 0 or last
        if measured:
            self._measure()
        if not measured and progress.step % config.train.log_steps:
            return "", False
        self.broken_images.report()
        # One read for all these numbers, because each makes the host wait for the device.
        numbers = [result.losses.total, result.gradient_norm, *result.losses.by_term.values()]
        loss, gradient_norm, *terms = torch.stack([number.detach().float() for number in numbers]).tolist()
        health = step_health(result.outputs, config.distillation, result.teacher_temperature)
        done = progress.step / self.learner.steps
        verdict = judge(progress.measurements, health, self.learner.pair, config, progress=done)
        progress.verdict = asdict(verdict)
        progress.seconds = time.monotonic() - self.started
        spent = time.monotonic() - self.first_batch_time
        data_wait = (self.dataset.waited_seconds - self.waited_before) / spent if self.dataset.streamed else None
        self._log(
            {
                "step": progress.step,
                "epoch": progress.step / self.sampler.steps_per_epoch,
                "loss": loss,
                "terms": dict(zip(result.losses.by_term, terms, strict=True)),
                "gradient_norm": gradient_norm,
                **health,
                **(progress.features if measured else {}),
                "learning_rate": result.learning_rate,
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
        return status(loss, progress.features, verdict.sentence, data_wait), best

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
        received, due = agree_on_stop(self.request.received, best or waited, self.learner.fabric.device)
        if received or due or step % train.checkpoint_steps == 0 or step == self.learner.steps:
            self._check_nonfinite()
            self._save(best)
        if received and step < self.learner.steps:
            raise Interrupted.by(
                received,
                f"stopped after step {step} of {self.learner.steps}; "
                f"go on with: mrkd pretrain --resume {self.run.path}",
            )

    def _save(self, best: bool) -> None:
        self.checkpoint_time = time.monotonic()
        self.progress.seconds = self.checkpoint_time - self.started
        state = {
            **self.learner.state(),
            "step": self.progress.step,
            "progress": asdict(self.progress),
            "images": self.dataset.fingerprint,
        }
        if not self.writes:
            return
        self.run.sync_metrics()
        self.checkpoint = self.checkpoints.save(state, best=best)

    def finish(self) -> None:
        """Write the backbone and, last, the summary, whose existence says that the training is done."""
        progress, pair = self.progress, self.learner.pair
        if progress.step == 0:
            self._save(best=False)  # a method without terms takes no step
        vit = pair.teacher_vit()
        if not self.writes:
            return
        self.run.check_held()
        if self.profile is not None:
            write_profile(self.run, self.profile, self.learner.fabric)
        save_backbone(vit, self.run.path / BACKBONE, {"method": self.config.objective.method})
        write_summary(self.run, self.config, progress, pair, self.learner.fabric)
