"""Parquet files on the disk: read in place, by rows, with nothing but pyarrow."""

import io
import json
import os
import pickle
import random
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mrkd.config import DataConfig
from mrkd.data.decode import read_image
from mrkd.data.load import load
from mrkd.data.sources import row_groups
from mrkd.data.sources.find import list_splits
from mrkd.errors import UserError
from tests.helpers.blocked import without


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (10, 8), (shade, shade, shade)).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, shades: range, *, features: object = None, image: object = None, **options: object) -> Path:
    cells = [{"bytes": png(shade), "path": None} for shade in shades] if image is None else image
    table = pa.table({"image": cells, "label": pa.array([shade % 2 for shade in shades], pa.int64())})
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def config(source: Path, **options: object) -> DataConfig:
    return DataConfig(source=str(source), size=8, **{"holdout": "test", "use_labels": False, **options})


def shades(cells: list) -> list[int]:
    return [int(read_image(cell, 8, 100)[0, 0, 0]) for cell in cells]


@pytest.fixture(params=["kept", "scanned"])
def reader(request, monkeypatch):
    """Small row groups are kept in memory, large ones read in batches; both are tried on the same files."""
    monkeypatch.setattr(row_groups, "KEPT_BYTES", 2**20 if request.param == "kept" else 0)
    monkeypatch.setattr(row_groups, "BATCH", 3)


def test_rows_are_read_in_any_order_across_files_and_row_groups(tmp_path, reader):
    write(tmp_path / "a.parquet", range(20), row_group_size=7)
    write(tmp_path / "b.parquet", range(20, 31), row_group_size=4)
    listing = list_splits(config(tmp_path)).train
    assert listing.names[19:21] == ["a.parquet row 19", "b.parquet row 0"]
    assert shades(listing.cells.many(range(31))) == [*range(31)]
    choose = random.Random(0)
    for _ in range(20):
        rows = choose.choices(range(31), k=choose.randint(1, 12))
        assert shades(listing.cells.many(rows)) == rows
    assert shades([listing.cells[30], listing.cells[2]]) == [30, 2]
    some = listing.take([25, 3, 11])
    assert shades(pickle.loads(pickle.dumps(some)).cells.many([0, 2, 1])) == [25, 11, 3]


def test_a_forked_process_opens_the_files_anew(tmp_path, reader):
    write(tmp_path / "a.parquet", range(40), row_group_size=10)
    cells = list_splits(config(tmp_path)).train.cells
    before = cells[5]
    own = cells._reader
    cells._reader.process = os.getppid()  # as a worker finds it
    assert cells[5] == before
    assert cells._reader is not own


def test_only_so_much_is_kept(tmp_path, monkeypatch):
    write(tmp_path / "a.parquet", range(40), row_group_size=10)
    cells = list_splits(config(tmp_path)).train.cells
    monkeypatch.setattr(row_groups, "KEPT_BYTES", 2 * max(group.bytes for group in cells.groups))
    for rows in ([0], [11], [22], [0, 33]):
        cells.many(rows)
        assert 1 <= len(cells._reader._kept) <= 2


def test_plain_binary_cells_and_paths_are_images_too(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "own.png").write_bytes(png(7))
    (tmp_path / "secret.png").write_bytes(png(9))
    names = ["own.png", "../secret.png", "", None, "a\0b", "x" * 5000, str(tmp_path / "secret.png")]
    write(tmp_path / "photos/x.parquet", range(7), image=names)
    cells = list_splits(config(tmp_path / "photos")).train.cells
    assert cells.many(range(7)) == [(tmp_path / "photos" / "own.png").resolve(), *[None] * 6]
    write(tmp_path / "photos/x.parquet", range(2), image=[png(1), png(2)])
    assert shades(list_splits(config(tmp_path / "photos")).train.cells.many([1, 0])) == [2, 1]


def test_files_without_rows_are_left_out(tmp_path):
    pq.write_table(pa.table({"other": pa.array([], pa.int64())}), tmp_path / "empty.parquet")
    with pytest.raises(UserError, match="no readable images found"):
        list_splits(config(tmp_path))
    write(tmp_path / "train.parquet", range(4))
    assert len(list_splits(config(tmp_path)).train) == 4


def test_class_names_come_from_the_metadata_of_the_hub(tmp_path):
    features = {"label": {"_type": "ClassLabel", "names": ["even", "odd"]}, "image": {"_type": "Image"}}
    path = write(tmp_path / "x.parquet", range(10), features=features)
    train = list_splits(config(path, use_labels=True)).train
    assert train.class_names == ("even", "odd")
    assert train.labels == [int(name.rpartition(" ")[2]) % 2 for name in train.names]
    for odd in ([], {"label": 3}, {"label": {"names": "ab"}}, {"label": {"names": [1, 2]}}):
        write(path, range(10), features=odd)
        assert list_splits(config(path, use_labels=True)).train.class_names == ("0", "1")


