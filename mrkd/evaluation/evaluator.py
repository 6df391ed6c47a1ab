"""The interface of evaluators: a measurement, its key in `evaluation.json`, and its columns in tables.

To add one, write a module in `mrkd.evaluation.evaluators` with an `EVALUATOR`, and add a line to the registry there.
Tables, the report, the model card and the command line read names, headings, units and order from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # no torch: the report imports this file and must start at once
    from mrkd.config import Config
    from mrkd.evaluation.features import FeatureSet
    from mrkd.model.backbone import ViT


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the comparison table: one number of an evaluator."""

    key: str
    """Name of the column in `table.json`."""
    path: tuple[str, ...]
    """Keys of the number inside the value of the evaluator, such as ("10_epochs", "acc1")."""
    heading: str
    """Short heading, to be read after those of the columns before it."""
    title: str = ""
    """Name of the number outside a table; empty if it is the heading."""
    group: str = ""
    """What is measured, in full, such as "linear probe, 100 epochs": the heading of adjacent columns in the report.
    Empty if it is the title."""
    score: str = ""
    """Name of the number inside its group, such as "top-1"."""
    primary: bool = False
    """Whether the report shows it at once; the others wait behind a button."""
    unit: str = "%"
    decimals: int = 1
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        if not self.title:
            object.__setattr__(self, "title", self.heading)
        if not self.group:
            object.__setattr__(self, "group", self.title)

    def number(self, value: Any) -> float | None:
        """The number inside the value of an evaluator; None if it was not measured."""
        for key in self.path:
            if not isinstance(value, Mapping) or key not in value:
                return None
            value = value[key]
        return value

    def text(self, number: float) -> str:
        """The number as text, without its unit."""
        return f"{number:.{self.decimals}f}"


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """A measurement of a backbone.

    Heavy modules are imported inside `measure`, so that reading names and headings is fast.
    """

    name: str
    """Key in `evaluation.json`."""
    title: str
    """Name in sentences, in the model card and above the protocol."""
    columns: tuple[Column, ...]
    """Columns; the first is the main result."""
    measure: Callable[[ViT, FeatureSet, FeatureSet, Config], dict[str, Any] | None]
    """Takes backbone, training features, test features and config; returns the value for `evaluation.json`.

    The value contains results and their `protocol`, or several such parts by name (as for the lengths of the SGD
    probe). It is None if the config skips the measurement.
    """
    needs_labels: bool = True
    needs_masks: bool = False
    """Whether it reads object masks; it measures nothing where there are none."""
    of_features: bool = True
    """Whether it reads features alone, so that it can measure a frozen teacher, which may be any network."""
    of_pixels: bool = False
    """Whether comparisons measure it on raw pixels, too; it then looks at features alone, never at the backbone."""
    optional: bool = False
    """Whether it is measured only where `evaluation.more` names it, because it takes long."""
    formerly: str = ""
    """Key that it had in the `evaluation.json` of older versions."""

    def value_in(self, evaluation: Mapping[str, Any]) -> Any:
        """Its value in an `evaluation.json`; None where it was not measured."""
        return evaluation.get(self.name, evaluation.get(self.formerly))

    def results(self, value: Mapping[str, Any]) -> Iterator[Result]:
        """The main result of a value, or of each of its parts if its column leads through a part."""
        main = self.columns[0]
        parts = {"": value}
        if len(main.path) > 1:
            parts = {name: part for name, part in value.items() if isinstance(part, Mapping) and "protocol" in part}
        for name, part in parts.items():
            number = part.get(main.path[-1])
            if number is not None:
                title = f"{self.title}, {name.replace('_', ' ')}" if name else self.title
                yield Result(title=title, number=number, column=main, protocol=part.get("protocol", {}))


@dataclass(frozen=True, kw_only=True)
class Result:
    """A main result with its protocol, for display."""

    title: str
    number: float
    column: Column
    """The column, which formats the number."""
    protocol: Mapping[str, Any]
    """The settings of the measurement; empty if it has none."""

    @property
    def figure(self) -> str:
        """The number with its unit."""
        return f"{self.column.text(self.number)} {self.column.unit}"


def main_results(evaluators: Sequence[Evaluator], evaluation: Mapping[str, Any]) -> list[Result]:
    """The main results in an `evaluation.json`, in the order of the evaluators, without those not measured."""
    measured = [(evaluator, evaluator.value_in(evaluation)) for evaluator in evaluators]
    return [result for evaluator, value in measured if value is not None for result in evaluator.results(value)]
