"""Compare methods: train each with each seed in a process of its own, and write one table and report."""

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from mrkd.config import Config, DataConfig, TeacherConfig
from mrkd.config.keys import equal_among_compared, part_of_measurement
from mrkd.config.overrides import differences, with_overrides
from mrkd.config.sections.objective import canonical_method
from mrkd.data.sources.find import check_outside, list_splits
from mrkd.errors import Interrupted, UserError
from mrkd.evaluation.evaluators import wanted
from mrkd.evaluation.pixels import evaluate_pixels
from mrkd.objective.checks import learns_from_frozen
from mrkd.objective.resolve import resolve_terms
from mrkd.optim.optimizers import check_optimizer
from mrkd.reporting import report
from mrkd.reporting.across_runs import across_runs
from mrkd.reporting.conclusion import conclusion
from mrkd.reporting.read import read_run
from mrkd.reporting.table import make_table, table_markdown
from mrkd.runs.comparability import has_comparable_evaluation, measurement_settings
from mrkd.runs.run import PIXELS, RunDirectory
from mrkd.studies.subprocesses import Subprocesses
from mrkd.system.files import read_json, write_json, write_text
from mrkd.system.output import say
from mrkd.system.signals import StopRequest
from mrkd.train.autotune import recall, with_one_batch


def compare(
    config: Config,
    methods: Sequence[str],
    seeds: Sequence[int],
    out: str | os.PathLike[str],
    *,
    tuned: Mapping[str, Mapping[str, Any]] | None = None,
    jobs: int = 1,
    references: bool = True,
    command: str = "",
) -> dict[str, Any]:
    """Train, measure and draw every method with every seed under one config; write the table and the report.

    Runs that are already finished under the same config are kept, and an unfinished one goes on after its last
    checkpoint, so an interrupted comparison takes up where it was.

    Args:
        config: everything but method and seed; an automatic batch is chosen once, by the number of images.
        methods: names as `mrkd methods` lists them; those that take nothing from a frozen teacher train without it.
        seeds: one run of each method per seed.
        out: a directory; gets `runs/`, `pixels.json`, `table.json`, `table.md` and `report.html`.
        tuned: dotted settings of single methods, laid over the config; the table lists them. None that changes the
            images, the batch or the length.
        jobs: runs at a time, each with its share of the CPU's threads. Small networks gain from it: one thread each
            wastes less than two threads that wait for each other.
        references: have the rows by which the others are judged: raw pixels, and `random` where it is not named.
        command: shown in the report as the way to get there again.
    Returns:
        The content of `table.json`.
    Raises:
        UserError: an unknown method, another comparison in `out`, or no run that succeeded.
        Interrupted: SIGTERM or SIGINT came, and the runs in progress have written their checkpoints.
    """
    out = Path(out)
    if not methods or not seeds:
        raise UserError("compare needs at least one method and one seed")
    if jobs < 1:
        raise UserError(f"jobs must be at least 1, got {jobs}")
    if config.train.minutes is not None:
        raise UserError("compare needs the same length for all: give --epochs or --train.steps instead of --minutes")
    if references and "random" not in methods:
        print("── random weights are compared, too: --no-references leaves them and raw pixels out", flush=True)
        methods = ["random", *methods]
    config = with_one_batch(config)
    methods = [canonical_method(name) for name in methods]
    tuned = {canonical_method(name): settings for name, settings in (tuned or {}).items()}
    planned = [
        _variant(config, method, seed, tuned.get(method, {}))
        for method in dict.fromkeys(methods)
        for seed in dict.fromkeys(seeds)
    ]
    for variant in planned:
        resolve_terms(variant.objective)
        check_optimizer(variant.optim.name)
        wanted(variant.evaluation.more)
    alone = dict.fromkeys(one.objective.method for one in planned if one.teacher.source != config.teacher.source)
    if alone:
        say(f"these take nothing from a teacher, and train without: {', '.join(alone)}")
    check_outside(out, config.data.source)
    _check_measurable(config.data)
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "runs").is_dir())):
        raise UserError(f"{out} holds something else: choose another --out")
    _measure_pixels(config, out, wanted=references)
    failures = _run_all(planned, out, jobs)
    runs = [out / "runs" / run_name(variant) for variant in planned if run_name(variant) not in failures]
    if not runs:
        raise UserError(f"every run failed; the first: {next(iter(failures.values()))}")
    records = [read_run(path) for path in runs]
    table = make_table(records)
    table["conclusion"] = conclusion(table["rows"])
    table["across_runs"] = across_runs(records)
    table["failures"] = failures
    table["command"] = command
    table["jobs"] = jobs
    table["tuned"] = {method: dict(tuned[method]) for method in dict.fromkeys(methods) if method in tuned}
    write_json(out / "table.json", table)
    write_text(out / "table.md", table_markdown(table))
    report(runs, out / "report.html", command=command)
    return table