def test_files_of_a_split_have_the_same_columns(tmp_path):
    write(tmp_path / "a.parquet", range(4))
    pq.write_table(pa.table({"img": [png(1)], "label": [1]}), tmp_path / "b.parquet")
    with pytest.raises(UserError, match=r"b.parquet must have the columns 'image' and 'label' of a.parquet, got 'img'"):
        list_splits(config(tmp_path))


def test_the_stamp_changes_with_file_and_rows(tmp_path):
    path = write(tmp_path / "x.parquet", range(4))
    cells = list_splits(config(path)).train.cells
    assert cells.stamp() == list_splits(config(path)).train.cells.stamp()
    assert cells.stamp() != cells.take([1, 0]).stamp()
    before = cells.stamp()
    os.utime(path, ns=(1, 1))
    assert cells.stamp() != before


def test_a_damaged_row_group_is_broken_images(tmp_path, reader):
    path = write(tmp_path / "x.parquet", range(40), row_group_size=10, compression="ZSTD")
    content = bytearray(path.read_bytes())
    start = pq.read_metadata(path).row_group(2).column(0).data_page_offset
    content[start : start + 60] = bytes(60)
    path.write_bytes(content)
    splits = load(config(path, max_broken_fraction=0.5, cache=None))
    assert [name.rpartition(" ")[2] for name in splits.broken] == [str(row) for row in range(20, 30)]
    assert splits.train.images[:, 0, 0, 0].tolist() == [*range(20), *range(30, 40)]


def test_hundreds_of_damaged_files_end_in_images_or_one_line(tmp_path):
    choose = random.Random(0)
    whole = write(tmp_path / "x.parquet", range(30), row_group_size=8, features={"label": {"names": ["a", "b"]}})
    content = whole.read_bytes()
    refusals: list[str] = []
    for _ in range(300):
        broken = bytearray(content)
        for _ in range(choose.randint(1, 4)):
            broken[choose.randrange(len(broken))] ^= 1 << choose.randrange(8)
        whole.write_bytes(broken[: choose.choice([len(broken), choose.randrange(len(broken))])])
        try:
            load(config(whole, use_labels=True, max_broken_fraction=1.0, cache=None))
        except UserError as error:
            refusals.append(str(error))
    assert all(len(line.splitlines()) == 1 for line in refusals)
    assert 100 < len(refusals) < 300


@pytest.fixture
def proxy():
    """A proxy that lets nothing through and keeps what it is asked for."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(1000))

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked


def test_a_file_on_the_disk_needs_no_datasets_and_asks_the_network_for_nothing(tmp_path, proxy):
    address, asked = proxy
    path = write(tmp_path / "x.parquet", range(10))
    code = (
        f"{without('datasets', 'huggingface_hub')}\n"
        "from mrkd.config import DataConfig; from mrkd.data.load import load\n"
        f"print(len(load(DataConfig(source={str(path)!r}, size=8, cache=None)).train))"
    )
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    environment = {**os.environ, **{each: address for name in names for each in (name, name.lower())}}
    for name in ("NO_PROXY", "no_proxy"):
        environment.pop(name, None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "8\n", done.stderr
    # The proxy itself works: the same process would have been seen.
    probe = "import urllib.request\ntry: urllib.request.urlopen('http://example.invalid')\nexcept OSError: pass"
    assert asked == []
    subprocess.run([sys.executable, "-c", probe], env=environment, check=True)
    assert asked[0].startswith(b"GET http://example.invalid")


def test_a_data_set_of_the_hub_without_datasets_is_one_line_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r'\'some/thing\', a data set of the .* hub, .* pip install "mrkd\[hub\]"'):
        list_splits(DataConfig(source="some/thing"))


def test_streamed_rows_are_those_in_memory(tmp_path):
    write(tmp_path / "x.parquet", range(30), row_group_size=7)
    import torch

    resident = load(config(tmp_path, mode="resident", cache=None)).train
    streamed = load(config(tmp_path, mode="stream", workers=2)).train
    order = [torch.tensor([29, 3, 14]), torch.tensor([0, 7, 6])]
    for batch, wanted in zip(streamed.batches(order), order, strict=True):
        assert batch.indices.tolist() == wanted.tolist()
        assert np.array_equal(batch.images.numpy(), resident.images[wanted].numpy())
