"""Export the backbone of a run in one of several formats, and verify the result."""

import os
from dataclasses import dataclass
from pathlib import Path

from mrkd.errors import UserError, nearest
from mrkd.exporting import weights
from mrkd.exporting.formats import FORMATS, Format
from mrkd.exporting.trained_backbone import TrainedBackbone
from mrkd.system.files import placed_when_good, require_utf8


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The result of an export."""

    path: Path
    head: Path | None
    """File of the projection head, if requested."""
    difference: float
    """Largest absolute difference between the features of the run and of the loaded export, on a few images."""
    tolerance: float
    """The largest difference that is accepted."""
    load: str
    """The line of Python that loads the export."""


def export(
    run_path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    format: str = "timm",
    *,
    head: bool = False,
    checkpoint: str = "backbone",
) -> Exported:
    """Write the teacher's backbone of a run for other tools.

    The export is put in place only if, loaded again, it gives the same features.

    Args:
        run_path: a directory written by `pretrain`.
        out: a file with the ending of the format, or for `hf` a folder; it must not exist.
        format: `timm` (for `timm.create_model(..., checkpoint_path=...)`), `safetensors`, `torch`, `onnx`, or `hf`, a
            folder that `timm.create_model("local-dir:...")` opens.
        head: also write the projection head, as safetensors: `NAME.head.safetensors` beside the file, or
            `head.safetensors` in the folder.
        checkpoint: `backbone`, the result of the training; `best`, `last` or a step for one of its checkpoints.
    Raises:
        UserError: there is no such format, run or checkpoint, `out` exists, or the loaded export gives other
            features.
    """
    target, out = _format_named(format), Path(out)
    head_path = None if not head else out / "head.safetensors" if not target.suffixes else _beside(out)
    _check_target(target, format, out, head_path)
    backbone = TrainedBackbone.from_run(run_path, checkpoint)
    with placed_when_good(out) as temporary:
        target.write(backbone, temporary)
        difference = target.difference(backbone, temporary)
        _compare(format, difference, target.tolerance)
        if head_path is not None and not target.suffixes:
            _compare("head", weights.write_head(backbone, temporary / head_path.name), weights.EXACT)
        elif head_path is not None:
            with placed_when_good(head_path) as temporary_head:
                _compare("head", weights.write_head(backbone, temporary_head), weights.EXACT)
    return Exported(
        path=out, head=head_path, difference=difference, tolerance=target.tolerance, load=target.load(backbone, out)
    )


def _format_named(name: str) -> Format:
    if name not in FORMATS:
        raise UserError(f"unknown format {name!r}: {nearest(name, FORMATS)}")
    return FORMATS[name]


def _beside(out: Path) -> Path:
    return out.with_name(f"{out.stem}.head.safetensors")


def _check_target(target: Format, name: str, out: Path, head: Path | None) -> None:
    if target.suffixes and out.suffix not in target.suffixes:
        raise UserError(f"--format {name} writes a file ending in {' or '.join(target.suffixes)}, got {out.name}")
    require_utf8(out)
    for path in (out, head):
        if path is not None and path.exists():
            raise UserError(f"{path} exists: choose another --out")


def _compare(name: str, difference: float, tolerance: float) -> None:
    # `not ... <=` also refuses NaN.
    if not difference <= tolerance:
        raise UserError(
            f"the {name} export gives other features when loaded: largest difference {difference:.1e}, expected "
            f"at most {tolerance:.0e}; nothing was written"
        )
