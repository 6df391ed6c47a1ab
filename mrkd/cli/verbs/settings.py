"""`mrkd settings`."""

import argparse

from mrkd.cli.options import add_settings_options, config_from
from mrkd.cli.verb import Verb


def _run(options: argparse.Namespace) -> None:
    import yaml

    from mrkd.config.overrides import to_dict

    print(yaml.safe_dump(to_dict(config_from(options)), sort_keys=False), end="")


VERB = Verb(
    name="settings",
    summary="print all settings as YAML, with the values of a recipe and of the command line",
    example="mrkd settings --recipe quick --train.epochs 20",
    run=_run,
    options=add_settings_options,
    takes_settings=True,
)
