"""One study per method in one SQLite file, on which several processes may work; each trial is a run of its own."""

import contextlib
import dataclasses
import fcntl
import json
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from mrkd.children import Children
from mrkd.config import Config
from mrkd.errors import Interrupted, UserError
from mrkd.losses.methods import resolve_terms
from mrkd.run import METRICS, Run, write_json, write_text
from mrkd.settings import differences, flatten, laid_over, to_dict
from mrkd.signals import StopRequest
from mrkd.sweeping.results import RECORD, best_settings, sweep_markdown, sweep_record
from mrkd.sweeping.space import Choice, Range, Space, check_space

STUDY, TABLE, TRIALS = "study.db", "sweep.md", "trials"


def sweep(
    config: Config,
    methods: Sequence[str],
    space: Space,
    out: str | Path,
    *,
    trials: int = 10,
    jobs: int = 1,
    prune: bool = True,
    command: str = "",
) -> dict[str, Any]:
    """Tune every method with the same number of trials, by k-NN on held-out training images.

    The value of a trial is the k-NN that training measures at its end (`mrkd.monitor`): the test split is never looked
    at. The first trial of each method is the config as it is, where the space holds it; then Optuna's TPE proposes.
    A trial that is behind the median of the others at the same point of its run, but not at its
    first measurement, is stopped and counts. The same
    command goes on where it was stopped, in the middle of a trial too, and more processes may be started with it.

    Args:
        config: everything but the method and what the space varies.
        methods: names as `mrkd methods` lists them.
        space: dotted settings with their ranges.
        out: a directory; gets `study.db`, `trials/`, `sweep.json`, `sweep.md` and `best-METHOD.yaml`.
        trials: of each method.
        jobs: trials at a time in this process, each with its share of the CPU's threads.
        prune: whether hopeless trials are stopped.
        command: kept in `sweep.json` as the way to get there again.
    Returns:
        The content of `sweep.json`.
    Raises:
        UserError: no Optuna, bad methods or space, images without labels, another sweep in `out`, or a method of which
            no trial succeeded.
        Interrupted: SIGTERM or SIGINT came, and the trials in progress have written their checkpoints.
    """
    out = Path(out)
    if not methods:
        raise UserError("sweep needs at least one method")
    for name, value in (("trials", trials), ("jobs", jobs)):
        if value < 1:
            raise UserError(f"{name} must be at least 1, got {value}")
    if config.train.auto_batch or config.train.minutes is not None:
        raise UserError("trials need the same batch and length: give --batch-size and --epochs as numbers")
    check_space(space, config)
    for method in methods:
        if not resolve_terms(dataclasses.replace(config.objective, method=method)):
            raise UserError(f"{method} trains nothing: leave it out of the sweep")
    studies = _Studies(config, list(dict.fromkeys(methods)), space, out, trials, prune)
    children = Children(jobs)
    with StopRequest(children.pass_on) as request, ThreadPoolExecutor(jobs) as pool:
        for worker in [pool.submit(studies.work, children, request) for _ in range(jobs)]:
            worker.result()
    if request.received is not None:
        raise Interrupted.by(request.received, f"stopped in {out}; the same command goes on from there")
    return studies.write(command)


