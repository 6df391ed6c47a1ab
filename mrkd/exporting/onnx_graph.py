"""Export to ONNX, with a variable batch size. Axes: B images, S pixels, N patches, D width."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from mrkd.errors import UserError
from mrkd.exporting.trained_backbone import TrainedBackbone
from mrkd.model.backbone import ViT

ROUNDED = 1e-3
"""Tolerance for another runtime, which rounds differently."""

MISSING = 'ONNX needs packages that are not installed: pip install "mrkd[onnx]"'


class _Tokens(nn.Module):
    def __init__(self, vit: ViT) -> None:
        super().__init__()
        self.vit = vit

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Class tokens (B, D) and patch tokens (B, N, D) of normalised images (B, 3, S, S)."""
        tokens = self.vit.forward_features(images)
        return tokens[:, 0], tokens[:, self.vit.num_prefix_tokens :]


def write_onnx(backbone: TrainedBackbone, path: Path) -> None:
    """Write a graph with the input `images`, normalised, and the outputs `embedding` and `patch_tokens`.

    Mean and std for the normalisation are in the metadata of the file.

    Raises:
        UserError: the packages for ONNX are not installed.
    """
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise UserError(MISSING) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of torch about its own exporter
        program = torch.onnx.export(
            _Tokens(backbone.of_fixed_size()),
            (backbone.probe_images[:2],),
            dynamo=True,
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            input_names=["images"],
            output_names=["embedding", "patch_tokens"],
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(backbone.metadata())
    program.save(str(path))


def check_onnx(backbone: TrainedBackbone, path: Path) -> float:
    """Run the graph in onnxruntime, with another batch size than in tracing; return the difference of features."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(["embedding"], {"images": backbone.probe_images.numpy()})[0]
    return (torch.from_numpy(found) - backbone.probe_features).abs().max().item()


def load_onnx(backbone: TrainedBackbone, out: Path) -> str:
    """The line of Python that runs the graph."""
    return f'onnxruntime.InferenceSession("{out}").run(["embedding"], {{"images": images}})'
