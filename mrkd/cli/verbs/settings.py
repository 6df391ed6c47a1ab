"""`mrkd settings`."""

import argparse

from mrkd.cli.options import add_settings_options, config_from
from mrkd.cli.verb import Verb


def _run(options: argparse.Namespace) -> None:
    import yaml

    from mrkd.config import ObjectiveConfig
    from mrkd.config.overrides import to_dict

    config = config_from(options)
    if config.objective != ObjectiveConfig():  # checking the method needs torch, which takes seconds to import
        from mrkd.objective.resolve import resolve_terms

        resolve_terms(config.objective)
    print(yaml.safe_dump(to_dict(config), sort_keys=False), end="")


VERB = Verb(
    name="settings",
    summary="print all settings as YAML, with the values of a recipe and of the command line",
    example="mrkd settings --recipe quick --train.epochs 20",
    run=_run,
    options=add_settings_options,
    takes_settings=True,
)
