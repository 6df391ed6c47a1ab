"""The columns of the comparison's table: those of every evaluator, and what else a run's files say of it."""

from mrkd.evaluation.evaluator import Column
from mrkd.evaluation.evaluators import EVALUATORS

JACCARD = Column(key="jaccard", path=("jaccard", "combined"), heading="attention Jaccard")
"""From `attention.json`, which has one score for each mass of attention; the table takes that of the chosen mass."""
COSTS = (
    Column(key="seconds", path=("seconds",), heading="train s", unit="s", higher_is_better=False),
    Column(key="peak_memory_mib", path=("peak_memory_mib",), heading="peak MiB", unit="MiB", higher_is_better=False),
)
"""From `summary.json`: figures of the program as much as of the method."""

_ALL = [*(column for evaluator in EVALUATORS for column in evaluator.columns), JACCARD, *COSTS]
COLUMNS: dict[str, Column] = {column.key: column for column in sorted(_ALL, key=lambda column: column.unit != "%")}
"""By key in `table.json`: percentages first, then figures with other units, each in the order of the registry."""
