"""One run, one form, checked."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mrkd.errors import UserError, nearest
from mrkd.exporting import hub, onnx_graph, weights
from mrkd.exporting.subject import Subject
from mrkd.system.files import placed_when_good


@dataclass(frozen=True, kw_only=True)
class Form:
    """One way to write a backbone."""

    suffixes: tuple[str, ...]
    """Endings of its files; none for a folder."""
    write: Callable[[Subject, Path], None]
    difference: Callable[[Subject, Path], float]
    """Reads it back as its users would; the largest difference of features on a few images."""
    tolerance: float
    """A larger difference is an error."""
    load: Callable[[Subject, Path], str]
    """A line of Python that reads it."""


FORMS = {
    "timm": Form(
        suffixes=(".safetensors",),
        write=weights.write_timm,
        difference=weights.check_timm,
        tolerance=weights.EXACT,
        load=weights.load_timm,
    ),
    "safetensors": Form(
        suffixes=(".safetensors",),
        write=weights.write_timm,
        difference=weights.check_safetensors,
        tolerance=weights.EXACT,
        load=weights.load_safetensors,
    ),
    "torch": Form(
        suffixes=(".pt", ".pth"),
        write=weights.write_torch,
        difference=weights.check_torch,
        tolerance=weights.EXACT,
        load=weights.load_torch,
    ),
    "onnx": Form(
        suffixes=(".onnx",),
        write=onnx_graph.write_onnx,
        difference=onnx_graph.check_onnx,
        tolerance=onnx_graph.ROUNDED,
        load=onnx_graph.load_onnx,
    ),
    "hf": Form(suffixes=(), write=hub.write_hub, difference=hub.check_hub, tolerance=weights.EXACT, load=hub.load_hub),
}


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written and how far its features are from the run's."""

    path: Path
    head: Path | None
    """The projection head's file, when it was asked for."""
    difference: float
    """Largest absolute difference of features on a few images, after reading the file back."""
    tolerance: float
    """The difference that would have been an error."""
    load: str
    """A line of Python that reads it."""


def export(
    run_path: str | Path, out: str | Path, format: str = "timm", *, head: bool = False, checkpoint: str = "backbone"
) -> Exported:
    """Write a run's teacher backbone for other tools, after reading it back and comparing its features.

    Args:
        run_path: a directory written by `pretrain`.
        out: a file with the form's ending, or for `hf` a folder; it must not exist.
        format: `timm` (for `timm.create_model(..., checkpoint_path=...)`), `safetensors`, `torch`, `onnx`, or `hf`, a
            folder that `timm.create_model("local-dir:...")` opens.
        head: also write the projection head, as safetensors: `NAME.head.safetensors` beside the file, or
            `head.safetensors` in the folder.
        checkpoint: `backbone`, the result of the training; `best`, `last` or a step for one of its checkpoints.
    Raises:
        UserError: no such form, run or checkpoint, `out` exists, or the file read back gives other features.
    """
    form, out = _form(format), Path(out)
    head_path = None if not head else out / "head.safetensors" if not form.suffixes else _beside(out)
    _check_target(form, format, out, head_path)
    subject = Subject.of(run_path, checkpoint)
    with placed_when_good(out) as temporary:
        form.write(subject, temporary)
        difference = form.difference(subject, temporary)
        _compare(format, difference, form.tolerance)
        if head_path is not None and not form.suffixes:
            _compare("head", weights.write_head(subject, temporary / head_path.name), weights.EXACT)
        elif head_path is not None:
            with placed_when_good(head_path) as temporary_head:
                _compare("head", weights.write_head(subject, temporary_head), weights.EXACT)
    return Exported(
        path=out, head=head_path, difference=difference, tolerance=form.tolerance, load=form.load(subject, out)
    )


def _form(name: str) -> Form:
    if name not in FORMS:
        raise UserError(f"unknown format {name!r}: {nearest(name, FORMS)}")
    return FORMS[name]


def _beside(out: Path) -> Path:
    return out.with_name(f"{out.stem}.head.safetensors")


def _check_target(form: Form, name: str, out: Path, head: Path | None) -> None:
    if form.suffixes and out.suffix not in form.suffixes:
        raise UserError(f"--format {name} writes a file ending in {' or '.join(form.suffixes)}, got {out.name}")
    for path in (out, head):
        if path is not None and path.exists():
            raise UserError(f"{path} exists: choose another --out")


def _compare(name: str, difference: float, tolerance: float) -> None:
    # Written so that NaN is refused too.
    if not difference <= tolerance:
        raise UserError(
            f"the {name} read back gives other features: largest difference {difference:.1e}, expected at most "
            f"{tolerance:.0e}; nothing was written"
        )
