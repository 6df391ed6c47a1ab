"""The state of a run besides its networks: steps, seconds, measurements, verdict."""

from dataclasses import dataclass, field


@dataclass
class Progress:
    """What a checkpoint stores beside the learner's state."""

    step: int = 0
    """Steps taken."""
    seconds: float = 0.0
    """Spent on them, over all the processes that took part one after another."""
    features: dict[str, float] = field(default_factory=dict)
    """As last measured."""
    measurements: list[dict[str, float]] = field(default_factory=list)
    """All that were measured, the untrained network's first."""
    best_knn: float = -1.0
    """Highest percent so far; -1 without labels."""
    verdict: dict[str, str] = field(
        default_factory=lambda: {"kind": "untrained", "sentence": "not trained: random weights"}
    )
    warned: list[str] = field(default_factory=list)
    """Kinds of collapse that have been told."""
    skipped_steps: int = 0
    """Steps left out because a number was not finite."""
