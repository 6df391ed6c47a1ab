"""The studies behind a sweep: one per method in one SQLite file, on which several processes may work.

A trial belongs to the process that holds the lock on its file. The training inherits the lock, so the lock is free only
after both have ended. A trial that is marked as running but is not locked was interrupted; the next process resumes it.
"""

import contextlib
import fcntl
import sqlite3
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mrkd.config import Config
from mrkd.config.keys import with_present_names
from mrkd.config.overrides import differences, flatten, to_dict, with_overrides
from mrkd.errors import UserError
from mrkd.studies.space import Choice, Range, Space

STUDY, TRIALS = "study.db", "trials"
_FIRST_PRUNED, _WHOLE_TRIALS = 2, 3
"""No trial is stopped before its measurement of this number, nor before so many of its method came to their end."""


def optuna() -> Any:
    """The package, quiet.

    Raises:
        UserError: it is not installed.
    """
    try:
        import optuna as package
    except ImportError:
        raise UserError("mrkd sweep needs Optuna: pip install 'mrkd[sweep]'") from None
    package.logging.set_verbosity(package.logging.WARNING)
    warnings.filterwarnings("ignore", category=package.exceptions.ExperimentalWarning)
    return package


class Claim:
    """A trial that this process works on.

    Args:
        trial: Optuna's.
        method: whose study it is in.
        lock: the open file that keeps others away.
        told: number of the last measurement that the study knows; -1 when it knows none.
    """

    def __init__(self, trial: Any, method: str, lock: IO[str], told: int) -> None:
        self.trial, self.method, self.lock, self.told = trial, method, lock, told
        self.name = f"{method}-{trial.number:03d}"

    def values(self, space: Space) -> dict[str, Any]:
        """What the trial varies; the same however often it is asked."""
        return {key: _suggest(self.trial, key, varied) for key, varied in space.items()}


