"""`mrkd export`."""

import argparse

from mrkd.cli.verb import Verb


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="a run directory")
    parser.add_argument("--format", default="safetensors", help="safetensors")
    parser.add_argument("--out", required=True, help="the file to write")


def _run(options: argparse.Namespace) -> None:
    from mrkd.model.export import export

    print(f"exported: {export(options.run, options.out, options.format)}")


VERB = Verb(
    name="export",
    summary="write a run's backbone for other tools",
    example="mrkd export runs/a --format safetensors --out backbone.safetensors",
    run=_run,
    options=_options,
)
