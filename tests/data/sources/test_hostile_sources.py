"""Sources made to do harm: pipes in place of files, odd headers, endless numbers. Each is one line, none hangs."""

import io
import os
import socket
import subprocess
import sys
import tarfile

import pytest

from mrkd.data.load import load
from mrkd.data.sources.find import list_splits
from mrkd.errors import UserError
from tests.helpers.sources import config, fill, labelled_parquet, png, shard, write_csv

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("name", ["x.tar", "x.csv", "x.tsv", "x.parquet", "x"])
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_pipe_or_socket_in_place_of_a_file_is_refused(tmp_path, monkeypatch, name, kind):
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        os.mkfifo(name) if kind == "pipe" else server.bind(name)
        with pytest.raises(UserError, match="must be a folder or a regular file, got a pipe, socket or device"):
            list_splits(config(f"./{name}"))
    with pytest.raises(UserError, match="must be a folder or a regular file"):
        list_splits(config("/dev/zero"))


@pytest.mark.parametrize("name", ["x.tar", "x.parquet", "x", "a/5"])
def test_a_pipe_inside_a_folder_of_images_is_told(tmp_path, name):
    fill(tmp_path, "a", "b")
    os.mkfifo(tmp_path / name)
    splits = load(config(tmp_path))
    assert len(splits.train) == 8
    assert splits.notes == (f"not read: 1 pipes, sockets, devices or dead links, such as {name}",)


def test_a_pipe_that_a_table_names_is_an_unreadable_image(tmp_path):
    os.mkfifo(tmp_path / "1.pipe")
    path = write_csv(tmp_path, "image,label", [",a", ",b"])
    path.write_text(path.read_text() + "1.pipe,a\n2\0.png,a\n" + "x" * 5000 + ".png,b\n")
    assert len(load(config(path, max_broken_fraction=1.0)).broken) == 3


@pytest.mark.parametrize(
    "content", ["3", "null", "[1, 2]", '"label"', "true", "[" * 100_000, '{"label": ' + "1" * 6000]
)
def test_json_that_is_no_object_is_refused(tmp_path, content):
    path = shard(tmp_path / "x.tar", ("1.png", png()), ("1.json", content.encode()))
    with pytest.raises(UserError, match=r"1.json must hold a JSON object, got '.{1,45}$"):
        list_splits(config(path))


@pytest.mark.parametrize("label", ["1e999", "-1e999", "[1]", '{"a": 1}', "0.5", "-2", "1" * 4000])
def test_json_labels_that_are_no_classes_are_refused(tmp_path, label):
    path = shard(tmp_path / "x.tar", ("1.png", png()), ("1.json", f'{{"label": {label}}}'.encode()))
    with pytest.raises(UserError, match=r"must hold whole numbers in \[0, 1000000\), got .{1,60} in row 0"):
        list_splits(config(path))


@pytest.mark.parametrize("label", ["1" * 5000, "1" * 6000, "1e999", "inf", "-7", "0.25"])
def test_texts_of_numbers_that_are_no_classes_are_refused(tmp_path, label):
    table = write_csv(tmp_path, "image,label", [f",{label}"])
    tar = shard(tmp_path / "x.tar", ("1.png", png()), ("1.cls", label.encode()))
    for path in (table, tar):
        with pytest.raises(UserError, match=r"must hold whole numbers in \[0, 1000000\), got .{1,60} in row 0"):
            list_splits(config(path))


def test_labels_longer_than_any_name_are_refused(tmp_path):
    table = write_csv(tmp_path, "image,label", [f",{'1' * 500_000}"])
    tar = shard(tmp_path / "x.tar", ("1.png", png()), ("1.cls", b"1" * 2_000_000))
    with pytest.raises(UserError, match="larger than field limit"):
        list_splits(config(table))
    with pytest.raises(UserError, match=r"1.cls must hold a label of at most 1,000,000 bytes, got 2,000,000"):
        list_splits(config(tar))


PAX = [
    {"size": "-5"},
    {"size": "x"},
    {"size": "1" * 6000},
    {"GNU.sparse.map": "x,y", "GNU.sparse.size": "9"},
    {"GNU.sparse.map": "0,10", "GNU.sparse.size": "9"},
    {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "a.png", "GNU.sparse.realsize": "100"},
]


@pytest.mark.parametrize("headers", PAX)
def test_odd_pax_and_sparse_headers_are_one_line(tmp_path, headers):
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for number in range(3):
            member = tarfile.TarInfo(f"{number}.png")
            member.size, member.pax_headers = len(png()), headers
            archive.addfile(member, io.BytesIO(png()))
    with pytest.raises(UserError) as caught:
        list_splits(config(tmp_path / "x.tar"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [b"\xff" * 12, b"\x80" + b"\x7f" * 11, b"-0000000001\0", b"77777777777\0"])
def test_negative_and_huge_sizes_are_one_line(tmp_path, size):
    path = shard(tmp_path / "x.tar", ("1.cls", b"1"), ("1.png", png()))
    content = bytearray(path.read_bytes())
    content[124:136] = size
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    path.write_bytes(content)
    with pytest.raises(UserError, match="as an uncompressed tar") as caught:
        list_splits(config(path))
    assert "\n" not in str(caught.value)


def test_a_zero_byte_in_the_name_of_a_member_is_shown_escaped(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("1.png")
        member.size, member.pax_headers = len(png(3)), {"path": "a\0b.png"}
        archive.addfile(member, io.BytesIO(png(3)))
    splits = load(config(tmp_path / "x.tar"))
    assert splits.train.names == (r"x.tar/a\x00b.png",)
    assert splits.train.images[0, 0, 0, 0] == 3


NO_NETWORK = """
import sys
def refuse(event, arguments):
    if event.startswith("socket."):
        sys.stderr.write(f"{event} {arguments}\\n")
        raise SystemExit(7)
sys.addaudithook(refuse)
from mrkd.config import DataConfig
from mrkd.data.load import load
for path in sys.argv[1:]:
    print(len(load(DataConfig(source=path, size=8, cache=None)).train))
"""


def test_files_on_the_disk_open_no_socket_and_import_no_client_of_the_hub(tmp_path):
    paths = [
        labelled_parquet(tmp_path / "x.parquet", [0, 1] * 5),
        write_csv(tmp_path / "list", "image,label", [",a", ",b"] * 5),
        shard(tmp_path / "x.tar", *((f"{number}.png", png(number)) for number in range(8))),
        fill(tmp_path / "folder", "a", "b"),
    ]
    code = NO_NETWORK + "assert not {'datasets', 'huggingface_hub', 'requests', 'httpx'} & set(sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.returncode) == (["8"] * 4, 0), done.stderr
    # The hook itself works: a socket would have ended the process.
    probe = f"{NO_NETWORK}\nimport socket\nsocket.create_connection(('127.0.0.1', 9))"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False).returncode == 7
