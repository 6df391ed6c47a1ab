"""The table of export formats: how each is written, verified and loaded. `mrkd.cli.verbs.export` lists their names."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mrkd.exporting import hub, onnx_graph, weights
from mrkd.exporting.trained_backbone import TrainedBackbone


@dataclass(frozen=True, kw_only=True)
class Format:
    """A file format for backbones: how to write it, how to verify it, and how users load it."""

    suffixes: tuple[str, ...]
    """Allowed file endings; empty if the export is a folder."""
    write: Callable[[TrainedBackbone, Path], None]
    difference: Callable[[TrainedBackbone, Path], float]
    """Loads the export as a user would; returns the largest absolute difference of features on the probe images."""
    tolerance: float
    """The largest difference that is accepted."""
    load: Callable[[TrainedBackbone, Path], str]
    """Returns the line of Python that loads the export."""


FORMATS = {
    "timm": Format(
        suffixes=(".safetensors",),
        write=weights.write_timm,
        difference=weights.check_timm,
        tolerance=weights.EXACT,
        load=weights.load_timm,
    ),
    "safetensors": Format(
        suffixes=(".safetensors",),
        write=weights.write_timm,
        difference=weights.check_safetensors,
        tolerance=weights.EXACT,
        load=weights.load_safetensors,
    ),
    "torch": Format(
        suffixes=(".pt", ".pth"),
        write=weights.write_torch,
        difference=weights.check_torch,
        tolerance=weights.EXACT,
        load=weights.load_torch,
    ),
    "onnx": Format(
        suffixes=(".onnx",),
        write=onnx_graph.write_onnx,
        difference=onnx_graph.check_onnx,
        tolerance=onnx_graph.ROUNDED,
        load=onnx_graph.load_onnx,
    ),
    "hf": Format(
        suffixes=(), write=hub.write_hub, difference=hub.check_hub, tolerance=weights.EXACT, load=hub.load_hub
    ),
}
