"""Masked relational knowledge distillation for self-supervised vision.

The verbs of the command line are functions here: `pretrain`, `evaluate`, `attend`, `report`, `watch`, `compare`,
`sweep`, `embed`, `finetune`, `export`; `survey` is `mrkd data`, `list_runs` is `mrkd runs`. They are loaded at their
first use, so that `import mrkd` is instant and losses can be used without the rest.
"""

from functools import cache
from importlib import import_module
from typing import Any

from mrkd.errors import check_platform

__version__ = "0.1.0"

_VERBS = {
    "pretrain": "mrkd.train.pretrain",
    "evaluate": "mrkd.evaluation.evaluate_run",
    "attend": "mrkd.attention",
    "report": "mrkd.reporting",
    "watch": "mrkd.reporting",
    "compare": "mrkd.studies.compare",
    "sweep": "mrkd.studies.sweep",
    "survey": "mrkd.surveying",
    "embed": "mrkd.downstream.embed",
    "export": "mrkd.exporting",
    "finetune": "mrkd.downstream.finetune",
    "list_runs": "mrkd.reporting.listing",
    "load_config": "mrkd.cli",
}

__all__ = ["__version__", *_VERBS]  # noqa: PLE0604


@cache
def _verb(name: str) -> Any:
    """The function; as on the command line, it works to the end though whoever reads what it prints has gone."""
    from mrkd.system.output import with_lasting_output

    function = getattr(import_module(_VERBS[name]), name)
    return function if name in ("list_runs", "load_config") else with_lasting_output(function)


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        check_platform()
        return _verb(name)
    raise AttributeError(f"module 'mrkd' has no attribute {name!r}")
