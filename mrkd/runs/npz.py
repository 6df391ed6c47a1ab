"""Read and write arrays of a run directory, without pickle. They are not in `run`, which does not import numpy."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mrkd.errors import UserError
from mrkd.system.files import write_bytes


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write plain arrays atomically, compressed; nothing in them is pickled."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(path, buffer.getbuffer())


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read what `write_npz` wrote, or a UserError that names the file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged: {error}") from None
