"""A sweep: claim trials, train each in a process of its own, report its k-NN to the study, and record how it ended."""

import dataclasses
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from mrkd.config import Config, DataConfig
from mrkd.config.overrides import to_dict, with_overrides
from mrkd.config.sections.objective import canonical_method
from mrkd.data.sources.find import list_splits
from mrkd.errors import Interrupted, UserError
from mrkd.objective.checks import check_teacher
from mrkd.objective.resolve import resolve_terms
from mrkd.runs.metrics import AddedLines, parse_row
from mrkd.runs.run import METRICS, RunDirectory
from mrkd.studies.optuna_studies import STUDY, TRIALS, Claim, Studies, naming_database, optuna
from mrkd.studies.space import Space, check_space
from mrkd.studies.subprocesses import Subprocesses
from mrkd.studies.sweep_results import RECORD, best_settings, short, sweep_markdown, sweep_record
from mrkd.system.files import write_json, write_text
from mrkd.system.output import say
from mrkd.system.signals import StopRequest
from mrkd.train.autotune import recall, with_one_batch
from mrkd.train.same_images import follow_moved_images

TABLE = "sweep.md"


def sweep(
    config: Config,
    methods: Sequence[str],
    space: Space,
    out: str | os.PathLike[str],
    *,
    trials: int = 10,
    jobs: int = 1,
    prune: bool = True,
    command: str = "",
) -> dict[str, Any]:
    """Tune every method with the same number of trials, by k-NN on held-out training images.

    The value of a trial is the k-NN that training measures at its end (`mrkd.train.monitor`): the test split is never
    looked at. The first trial of each method is the config as it is, where the space holds it; then Optuna proposes.
    A trial that is behind the median of the others at the same point of its run, but not at its first measurement, is
    stopped and counts. The same command goes on where it was stopped, in the middle of a trial too, and more processes
    may be started with it.

    Args:
        config: everything but the method and what the space varies; an automatic batch is chosen once.
        methods: names as `mrkd methods` lists them.
        space: dotted settings with their ranges.
        out: a directory; gets `study.db`, `trials/`, `sweep.json`, `sweep.md` and `best-METHOD.yaml`.
        trials: of each method.
        jobs: trials at a time in this process, each with its share of the CPU's threads.
        prune: whether hopeless trials are stopped.
        command: kept in `sweep.json` as the way to get there again.
    Returns:
        The content of `sweep.json`, of all methods that were ever tuned in `out`.
    Raises:
        UserError: no Optuna, bad methods or space, images without labels, another sweep in `out`, or a method of which
            no trial succeeded.
        Interrupted: SIGTERM or SIGINT came, and the trials in progress have written their checkpoints.
    """
    optuna()
    out, methods = Path(out), list(dict.fromkeys(map(canonical_method, methods)))
    if not methods:
        raise UserError("sweep needs at least one method")
    for name, value in (("trials", trials), ("jobs", jobs)):
        if value < 1:
            raise UserError(f"{name} must be at least 1, got {value}")
    if config.train.minutes is not None:
        raise UserError("trials need the same length: give --epochs or --train.steps instead of --minutes")
    space = check_space(space, config)
    for method in methods:
        objective = dataclasses.replace(config.objective, method=method)
        terms = resolve_terms(objective)
        if not terms:
            raise UserError(f"{method} trains nothing: leave it out of the sweep")
        check_teacher(terms, dataclasses.replace(config, objective=objective))
    _check_labelled(config.data)
    config = with_one_batch(config)
    studies = Studies(config, methods, space, out, trials, prune=prune)
    workers, children = _Workers(studies), Subprocesses(jobs)
    with StopRequest(children.pass_on) as request, ThreadPoolExecutor(jobs) as pool:
        for worker in [pool.submit(workers.work, children, request) for _ in range(jobs)]:
            with naming_database(out / STUDY):
                worker.result()
    if request.received is not None:
        raise Interrupted.by(request.received, f"stopped in {out}; the same command goes on from there")
    return _write(studies, command)


def _check_labelled(data: DataConfig) -> None:
    """Before anything is trained: trials are scored by k-NN on training images."""
    train = list_splits(data).train
    if not train.labelled():
        raise UserError(
            f"a sweep compares k-NN, which needs labels, but of {data.source} no training image has one: "
            f"{train.why_unlabelled}"
        )