class Studies:
    """The studies of a sweep, shared by threads and processes.

    Args:
        config: everything but the method and what the space varies.
        methods: that get trials.
        space: typed, from `check_space`.
        out: the sweep's directory.
        trials: of each method.
        prune: whether hopeless trials are stopped.
    Raises:
        UserError: no Optuna, or the directory holds another sweep; it is then left as it was.
    """

    def __init__(
        self, config: Config, methods: list[str], space: Space, out: Path, trials: int, *, prune: bool
    ) -> None:
        self.config, self.methods, self.space, self.out, self.trials = config, methods, space, out, trials
        self._optuna = optuna()
        self._lock = threading.Lock()
        self.held: dict[str, IO[str]] = {}
        """Names of this process's trials, with their lock files."""
        own = (out / TRIALS).is_dir()  # made first, also by another process that is just beginning
        if out.exists() and not own and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f"{out} holds something else: choose another --out")
        (out / TRIALS).mkdir(parents=True, exist_ok=True)
        pruners = self._optuna.pruners
        pruner = pruners.MedianPruner(_WHOLE_TRIALS, _FIRST_PRUNED) if prune else pruners.NopPruner()
        with self._alone(), naming_database(out / STUDY, RuntimeError, AssertionError, ValueError):
            storage = self._storage()
            self.by_method = {
                name: self._optuna.load_study(study_name=name, storage=storage, pruner=pruner)
                for name in self._optuna.get_all_study_names(storage)
            }
            for study in self.by_method.values():
                if _is_described(study):
                    self._check(study)
                else:  # its process was killed before it could say what is studied: no trial was begun
                    self._describe(study)
            for method in methods:
                if method not in self.by_method:
                    self.by_method[method] = self._create(method, storage, pruner)

    def _check(self, study: Any) -> None:
        """Refuse to go on with something else."""
        before = study.user_attrs
        if before["space"] != _shown(self.space):
            raise UserError(f"{self.out} holds a sweep of another space: choose another --out, or remove it")
        old = with_overrides(self.config, flatten(with_present_names(before["config"]), "config"))
        if changes := differences(old, self.config):
            shown = ", ".join(f"{key}: {was} → {now}" for key, (was, now) in changes.items())
            raise UserError(f"{self.out} holds a sweep of other settings ({shown}): choose another --out, or remove it")

    def _create(self, method: str, storage: Any, pruner: Any) -> Any:
        study = self._optuna.create_study(study_name=method, storage=storage, direction="maximize", pruner=pruner)
        self._describe(study)
        return study

    def _describe(self, study: Any) -> None:
        """Store what is studied. The space comes last: a study that has one is whole."""
        study.set_user_attr("config", to_dict(self.config))
        settings = flatten(to_dict(self.config), "config")
        own = {key: tuple(v) if isinstance(v := settings[key], list) else v for key in self.space}
        if all(varied.holds(own[key]) for key, varied in self.space.items()):  # the config itself comes first
            study.enqueue_trial({key: _stored(self.space[key], own[key]) for key in self.space}, skip_if_exists=True)
        study.set_user_attr("space", _shown(self.space))

    def _storage(self) -> Any:
        """The database. It is opened by its path: in an address, `?`, `%` and braces would mean something else."""
        path = str((self.out / STUDY).absolute())
        return self._optuna.storages.RDBStorage(
            "sqlite:///study.db",
            engine_kwargs={"creator": lambda: sqlite3.connect(path, timeout=60, check_same_thread=False)},
        )

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One thread of one process at a time."""
        with self._lock, (self.out / "sweep.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def claim(self) -> Claim | None:
        """A trial that nobody works on any more, or a new one of the method that has the fewest; None at the end."""
        states = self._optuna.trial.TrialState
        with self._alone():
            for method in self.methods:
                study = self.by_method[method]
                for frozen in study.get_trials(deepcopy=False, states=(states.RUNNING,)):
                    if lock := self._hold(f"{method}-{frozen.number:03d}"):
                        told = max(frozen.intermediate_values, default=-1)
                        return Claim(self._optuna.trial.Trial(study, frozen._trial_id), method, lock, told)
            taken = {method: self._taken(method) for method in self.methods}
            method = min(self.methods, key=lambda name: taken[name])
            if taken[method] >= self.trials:
                return None
            study = self.by_method[method]
            # A stream of its own for every trial: proposals differ, whoever asks and however often it all began anew.
            study.sampler = self._optuna.samplers.TPESampler(
                seed=(1_000_003 * self.config.train.seed + taken[method]) % 2**32,
                n_startup_trials=min(10, max(3, self.trials // 2)),
                constant_liar=True,
            )
            trial = study.ask()
            claim = Claim(trial, method, self._hold(f"{method}-{trial.number:03d}", sure=True), -1)
            claim.values(self.space)  # drawn here, where nobody else changes the sampler
            return claim

    def _taken(self, method: str) -> int:
        waiting = self._optuna.trial.TrialState.WAITING
        return sum(trial.state != waiting for trial in self.by_method[method].get_trials(deepcopy=False))

    def _hold(self, name: str, *, sure: bool = False) -> Any:
        """The open file with the trial's lock, or None when another process, or a thread of this one, has it."""
        if name in self.held:
            return None
        file = (self.out / TRIALS / f"{name}.lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            if sure:
                raise
            return None
        self.held[name] = file
        return file

    def let_go(self, claim: Claim) -> None:
        """Whatever became of it; a trial that was not told its end is the next comer's."""
        self.held.pop(claim.name).close()

    def tell(self, claim: Claim, state: str, value: float | None, **notes: Any) -> None:
        """End a trial as `complete`, `pruned` or `fail`."""
        for key, note in notes.items():
            claim.trial.set_user_attr(key, note)
        with self._alone():
            ended = getattr(self._optuna.trial.TrialState, state.upper())
            self.by_method[claim.method].tell(claim.trial, value, state=ended)

    def missing(self) -> int:
        """Trials that nobody has begun."""
        return sum(max(0, self.trials - self._taken(method)) for method in self.methods)

    def running(self) -> int:
        """Trials that have begun and not ended."""
        states = (self._optuna.trial.TrialState.RUNNING,)
        return sum(len(self.by_method[name].get_trials(deepcopy=False, states=states)) for name in self.methods)


@contextlib.contextmanager
def naming_database(path: Path, *more: type[Exception]) -> Iterator[None]:
    """Have what goes wrong inside the database end in one line; `more` are further errors that mean the same.

    Raises:
        UserError: it is damaged, half made, of another version, or cannot be written.
    """
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    kinds: tuple[type[Exception], ...] = (OptunaError, SQLAlchemyError, sqlite3.Error, *more)
    try:
        yield
    except UserError:
        raise
    except kinds as error:
        cause = error.__cause__ or error
        reason = " ".join(str(getattr(cause, "orig", cause)).split())[:200] or type(cause).__name__
        raise UserError(
            f"the database {path} cannot be used ({reason}): put a sound copy in its place, or move {path.parent} "
            "aside and begin anew"
        ) from error


def _is_described(study: Any) -> bool:
    attributes = study.user_attrs
    return isinstance(attributes.get("config"), dict) and isinstance(attributes.get("space"), dict)


def _shown(space: Space) -> dict[str, str]:
    return {key: str(varied) for key, varied in space.items()}


def _suggest(trial: Any, key: str, varied: Range | Choice) -> Any:
    if isinstance(varied, Choice):
        return varied.values[trial.suggest_categorical(key, list(range(len(varied.values))))]
    if varied.whole:
        return trial.suggest_int(key, int(varied.low), int(varied.high), log=varied.log)
    return trial.suggest_float(key, varied.low, varied.high, log=varied.log)


def _stored(varied: Range | Choice, value: Any) -> Any:
    """Choices are stored by number: Optuna keeps only plain values."""
    return varied.values.index(value) if isinstance(varied, Choice) else value
