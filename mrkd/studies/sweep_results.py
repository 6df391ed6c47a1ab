"""The results of a sweep: plain values, a table, and the best settings of each method."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mrkd.config import Config
from mrkd.config.keys import present_names
from mrkd.config.overrides import to_dict
from mrkd.errors import UserError
from mrkd.studies.space import Choice, Space
from mrkd.system.files import read_json

RECORD = "sweep.json"


def sweep_record(studies: Mapping[str, Any], space: Space, config: Config, command: str) -> dict[str, Any]:
    """Every trial of every method: its settings, its k-NN along the run and at the end, its seconds."""
    return {
        "command": command,
        "space": {key: str(varied) for key, varied in space.items()},
        "config": to_dict(config),
        "methods": {method: _method(study, space) for method, study in studies.items()},
    }


def _method(study: Any, space: Space) -> dict[str, Any]:
    trials = []
    for trial in study.get_trials(deepcopy=False):
        if trial.state.name == "WAITING":
            continue
        trials.append(
            {
                "number": trial.number,
                "state": trial.state.name.lower(),
                "settings": {key: _value(space[key], value) for key, value in trial.params.items()},
                # Optuna gives a stopped trial the value that it had last.
                "knn": trial.value if trial.state.name == "COMPLETE" else None,
                "curve": [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)],
                **trial.user_attrs,
            }
        )
    complete = [trial for trial in trials if trial["knn"] is not None]
    best = max(complete, key=lambda trial: trial["knn"])["number"] if complete else None
    return {"best": best, "trials": trials}


def _value(varied: Any, stored: Any) -> Any:
    return varied.values[stored] if isinstance(varied, Choice) else stored


def best_settings(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Method -> the settings of its best trial, for methods with a trial that came to its end."""
    found = {}
    for method, result in record["methods"].items():
        for trial in result["trials"]:
            if trial["number"] == result["best"]:
                found[method] = trial["settings"]
    return found


def tuned_settings(sweep: str | Path, methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The best settings that a sweep found for these methods, but for those that train nothing.

    Args:
        sweep: its folder, or a copy of the `sweep.json` in it.
        methods: names.
    Raises:
        UserError: no finished sweep there, or one without some of the methods.
    """
    path = Path(sweep) if Path(sweep).is_file() else Path(sweep) / RECORD
    if not path.is_file():
        raise UserError(f"no finished sweep at {sweep}: expected {RECORD}, which 'mrkd sweep' writes")
    record = read_json(path)
    if not isinstance(record, dict) or "methods" not in record:
        raise UserError(f"{path} is not the record of a sweep: expected {RECORD}, which 'mrkd sweep' writes")
    found = best_settings(record)
    missing = [method for method in methods if method not in found and method != "random"]
    if missing:
        raise UserError(f"the sweep at {sweep} has no best settings of {', '.join(missing)}; it has {', '.join(found)}")
    names = present_names()  # an older version may have written it
    return {
        method: {names.get(key, key): value for key, value in values.items()}
        for method, values in found.items()
        if method in methods
    }


def sweep_markdown(record: Mapping[str, Any]) -> str:
    """A table of the best trial of each method, and one of all trials."""
    keys = list(record["space"])
    lines = [f"| method | best k-NN | trials | {' | '.join(keys)} |", "|---" * (3 + len(keys)) + "|"]
    for method, result in record["methods"].items():
        best = next((trial for trial in result["trials"] if trial["number"] == result["best"]), None)
        lines.append(f"| {method} | {_cells(best, keys, len(result['trials']))} |")
    lines += ["", f"| trial | k-NN | ended | {' | '.join(keys)} |", "|---" * (3 + len(keys)) + "|"]
    for method, result in record["methods"].items():
        for trial in result["trials"]:
            ended = trial.get("failure", trial["state"]).replace("|", "/")
            lines.append(f"| {method} {trial['number']} | {_cells(trial, keys, ended)} |")
    return "\n".join(lines) + "\n"


def _cells(trial: Mapping[str, Any] | None, keys: list[str], second: Any) -> str:
    if trial is None:
        return " | ".join(["–", str(second), *("–" for _ in keys)])
    reached = trial["knn"] if trial["knn"] is not None else (trial["curve"] or [None])[-1]
    shown = "–" if reached is None else f"{reached:.1f}" + ("" if trial["knn"] is not None else " (not at its end)")
    return " | ".join([shown, str(second), *(short(trial["settings"].get(key, "–")) for key in keys)])


def short(value: Any) -> str:
    """Three digits of a number, anything else as it is."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