class _Studies:
    """The studies of all methods, shared by threads and processes."""

    def __init__(self, config: Config, methods: list[str], space: Space, out: Path, trials: int, prune: bool) -> None:
        optuna = _optuna()
        self.config, self.methods, self.space, self.out, self.trials = config, methods, space, out, trials
        self.lock = threading.Lock()
        self.optuna = optuna
        self.started = time.monotonic()
        self.ended = 0
        self.held: dict[str, Any] = {}
        """Names of the trials that this process works on, with their lock files."""
        self.broken = False
        """Whether a worker has given up, so that the others begin nothing more."""
        (out / TRIALS).mkdir(parents=True, exist_ok=True)
        pruner = optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=2) if prune else None
        with self._alone():
            storage = optuna.storages.RDBStorage(
                f"sqlite:///{out / STUDY}", engine_kwargs={"connect_args": {"timeout": 60}}
            )
            self.studies = {
                method: optuna.create_study(
                    study_name=method,
                    storage=storage,
                    direction="maximize",
                    sampler=optuna.samplers.TPESampler(
                        seed=config.train.seed, n_startup_trials=min(10, max(3, trials // 2)), constant_liar=True
                    ),
                    pruner=pruner or optuna.pruners.NopPruner(),
                    load_if_exists=True,
                )
                for method in methods
            }
            for study in self.studies.values():
                self._begin(study)

    def _begin(self, study: Any) -> None:
        """Note what is tuned, or refuse to go on with something else; the config itself is the first trial."""
        space = {key: str(varied) for key, varied in self.space.items()}
        before = study.user_attrs
        if not before:
            study.set_user_attr("config", to_dict(self.config))
            study.set_user_attr("space", space)
            own = flatten(to_dict(self.config), "config")
            own = {key: tuple(own[key]) if isinstance(own[key], list) else own[key] for key in self.space}
            if all(varied.holds(own[key]) for key, varied in self.space.items()):
                study.enqueue_trial({key: _stored(self.space[key], own[key]) for key in self.space})
            return
        if before.get("space") != space:
            raise UserError(f"{self.out} holds a sweep of another space: choose another --out, or remove it")
        old = laid_over(self.config, flatten(before["config"], "config"))
        if changes := differences(old, self.config):
            shown = ", ".join(f"{key}: {was} → {now}" for key, (was, now) in changes.items())
            raise UserError(f"{self.out} holds a sweep of other settings ({shown}): choose another --out, or remove it")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One thread of one process at a time."""
        with self.lock, (self.out / "sweep.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def work(self, children: Children, request: StopRequest) -> None:
        """Take trials until none is left."""
        while request.received is None and not self.broken:
            with self._alone():
                claimed = self._claim()
            if claimed is None:
                return
            method, trial = claimed
            name = f"{method}-{trial.number:03d}"
            try:
                self._run(method, trial, name, children, request)
            except BaseException:
                self.broken = True
                raise
            finally:
                self.held.pop(name).close()

    def _claim(self) -> tuple[str, Any] | None:
        """A trial that nobody works on any more, or a new one of the method that has the fewest."""
        states = self.optuna.trial.TrialState
        for method, study in self.studies.items():
            for frozen in study.get_trials(deepcopy=False, states=(states.RUNNING,)):
                if self._hold(f"{method}-{frozen.number:03d}"):
                    return method, self.optuna.trial.Trial(study, frozen._trial_id)
        counts = {
            method: len([t for t in study.get_trials(deepcopy=False) if t.state != states.WAITING])
            for method, study in self.studies.items()
        }
        method = min(self.methods, key=lambda name: counts[name])
        if counts[method] >= self.trials:
            return None
        trial = self.studies[method].ask()
        self._hold(f"{method}-{trial.number:03d}")
        return method, trial

    def _hold(self, name: str) -> bool:
        """Take the trial's own lock, which ends with this process."""
        if name in self.held:
            return False
        file = (self.out / TRIALS / f"{name}.lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        self.held[name] = file
        return True

    def _run(self, method: str, trial: Any, name: str, children: Children, request: StopRequest) -> None:
        values = {key: _suggest(trial, key, varied) for key, varied in self.space.items()}
        path, study, states = self.out / TRIALS / name, self.studies[method], self.optuna.trial.TrialState
        follow = _Follow(trial, path)
        try:
            config = laid_over(self.config, {**values, "objective.method": method})
            failure = None
            if not Run(path).finished:
                failure = children.run(config, path, request, wanted=follow.worth_going_on)
        except UserError as error:  # values that do not go together
            failure = str(error)
        follow.worth_going_on()
        if request.received is not None and failure is not None:
            return  # it goes on with the next call
        if follow.pruned:
            state, value, shown = states.PRUNED, None, f"stopped at k-NN {follow.last:.1f} %, behind the others"
        elif failure is not None:
            state, value, shown = states.FAIL, None, f"failed: {failure}"
            trial.set_user_attr("failure", failure)
        elif follow.last is None:
            raise UserError("a sweep compares k-NN, which needs labels: these images have none")
        else:
            state, value, shown = states.COMPLETE, follow.last, f"k-NN {follow.last:.1f} %"
        trial.set_user_attr("seconds", follow.seconds)
        with self._alone():
            study.tell(trial, value, state=state)
            self.ended += 1
            left = self._time_left()
        settings = ", ".join(f"{key} {_short(value)}" for key, value in values.items())
        print(f"── {name} {shown} · {settings}{left}", flush=True)

    def _time_left(self) -> str:
        done = sum(len(study.get_trials(deepcopy=False)) for study in self.studies.values())
        missing = self.trials * len(self.methods) - done + len(self.held) - 1
        minutes = (time.monotonic() - self.started) / 60 / self.ended * missing
        return f" · about {minutes:.1f} min left" if missing > 0 else ""

    def write(self, command: str) -> dict[str, Any]:
        """The files that tell what came out."""
        with self._alone():
            record = sweep_record(self.studies, self.space, self.config, command)
            write_json(self.out / RECORD, record)
            write_text(self.out / TABLE, sweep_markdown(record))
            for method, values in best_settings(record).items():
                best = laid_over(self.config, {**values, "objective.method": method})
                write_text(self.out / f"best-{method}.yaml", yaml.safe_dump(to_dict(best), sort_keys=False))
        if missing := [method for method in self.methods if record["methods"][method]["best"] is None]:
            raise UserError(f"no trial of {', '.join(missing)} came to its end: {self.out / TABLE} says why")
        return record


class _Follow:
    """Reads the k-NN that a run measures, and says whether it is worth going on."""

    def __init__(self, trial: Any, path: Path) -> None:
        self.trial, self.path = trial, path
        self.last: float | None = None
        self.seconds = 0.0
        self.pruned = False
        self._told = -1

    def worth_going_on(self) -> bool:
        """Report what is new; no once the pruner has given up on the trial."""
        try:
            lines = (self.path / METRICS).read_text(encoding="utf-8").splitlines()
        except OSError:
            return True
        measured = []
        for line in lines:
            with contextlib.suppress(json.JSONDecodeError):  # the last line may be half written
                row = json.loads(line)
                self.seconds = row.get("seconds", self.seconds)
                if "knn" in row:
                    measured.append(row["knn"])
        finished = Run(self.path).finished
        for number, value in enumerate(measured):
            self.last = value
            if number <= self._told:
                continue
            self._told = number
            self.trial.report(value, number)
            if number and not finished and not self.pruned and self.trial.should_prune():
                self.pruned = True
        return not self.pruned


def _suggest(trial: Any, key: str, varied: Range | Choice) -> Any:
    if isinstance(varied, Choice):
        return varied.values[trial.suggest_categorical(key, list(range(len(varied.values))))]
    if varied.whole:
        return trial.suggest_int(key, int(varied.low), int(varied.high), log=varied.log)
    return trial.suggest_float(key, varied.low, varied.high, log=varied.log)


def _stored(varied: Range | Choice, value: Any) -> Any:
    """Choices are stored by number: Optuna keeps only plain values."""
    return varied.values.index(value) if isinstance(varied, Choice) else value


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UserError("mrkd sweep needs Optuna: pip install 'mrkd[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna
