"""How the numbers of the table were measured: what all runs share, and what was chosen for each."""

from collections.abc import Mapping, Sequence
from typing import Any

from mrkd.evaluation.evaluator import main_results
from mrkd.evaluation.evaluators import EVALUATORS
from mrkd.reporting.read import RunRecord


def protocols(runs: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """For each measurement of the evaluated runs: its name, the settings that all share, and those of each run.

    Returns:
        Dictionaries of `name`; `shared`, a text; and `chosen`, a text for each setting that differs, with the runs that
        have each value.
    """
    by_name: dict[str, dict[str, Mapping[str, Any]]] = {}
    for run in runs:
        for result in main_results(EVALUATORS, run.evaluation or {}):
            if result.protocol:
                by_name.setdefault(result.title, {})[run.label] = result.protocol
    return [{"name": name, **_described(own)} for name, own in by_name.items()]


def _described(own: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    keys = dict.fromkeys(key for protocol in own.values() for key in protocol)
    shared, chosen = [], []
    for key in keys:
        runs_of: dict[str, list[str]] = {}
        for label, protocol in own.items():
            runs_of.setdefault(_text(protocol.get(key)), []).append(label)
        name = key.replace("_", " ")
        if len(runs_of) == 1:
            shared.append(f"{name} {next(iter(runs_of))}")
        else:
            chosen.append(f"{name} " + "; ".join(f"{text} ({', '.join(labels)})" for text, labels in runs_of.items()))
    return {"shared": ", ".join(shared), "chosen": chosen}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " / ".join(map(_text, value))
    return "not stored" if value is None else str(value)
