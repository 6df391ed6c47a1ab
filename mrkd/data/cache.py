"""A cache of decoded images: one safetensors file for each listing.

The name is a digest of the decoder's version, the size, and a stamp of every file (path, bytes, time of change); to
read all files and hash them would cost much of what the cache saves. A file holds the pixels, the rows that could be
read, and the CRC-32 of both, and comes into place in one rename, so that processes may share the folder.
"""

import hashlib
import json
import os
import zlib
from pathlib import Path

import PIL
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mrkd.config import DataConfig
from mrkd.data.decode import DECODING
from mrkd.data.listing import Listing
from mrkd.system.files import remove_leftovers, write_atomically
from mrkd.system.output import say


def cache_folder(config: DataConfig) -> Path | None:
    """The folder of the cache; None if there is no cache."""
    if config.cache is None:
        return None
    if config.cache != "auto":
        return Path(config.cache).expanduser()
    if own := os.environ.get("MRKD_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "mrkd"


class DecodedCache:
    """The cache file of one listing; without a cache folder, nothing is found and nothing written."""

    def __init__(self, listing: Listing, config: DataConfig) -> None:
        folder = cache_folder(config)
        stamp = None if folder is None else listing.cells.stamp()
        self.limit_bytes = config.cache_gib * 2**30
        self.path = None if folder is None or stamp is None else folder / f"{_key(stamp, config)}.safetensors"

    def read(self) -> tuple[Tensor, Tensor] | None:
        """Pixels (n, 3, S, S) uint8, memory-mapped, and their rows (n,) int64 in the listing; None if there is no file.

        A damaged file is reported and removed.
        """
        if self.path is None or not self.path.is_file():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                images, rows = file.get_tensor("images"), file.get_tensor("rows")
                expected = (file.metadata() or {}).get("crc32")
            if expected != _checksum(images, rows):
                raise ValueError(f"expected the checksum {expected}, got another")
            os.utime(self.path)  # used now: others are removed first
        except FileNotFoundError:
            return None  # another process has just made room
        except (SafetensorError, OSError, ValueError) as error:
            say(f"{self.path} is damaged ({error}): decoding again")
            self.path.unlink(missing_ok=True)
            return None
        return images, rows

    def write(self, images: Tensor, rows: Tensor) -> None:
        """Write the decoded images. If that fails, one line says so, and the next run decodes again."""
        if self.path is None or images.nbytes > self.limit_bytes:
            return
        tensors, metadata = {"images": images, "rows": rows}, {"crc32": _checksum(images, rows)}
        try:
            write_atomically(self.path, lambda temporary: save_file(tensors, temporary, metadata))
            self._make_room()
        except (OSError, SafetensorError) as error:
            say(f"decoded images are not kept in {self.path.parent}: {error}")

    def _make_room(self) -> None:
        """Remove the least recently used files above the limit, never the one just written."""
        assert self.path is not None
        remove_leftovers(self.path.parent)
        others = [path for path in self.path.parent.glob("*.safetensors") if path != self.path]
        used = self.path.stat().st_size
        for path in sorted(others, key=_last_used, reverse=True):
            try:
                used += path.stat().st_size
            except FileNotFoundError:
                continue  # another process was faster
            if used > self.limit_bytes:
                path.unlink(missing_ok=True)


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _key(stamp: str, config: DataConfig) -> str:
    decides = [DECODING, PIL.__version__, config.size, config.max_pixels, stamp]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:32]


def _checksum(images: Tensor, rows: Tensor) -> str:
    return f"{zlib.crc32(rows.numpy().data, zlib.crc32(images.contiguous().numpy().data)):08x}"
