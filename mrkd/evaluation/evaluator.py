"""What an evaluator is: one measurement, its name in `evaluation.json`, and how people are shown it.

To add one: a module in `mrkd.evaluation.evaluators` with an `EVALUATOR`, and a line in the registry there. Tables, the
report, the model card and the command line read names, headings, units and order from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the report reads this file, and opens at once because nothing here imports torch
    from mrkd.config import Config
    from mrkd.evaluation.features import FeatureSet
    from mrkd.model.backbone import ViT


@dataclass(frozen=True, kw_only=True)
class Column:
    """One number of a comparison's table."""

    key: str
    """Its name in `table.json`."""
    path: tuple[str, ...]
    """Keys that lead from the measured value to the number, such as ("10_epochs", "acc1")."""
    heading: str
    """Above the column; short, and read with the columns before it."""
    title: str = ""
    """What it is called where it stands alone; the heading when empty."""
    unit: str = "%"
    decimals: int = 1
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        if not self.title:
            object.__setattr__(self, "title", self.heading)

    def number(self, value: Any) -> float | None:
        """The number inside a measured value; None where it was not measured."""
        for key in self.path:
            if not isinstance(value, Mapping) or key not in value:
                return None
            value = value[key]
        return value

    def text(self, number: float) -> str:
        """The number for people, without its unit."""
        return f"{number:.{self.decimals}f}"


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """One measurement of a frozen backbone.

    Heavy modules are imported inside `measure`, so that reading names and headings takes no time.
    """

    name: str
    """Key in `evaluation.json`."""
    title: str
    """What it is called in sentences, in the model card and above its protocol."""
    columns: tuple[Column, ...]
    """The first is its main figure."""
    measure: Callable[[ViT, FeatureSet, FeatureSet, Config], dict[str, Any] | None]
    """From the backbone, the training features, the test features and the config: the value in `evaluation.json`.

    It holds the figures and their `protocol`, or several such by name (as the SGD probe's lengths). None when the
    config skips it.
    """
    needs_labels: bool = True
    of_pixels: bool = False
    """Whether comparisons measure it on raw pixels, too; it then looks at features alone, never at the backbone."""
    formerly: str = ""
    """Key that it had in the `evaluation.json` of older versions."""

    def value_in(self, evaluation: Mapping[str, Any]) -> Any:
        """Its value in an `evaluation.json`; None where it was not measured."""
        return evaluation.get(self.name, evaluation.get(self.formerly))

    def results(self, value: Mapping[str, Any]) -> Iterator[Result]:
        """The main figure of a measured value, or of each of its parts where its column leads through a part."""
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
    """A main figure with its protocol, for people."""

    title: str
    number: float
    column: Column
    """How the number is written."""
    protocol: Mapping[str, Any]
    """Empty where there is nothing to choose."""

    @property
    def figure(self) -> str:
        """Number and unit."""
        return f"{self.column.text(self.number)} {self.column.unit}"


def main_results(evaluators: Sequence[Evaluator], evaluation: Mapping[str, Any]) -> list[Result]:
    """The main figures of an `evaluation.json`, in the order of the evaluators; what was not measured is left out."""
    measured = [(evaluator, evaluator.value_in(evaluation)) for evaluator in evaluators]
    return [result for evaluator, value in measured if value is not None for result in evaluator.results(value)]
