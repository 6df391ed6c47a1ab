"""What only several runs show: how alike their features are, and which label-free number predicts the linear probe.

Axes: R runs, m images on the map, D width.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mrkd.evaluation.evaluators import EVALUATORS
from mrkd.reporting.columns import COLUMNS
from mrkd.reporting.read import RunRecord
from mrkd.reporting.table import flat_figures
from mrkd.runs.run import EMBEDDING

PREDICTED = "linear_acc1"
"""Column of the linear probe."""
LABEL_FREE = tuple(
    column.key
    for evaluator in EVALUATORS
    if not (evaluator.needs_labels or evaluator.needs_masks)
    for column in evaluator.columns
)
"""Columns that are measured without labels."""
LOGGED = {
    "relation_correlation": "relation correlation in training",
    "agreement": "agreement of student and teacher in training",
    "teacher_entropy": "entropy of the teacher in training",
}
"""Numbers of the training log, of which the last is taken, and their titles."""
FEWEST_RUNS = 4
"""Of fewer runs, a rank correlation says nothing."""


def across_runs(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """`similarity` and `predictors` for `table.json`; None where there are too few runs."""
    return {"similarity": similarity(runs), "predictors": predictors(runs)}


def similarity(runs: Sequence[RunRecord]) -> dict[str, Any] | None:
    """Linear CKA between the features of the same test images, for all pairs of runs that have them.

    Returns:
        runs: (R) names; methods: (R); cka: (R, R) in [0, 1]; images: m. None with fewer than two runs.
    """
    found = [(run, arrays["features"], arrays["images"]) for run in runs if "features" in (arrays := _map_of(run))]
    if not found:
        return None
    shown = found[0][2]
    same = [(run, features) for run, features, images in found if np.array_equal(images, shown)]
    if len(same) < 2:
        return None
    grams = [_centred_gram(features) for _, features in same]
    return {
        "runs": [run.name for run, _ in same],
        "methods": [run.method for run, _ in same],
        "cka": [[_alignment(first, second) for second in grams] for first in grams],
        "images": len(shown),
    }


def _map_of(run: RunRecord) -> Mapping[str, np.ndarray]:
    """The arrays of the run's map; none if it has no map."""
    return run.arrays(EMBEDDING) or {}


def linear_cka(first: np.ndarray, second: np.ndarray) -> float:
    """Linear centred kernel alignment, in [0, 1], of features (m, D) and (m, D') of the same images.

    Rotation and scale of either have no influence. It is 0 if either is constant.

    Source:
        Kornblith et al., ICML 2019 (arXiv:1905.00414), section 3 with a linear kernel.
    """
    return _alignment(_centred_gram(first), _centred_gram(second))


def _centred_gram(features: np.ndarray) -> np.ndarray:
    """(m, m) of unit norm, so that the alignment of two is their inner product; all 0 for constant features."""
    centred = features.astype(np.float64) - features.astype(np.float64).mean(axis=0)
    gram = centred @ centred.T
    norm = np.linalg.norm(gram)
    return gram / norm if norm > 0 else gram


def _alignment(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.sum(first * second))


def predictors(runs: Sequence[RunRecord]) -> dict[str, Any] | None:
    """For each number measured without labels, its Spearman correlation with the linear probe over the runs.

    Returns:
        predicted: key of the probe's column; numbers: a list, the strongest correlation first, each with `key`,
        `title`, `spearman` (None if all values are equal), and, run by run, `runs` (names), `values` and `probe`. A
        number that fewer than `FEWEST_RUNS` runs have is left out; None if all are.
    """
    figures = [(run, flat_figures(run)) for run in runs if run.evaluation is not None and run.summary is not None]
    probed = [(run, own) for run, own in figures if PREDICTED in own]
    numbers = [
        number
        for key, title in {**{key: COLUMNS[key].title for key in LABEL_FREE}, **LOGGED}.items()
        if (number := _predictor(key, title, probed)) is not None
    ]
    if not numbers:
        return None
    return {
        "predicted": PREDICTED,
        "numbers": sorted(numbers, key=lambda number: -abs(number["spearman"] or 0.0)),
    }


def _predictor(key: str, title: str, probed: Sequence[tuple[RunRecord, Mapping[str, float]]]) -> dict[str, Any] | None:
    values = {run.name: (_last_logged(run, key) if key in LOGGED else own.get(key)) for run, own in probed}
    known = [(run.name, values[run.name], own[PREDICTED]) for run, own in probed if values[run.name] is not None]
    if len(known) < FEWEST_RUNS:
        return None
    names, own_values, probe = (list(part) for part in zip(*known, strict=True))
    from scipy.stats import spearmanr  # slow to import, and a single run needs none

    vary = len(set(own_values)) > 1 and len(set(probe)) > 1
    return {
        "key": key,
        "title": title,
        "spearman": float(spearmanr(own_values, probe).statistic) if vary else None,
        "runs": names,
        "values": own_values,
        "probe": probe,
    }


def _last_logged(run: RunRecord, key: str) -> float | None:
    """The last number of the training log under this key; None if there is none."""
    logged = (row[key] for row in reversed(run.metrics) if isinstance(row.get(key), int | float))
    return next(logged, None)
