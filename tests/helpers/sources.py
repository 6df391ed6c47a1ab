"""Sources of tiny images: folders, tables and shards."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from mrkd.config import DataConfig


def png(shade: int = 0, kind: str = "PNG") -> bytes:
    """An encoded image of one grey."""
    buffer = io.BytesIO()
    Image.new("RGB", (10, 8), (shade, shade, shade)).save(buffer, kind)
    return buffer.getvalue()


def put(path: Path, shade: int = 0, kind: str = "PNG") -> None:
    """Write one image and the folders around it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(shade, kind))


def fill(root: Path, *folders: str, each: int = 5) -> Path:
    """So many images in each folder."""
    for folder in folders:
        for number in range(each):
            put(root / folder / f"{number}.png")
    return root


def config(source: object, **options: object) -> DataConfig:
    """Settings for images of 8 pixels."""
    return DataConfig(source=str(source), size=8, **options)


def cells(*shades: int) -> list[dict]:
    """Images as the hub's parquet files have them."""
    return [{"bytes": png(shade), "path": None} for shade in shades]


def write_parquet(path: Path, **columns: list) -> Path:
    """A parquet file with these columns."""
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def labelled_parquet(path: Path, labels: list) -> Path:
    """One image for each label."""
    return write_parquet(path, image=cells(*range(len(labels))), label=labels)


def shard(path: Path, *members: tuple[str, bytes], mode: str = "w") -> Path:
    """A tar file of these members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_csv(folder: Path, header: str, rows: Iterable[str], *, encoding: str = "utf-8") -> Path:
    """A CSV in which row i is the file i.png, with such an image, and what the rows say of it."""
    lines = [header]
    for number, rest in enumerate(rows):
        put(folder / f"{number}.png", number)
        lines.append(f"{number}.png{rest}")
    path = folder / "list.csv"
    path.write_bytes(("\n".join(lines) + "\n").encode(encoding))
    return path
