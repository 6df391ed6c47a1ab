"""Masked relational knowledge distillation for self-supervised vision.

`pretrain` returns a `Run` and `compare` returns a `Comparison`. Functions that take the path of such a directory also
take these objects. `Run("runs/a")` opens an existing run. The other verbs of the command line are functions, too:
`evaluate`, `attend`, `report`, `watch`, `sweep`, `embed`, `finetune`, `export`; `survey` is `mrkd data`, and
`list_runs` is `mrkd runs`. Wrong input raises `UserError`, whose message of one line says what to do. Everything is
loaded at its first use, so `import mrkd` is instant, and the losses of `mrkd.losses` can be used without the rest.
"""

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mrkd.errors import UserError as UserError
from mrkd.errors import check_platform

if TYPE_CHECKING:  # for type checkers and editors; the same names and modules as below
    from mrkd import losses as losses
    from mrkd.api.comparison import Comparison as Comparison
    from mrkd.api.run import Run as Run
    from mrkd.api.verbs import compare as compare
    from mrkd.api.verbs import pretrain as pretrain
    from mrkd.attention import attend as attend
    from mrkd.cli import load_config as load_config
    from mrkd.downstream.embed import embed as embed
    from mrkd.downstream.finetune import finetune as finetune
    from mrkd.evaluation.evaluate_run import evaluate as evaluate
    from mrkd.exporting import export as export
    from mrkd.reporting import report as report
    from mrkd.reporting import watch as watch
    from mrkd.reporting.listing import list_runs as list_runs
    from mrkd.studies.sweep import sweep as sweep
    from mrkd.surveying import survey as survey

__version__ = "0.1.0"

_LAZY = {
    "pretrain": "mrkd.api.verbs",
    "compare": "mrkd.api.verbs",
    "Run": "mrkd.api.run",
    "Comparison": "mrkd.api.comparison",
    "evaluate": "mrkd.evaluation.evaluate_run",
    "attend": "mrkd.attention",
    "report": "mrkd.reporting",
    "watch": "mrkd.reporting",
    "sweep": "mrkd.studies.sweep",
    "survey": "mrkd.surveying",
    "embed": "mrkd.downstream.embed",
    "export": "mrkd.exporting",
    "finetune": "mrkd.downstream.finetune",
    "list_runs": "mrkd.reporting.listing",
    "load_config": "mrkd.cli",
}
"""Name -> module that has it."""

__all__ = ["UserError", "__version__", "losses", *_LAZY]  # noqa: PLE0604


if not TYPE_CHECKING:  # otherwise a type checker would accept every misspelled name

    @cache
    def _loaded(name: str) -> Any:
        """A class, or a function that works to its end though whoever reads what it prints has gone."""
        from mrkd.system.output import with_lasting_output

        found = getattr(import_module(_LAZY[name]), name)
        returns_at_once = isinstance(found, type) or name in ("list_runs", "load_config")
        return found if returns_at_once else with_lasting_output(found)

    def __getattr__(name: str) -> Any:
        if name in _LAZY:
            check_platform()
            return _loaded(name)
        if name == "losses":
            return import_module("mrkd.losses")
        raise AttributeError(f"module 'mrkd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
