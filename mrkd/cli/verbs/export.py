"""`mrkd export`."""

import argparse

from mrkd.cli.options import add_checkpoint_option
from mrkd.cli.verb import Verb
from mrkd.system.output import say

FORMATS = ("timm", "safetensors", "torch", "onnx", "hf")


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="a run directory")
    parser.add_argument(
        "--format",
        default="timm",
        choices=FORMATS,
        help="timm (default): for create_model(checkpoint_path=...); safetensors; torch: tensors and plain values; "
        "onnx; hf: a folder with model card, config and weights",
    )
    parser.add_argument("--out", required=True, help=".safetensors, .pt, .onnx, or for hf a new folder")
    parser.add_argument("--head", action="store_true", help="also write the projection head, as safetensors")
    add_checkpoint_option(parser)


def _run(options: argparse.Namespace) -> None:
    from mrkd.exporting import export

    done = export(options.run, options.out, options.format, head=options.head, checkpoint=options.checkpoint)
    say(f"exported: {done.path}" + (f" and {done.head}" if done.head else ""))
    say(f"verified: features differ by at most {done.difference:.1e} (allowed {done.tolerance:.0e})")
    say(f"load with: {done.load}")


VERB = Verb(
    name="export",
    summary="export a run's backbone for timm, torch, ONNX or the Hugging Face hub, and verify it",
    example="mrkd export runs/a --format timm --out backbone.safetensors",
    run=_run,
    options=_options,
)
