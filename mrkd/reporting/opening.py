"""The first lines of the page: what was trained, on what, and the settings outside the loss that differ."""

from collections.abc import Iterable, Sequence
from typing import Any

from mrkd.objective.methods import METHODS
from mrkd.reporting.read import RunRecord, settings_of_results

UNTRAINED = "random"
_SHOWN = 6
"""Maximum number of differing settings that are listed with their values."""


def opening(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """Title, first sentence and facts about the runs, in words that fit one run or several methods.

    Returns:
        title; lead; facts: pairs of a name and a text; several: whether methods are compared; result: of a single run,
        what its training changed; methods: name, sentence and source of each method in the table of methods.
    """
    trained = [run for run in runs if run.method != UNTRAINED] or list(runs)
    methods = list(dict.fromkeys(run.method for run in trained))
    data = _distinct(run.data_name for run in trained)
    if len(methods) > 1:
        title, lead = f"{len(methods)} methods on {data}", _lead_of_several(trained)
    else:
        title, lead = f"{methods[0]} on {data}", _lead_of_one(trained[0])
    facts = {
        "images": _distinct(map(_images, trained)),
        "network": _distinct(map(_network, trained)),
        "training": _distinct(map(_training, trained)),
        "seeds": ", ".join(map(str, sorted({run.seed for run in trained}))),
        "machine": _distinct(str((run.summary or {}).get("device", "")) for run in trained),
        "also different": _differing_text(trained),
    }
    return {
        "title": title,
        "lead": lead,
        "facts": [[name, text] for name, text in facts.items() if text],
        "several": len(methods) > 1,
        "result": _result(trained[0]) if len(trained) == 1 else "",
        "methods": _methods(methods),
    }


def _result(run: RunRecord) -> str:
    measured = [(row["step"], row["knn"]) for row in run.metrics if isinstance(row.get("knn"), int | float)]
    if len(measured) < 2 or measured[0][0] != 0:
        return ""
    (_, before), (step, after) = measured[0], measured[-1]
    return (
        f"k-NN on held-out training images: {before:.1f} % before training, with random weights; {after:.1f} % at step "
        f"{step:,}."
    )


def _methods(methods: Sequence[str]) -> list[dict[str, str]]:
    """The parts of `ibot+rkd-d` are described one by one; a method of somebody's own is not described."""
    parts = dict.fromkeys(part for method in methods for part in method.partition(",")[0].split("+"))
    return [
        {"name": part, "summary": METHODS[part].summary, "source": METHODS[part].source}
        for part in parts
        if part in METHODS
    ]


def _lead_of_one(run: RunRecord) -> str:
    if run.method == UNTRAINED:
        return "An untrained network of random weights: the baseline for trained ones."
    return (
        "One network, trained without labels. Labels are used afterwards only, to measure how well its features tell "
        "classes apart."
    )


def _lead_of_several(trained: Sequence[RunRecord]) -> str:
    alike = (
        "with the same network, images and settings: only the loss differs."
        if not _differing(trained)
        else "and not only the loss differs between them: see below."
    )
    return (
        f"Networks trained without labels, {alike} Labels are used afterwards only, to measure how well the features "
        "tell classes apart."
    )


def _differing(trained: Sequence[RunRecord]) -> dict[str, dict[str, list[str]]]:
    """Setting -> value -> methods, for all settings outside the loss that are not the same in all runs."""
    found: dict[str, dict[str, list[str]]] = {}
    for run in trained:
        for key, value in settings_of_results(run).items():
            if not key.startswith("objective."):
                methods = found.setdefault(key, {}).setdefault(str(value), [])
                if run.method not in methods:
                    methods.append(run.method)
    return {key: values for key, values in found.items() if len(values) > 1}


def _differing_text(trained: Sequence[RunRecord]) -> str:
    differing = _differing(trained)
    shown = [
        f"{key} " + ", ".join(f"{value} ({', '.join(methods)})" for value, methods in differing[key].items())
        for key in list(differing)[:_SHOWN]
    ]
    more = len(differing) - len(shown)
    return "; ".join(shown) + (f"; and {more} more settings" if more else "")


def _images(run: RunRecord) -> str:
    measured = (run.evaluation or {}).get("data", {})
    if "train_images" not in measured:
        return run.data_name
    size = run.section("data").get("size")
    pixels = f" of {size} × {size} pixels" if size else ""
    scored = f"scored on {_count(measured['test_images'])} of the {measured['scored_on']} split"
    return f"{_count(measured['train_images'])} of {run.data_name}{pixels}; {scored}"


def _network(run: RunRecord) -> str:
    model, parameters = run.section("model"), (run.summary or {}).get("parameters")
    if model.get("name"):
        name = str(model["name"])
    elif {"depth", "width", "heads", "patch"} <= model.keys():
        name = (
            f"ViT with {model['depth']} blocks of width {model['width']}, {model['heads']} heads, patches of "
            f"{model['patch']} × {model['patch']} pixels"
        )
    else:
        return ""
    return name + (f", {_count(parameters)} parameters" if parameters else "")


def _training(run: RunRecord) -> str:
    steps, train = (run.summary or {}).get("steps"), run.section("train")
    if not steps:
        return ""
    batch = f" of {train['batch']} images" if train.get("batch") else ""
    return f"{_count(steps)} steps{batch}, optimizer {run.section('optim').get('name', 'not stored')}"


def _distinct(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))


def _count(number: Any) -> str:
    return f"{number:,}" if isinstance(number, int) else str(number)
