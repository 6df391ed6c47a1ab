"""The columns of the comparison table: those of all evaluators, attention overlap, time and memory."""

from mrkd.evaluation.evaluator import Column
from mrkd.evaluation.evaluators import EVALUATORS

JACCARD = Column(
    key="jaccard",
    path=("jaccard", "combined"),
    heading="attention Jaccard",
    group="attention on the object",
    score="Jaccard",
)
"""From `attention.json`, which has a score for each mass of attention; the table shows that of the configured mass."""
COSTS = (
    Column(
        key="seconds",
        path=("seconds",),
        heading="train s",
        group="cost of training",
        score="time, s",
        primary=True,
        unit="s",
        higher_is_better=False,
    ),
    Column(
        key="peak_memory_mib",
        path=("peak_memory_mib",),
        heading="peak MiB",
        group="cost of training",
        score="peak memory, MiB",
        primary=True,
        unit="MiB",
        higher_is_better=False,
    ),
)
"""From `summary.json`; they depend on the implementation as much as on the method."""

_ALL = [*(column for evaluator in EVALUATORS for column in evaluator.columns), JACCARD, *COSTS]
COLUMNS: dict[str, Column] = {column.key: column for column in sorted(_ALL, key=lambda column: column.unit != "%")}
"""Key in `table.json` -> column: percentages first, then other units, each in the order of the registry."""