def _check_measurable(data: DataConfig) -> None:
    """Before anything is trained: every run is going to be scored by its labels."""
    splits = list_splits(data)
    if splits.unscorable:
        raise UserError(
            f"compare scores every method by labels, but of {data.source} {splits.unscorable}: "
            "give labelled images, or train with mrkd pretrain"
        )


def _measure_pixels(config: Config, out: Path, *, wanted: bool) -> None:
    """`pixels.json`, measured once for these images and this evaluation; tables and report show it as it lies there."""
    path = out / PIXELS
    if not wanted:
        path.unlink(missing_ok=True)
        return
    if path.is_file() and read_json(path).get("measured_with") == measurement_settings(config):
        return
    (out / "runs").mkdir(parents=True, exist_ok=True)  # by which the folder is known as a comparison's
    results = evaluate_pixels(config)
    write_json(path, results)
    print(f"── pixels: measured in {results['seconds']:.0f} s", flush=True)


def _run_all(planned: Sequence[Config], out: Path, jobs: int) -> dict[str, str]:
    """Every planned run that is not finished yet; returns run name to reason for those that failed."""
    unfinished = []
    for variant in planned:
        if _finished(out / "runs" / run_name(variant), variant):
            say(f"── {run_name(variant)}: finished before, kept")
        else:
            unfinished.append(variant)
    failures: dict[str, str] = {}
    estimate = _Estimate(unfinished)
    children = Subprocesses(jobs)
    with StopRequest(children.pass_on) as request, ThreadPoolExecutor(jobs) as pool:
        pending = {
            pool.submit(
                children.run, variant, out / "runs" / run_name(variant), request, then=("evaluate", "attend")
            ): variant
            for variant in unfinished
        }
        for number, future in enumerate(as_completed(pending), start=1):
            name, error = run_name(pending[future]), future.result()
            if request.received is not None:
                continue
            state = "done" if error is None else f"failed: {error}"
            say(f"── {number}/{len(unfinished)} {name} {state}{estimate.after(pending[future])}")
            if error is not None:
                failures[name] = error
    if request.received is not None:
        raise Interrupted.by(request.received, f"stopped in {out}; the same command goes on from there")
    return failures


class _Estimate:
    """Time left, from the runs that are done."""

    def __init__(self, planned: Sequence[Config]) -> None:
        self.started = time.monotonic()
        self.done = 0.0
        self.total = sum(self.weight(variant) for variant in planned)

    @staticmethod
    def weight(config: Config) -> float:
        """Rough share of the time: `random` trains nothing and is only evaluated."""
        return 1.0 if resolve_terms(config.objective) else 0.15

    def after(self, config: Config) -> str:
        """`, about 3.0 min left`; empty before a training has finished, when there is nothing to estimate from."""
        self.done += self.weight(config)
        left = (time.monotonic() - self.started) / self.done * (self.total - self.done)
        return f", about {left / 60:.1f} min left" if left > 0 and self.done >= 1 else ""


def run_name(config: Config) -> str:
    """Directory name of one run of a comparison."""
    return f"{config.objective.method}-seed{config.train.seed}"


def _variant(config: Config, method: str, seed: int, own: Mapping[str, Any]) -> Config:
    for key in own:
        if equal_among_compared(key):
            raise UserError(f"methods are compared on the same images, batch and length: leave {key} to all of them")
    config = with_overrides(config, own)
    objective = dataclasses.replace(config.objective, method=method)
    learns = learns_from_frozen(resolve_terms(objective))
    return dataclasses.replace(
        config,
        objective=objective,
        teacher=config.teacher if learns else TeacherConfig(),
        train=dataclasses.replace(config.train, seed=seed),
    )


def _finished(path: Path, config: Config) -> bool:
    run, config = RunDirectory(path), recall(config, path)
    run.check(config)
    if not run.started:
        return False
    # Stricter than resuming: the rows of one table must be measured alike, too. What an older version did not know of
    # its evaluation is no difference: such a run is measured again.
    known = run.flat_settings()
    differing = differences(run.config(), config)
    # Where the images lie is left to the training, which compares them; the run is then measured again.
    differing.pop("data.source", None)
    if changed := {key: both for key, both in differing.items() if key in known or not part_of_measurement(key)}:
        shown = ", ".join(f"{key}: {old} → {new}" for key, (old, new) in changed.items())
        raise UserError(f"{path} holds a run with other settings ({shown}): choose another --out, or remove it")
    return run.finished and has_comparable_evaluation(run, config) and (path / "attention.png").is_file()
