"""Export the trained backbone for timm, torch, ONNX and the Hugging Face hub; each export is verified."""

from mrkd.exporting.export import Exported, export

__all__ = ["Exported", "export"]
