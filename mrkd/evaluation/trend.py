"""The verdict on a run from its measurements over time: healthy, not learning, flat, or losing rank.

Each rule compares a few numbers with the thresholds below. None uses the loss, because it also falls in a collapse.
"""

from collections.abc import Sequence

from mrkd.evaluation.collapse import Verdict

GAIN = 2.0
"""Minimum gain of k-NN, in percentage points, of a run that learns; less is noise with a few hundred images."""
STILL = 3
"""Number of consecutive measurements that must agree before a run is called flat."""
KNN_STILL = 1.0
"""Maximum difference of k-NN, in percentage points, between measurements that agree."""
SHAPE_STILL = 0.05
"""Maximum relative difference of rank and of `feature_std` between measurements that agree."""
LATE = 0.75
"""Fraction of the schedule after which a flat curve says little: the learning rate has nearly ended."""
RANK_LOST = 0.3
"""Fraction of the highest rank that must be lost, with two falls in a row, to call the rank falling."""


def read_trend(measurements: Sequence[dict[str, float]], width: int, *, progress: float) -> Verdict:
    """The verdict on a run that has not collapsed.

    Args:
        measurements: each has `rankme` and `feature_std`, and `knn` in percent if there are labels. The first is that
            of the untrained network.
        width: number of channels, D, the maximum of the rank.
        progress: fraction of the steps that have been taken.
    """
    verdict = (
        _falling(measurements, width) or _not_learning(measurements, width) or _flat(measurements, width, progress)
    )
    return verdict or Verdict(kind="healthy", sentence=f"healthy: {_directions(measurements, width)}")


def _directions(measurements: Sequence[dict[str, float]], width: int) -> str:
    return f"features use about {measurements[-1]['rankme']:.0f} of {width} directions"


def _falling(measurements: Sequence[dict[str, float]], width: int) -> Verdict | None:
    ranks = [measured["rankme"] for measured in measurements]
    if len(ranks) < 3 or not ranks[-3] > ranks[-2] > ranks[-1] or ranks[-1] > (1 - RANK_LOST) * max(ranks):
        return None
    knn = _knn(measurements)
    # When features form clusters, rank falls and k-NN rises; this is no problem.
    if knn and knn[-1] >= max(knn) - KNN_STILL:
        return None
    lost = f", and k-NN {max(knn) - knn[-1]:.0f} points" if knn else ""
    return Verdict(
        kind="falling",
        sentence=f"rank falling: features used {max(ranks):.0f} of {width} directions and use {ranks[-1]:.0f} now"
        f"{lost}; a collapse may follow: lower the learning rate, or choose an earlier checkpoint",
    )


def _not_learning(measurements: Sequence[dict[str, float]], width: int) -> Verdict | None:
    if len(measurements) < 2:
        return None
    knn, first, last = _knn(measurements), measurements[0], measurements[-1]
    if knn:
        if knn[-1] >= knn[0] + GAIN:
            return None
        finding = f"k-NN is {knn[-1]:.0f} %, and was {knn[0]:.0f} % with random weights"
    else:
        if not _same_shape([first, last]):
            return None
        finding = "rank and spread of the features are still those of random weights"
    return Verdict(kind="not-learning", sentence=f"not yet learning: {finding}; {_directions(measurements, width)}")


def _flat(measurements: Sequence[dict[str, float]], width: int, progress: float) -> Verdict | None:
    recent = measurements[-STILL:]
    if len(measurements) <= STILL or not _same_shape(recent):
        return None
    knn = _knn(recent)
    if knn and max(knn) - min(knn) > KNN_STILL:
        return None
    knn_text = f"k-NN {knn[-1]:.0f} % and " if knn else ""
    advice = "; the schedule has nearly ended, and a longer one may reach more" if progress >= LATE else ""
    return Verdict(
        kind="flat",
        sentence=f"flat: {knn_text}{measurements[-1]['rankme']:.0f} of {width} directions in the last "
        f"{STILL} measurements{advice}",
    )


def _knn(measurements: Sequence[dict[str, float]]) -> list[float]:
    return [measured["knn"] for measured in measurements if "knn" in measured]


def _same_shape(measurements: Sequence[dict[str, float]]) -> bool:
    """Whether rank and `feature_std` of the measurements agree."""
    for key in ("rankme", "feature_std"):
        values = [measured[key] for measured in measurements]
        if max(values) > (1 + SHAPE_STILL) * min(values):
            return False
    return True
