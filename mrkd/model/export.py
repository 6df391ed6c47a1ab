"""The teacher's backbone as a file that plain timm loads: safetensors in timm's own parameter names."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save
from timm.models.vision_transformer import VisionTransformer

from mrkd.errors import UserError
from mrkd.model.backbone import create_vit
from mrkd.run import BACKBONE, Run, write_bytes


def save_backbone(vit: VisionTransformer, path: Path, metadata: dict[str, str]) -> None:
    """Write the ViT's weights atomically; `metadata` goes into the file's header."""
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in vit.state_dict().items()}
    write_bytes(path, save(state, metadata=metadata))


def load_backbone(run: Run) -> VisionTransformer:
    """The run's teacher backbone, in evaluation mode, without gradients.

    Raises:
        UserError: the file is missing or damaged.
    """
    config = run.config()
    path = run.path / BACKBONE
    try:
        state = load_file(str(path))
    except FileNotFoundError:
        raise UserError(f"{run.path} holds no {BACKBONE}") from None
    except Exception as error:
        raise UserError(f"{path} is damaged: {error}") from None
    vit = create_vit(config.model, config.data.size)
    vit.load_state_dict(state)
    return vit.eval().requires_grad_(False)


def export(run_path: str | Path, out: str | Path, format: str = "safetensors") -> Path:
    """Write a run's teacher backbone to `out`.

    Raises:
        UserError: an unknown format, no finished run, or `out` exists.
    """
    if format != "safetensors":
        raise UserError(f"--format must be safetensors, got {format!r}")
    run, out = Run.open(run_path), Path(out)
    if out.exists():
        raise UserError(f"{out} exists: choose another --out")
    vit = load_backbone(run)
    config = run.config()
    size, patch = config.data.size, vit.patch_embed.patch_size[0]
    with torch.no_grad():
        save_backbone(
            vit,
            out,
            {
                "img_size": str(size),
                "patch_size": str(patch),
                "embed_dim": str(vit.embed_dim),
                "depth": str(len(vit.blocks)),
                "num_heads": str(vit.blocks[0].attn.num_heads),
                "method": config.objective.method,
            },
        )
    return out