class _Workers:
    """The threads that take trials until none is left."""

    def __init__(self, studies: Studies) -> None:
        self.studies = studies
        self.started, self.ended = time.monotonic(), 0
        self.broken = False
        """Whether one of them has given up, so that the others stop as well."""

    def work(self, children: Subprocesses, request: StopRequest) -> None:
        """One thread's part."""
        while request.received is None and not self.broken:
            claim = self.studies.claim()
            if claim is None:
                return
            try:
                self._train(claim, children, request)
            except BaseException:
                self.broken = True
                raise
            finally:
                self.studies.let_go(claim)

    def _train(self, claim: Claim, children: Subprocesses, request: StopRequest) -> None:
        studies, values, path = self.studies, claim.values(self.studies.space), self.studies.out / TRIALS / claim.name
        follow, failure = _Follow(claim, path), None
        try:
            config = with_overrides(studies.config, {**values, "objective.method": claim.method})
        except UserError as error:  # values that do not go together
            failure = str(error)
        else:
            _check_own(path, config)
            if not RunDirectory(path).finished:
                failure = children.run(
                    config,
                    path,
                    request,
                    wanted=lambda: not self.broken and follow.worth_going_on(),
                    inherited=[claim.lock.fileno()],
                )
        follow.read()
        if RunDirectory(path).finished and follow.last is not None:
            studies.tell(claim, "complete", follow.last, seconds=follow.seconds)
            shown = f"k-NN {follow.last:.1f} %"
        elif follow.pruned:
            studies.tell(claim, "pruned", None, seconds=follow.seconds)
            shown = f"stopped at k-NN {follow.last:.1f} %, behind the others"
        elif request.received is not None or self.broken:
            return  # it goes on with the next call
        else:
            studies.tell(claim, "fail", None, seconds=follow.seconds, failure=failure or "no k-NN was measured")
            shown = f"failed: {failure}"
        self.ended += 1
        settings = ", ".join(f"{key} {short(value)}" for key, value in values.items())
        say(f"── {claim.name} {shown} · {settings}{self._time_left()}")

    def _time_left(self) -> str:
        left = self.studies.missing() + len(self.studies.held) - 1
        minutes = (time.monotonic() - self.started) / 60 / self.ended * left
        return f" · about {minutes:.1f} min left" if left > 0 else ""


def _check_own(path: Path, config: Config) -> None:
    """Refuse a trial's directory that a former study has left, whose figures would count as this one's."""
    if RunDirectory(path).started:
        RunDirectory(path).check(recall(config, path))
    if RunDirectory(path).finished:
        follow_moved_images(config, path)


def _write(studies: Studies, command: str) -> dict[str, Any]:
    """The files that tell what came out."""
    record = sweep_record(studies.by_method, studies.space, studies.config, command)
    write_json(studies.out / RECORD, record)
    write_text(studies.out / TABLE, sweep_markdown(record))
    for method, values in best_settings(record).items():
        best = with_overrides(studies.config, {**values, "objective.method": method})
        write_text(studies.out / f"best-{method}.yaml", yaml.safe_dump(to_dict(best), sort_keys=False))
    if running := studies.running():
        say(f"{running} trials are still being trained by another process, which will write the end")
    elif missing := [method for method in studies.methods if record["methods"][method]["best"] is None]:
        raise UserError(f"no trial of {', '.join(missing)} came to its end: {studies.out / TABLE} says why")
    return record


class _Follow:
    """Reads the k-NN that a run measures, tells it to the study, and says whether it is worth going on."""

    def __init__(self, claim: Claim, path: Path) -> None:
        self.trial, self.path, self._told = claim.trial, path, claim.told
        self.last: float | None = None
        self.seconds = 0.0
        self.pruned = False
        self._added = AddedLines(path / METRICS)
        self._measured = 0

    def read(self) -> bool:
        """Tell what is new; whether anything was."""
        before = self._told
        if self._added.rewritten():  # by a training that goes on after a checkpoint
            self._measured = 0
        for number, line in self._added.read():
            row = parse_row(self.path / METRICS, number, line)
            self.seconds = row.get("seconds", self.seconds)
            if "knn" in row:
                self.last = row["knn"]
                if self._measured > self._told:
                    self.trial.report(self.last, self._measured)
                    self._told = self._measured
                self._measured += 1
        return self._told > before

    def worth_going_on(self) -> bool:
        """No once the pruner has given up on the trial."""
        if self.read() and self._told > 0 and not RunDirectory(self.path).finished:
            self.pruned |= self.trial.should_prune()
        return not self.pruned
