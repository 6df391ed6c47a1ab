"""The backbone as an ONNX graph with any number of images at a time. Axes: B images, S pixels, N patches, D width."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from mrkd.errors import UserError
from mrkd.exporting.subject import Subject
from mrkd.model.backbone import ViT

ROUNDED = 1e-3
"""Tolerance for another runtime, whose kernels add in another order."""

MISSING = 'ONNX needs packages that are not installed: pip install "mrkd[onnx]"'


class _Tokens(nn.Module):
    def __init__(self, vit: ViT) -> None:
        super().__init__()
        self.vit = vit

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Class tokens (B, D) and patch tokens (B, N, D) of normalised images (B, 3, S, S)."""
        tokens = self.vit.forward_features(images)
        return tokens[:, 0], tokens[:, self.vit.num_prefix_tokens :]


def write_onnx(subject: Subject, path: Path) -> None:
    """Input `images`, normalised; outputs `embedding` and `patch_tokens`; mean and std are in the file's metadata.

    Raises:
        UserError: the packages for it are missing.
    """
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise UserError(MISSING) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's remarks on its own exporter
        program = torch.onnx.export(
            _Tokens(subject.of_fixed_size()),
            (subject.probe[:2],),
            dynamo=True,
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            input_names=["images"],
            output_names=["embedding", "patch_tokens"],
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(subject.metadata())
    program.save(str(path))


def check_onnx(subject: Subject, path: Path) -> float:
    """Run in onnxruntime, with another number of images than the graph was traced with."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(["embedding"], {"images": subject.probe.numpy()})[0]
    return (torch.from_numpy(found) - subject.expected).abs().max().item()


def load_onnx(subject: Subject, out: Path) -> str:
    """The line to copy."""
    return f'onnxruntime.InferenceSession("{out}").run(["embedding"], {{"images": images}})'
