"""The download, from a server on this machine: whole, broken off, corrupted, twice at once."""

import gzip
import hashlib
import http.server
import os
import shutil
import socket
import sys
import threading
import time
import warnings

import pytest
from torchvision import datasets

from data import IDX_FILES, download_mnist, find_mnist


def find(address, md5s, data, answer):
    """Look for MNIST with a mirror of our own, and answer with the folder it was found in."""
    os.environ.pop("MNIST_ROOT", None)
    os.environ["no_proxy"] = "127.0.0.1"
    warnings.simplefilter("ignore")
    sys.stderr = sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (torchvision's progress bars)
    names = [f"{name}.gz" for name in IDX_FILES]
    datasets.MNIST.mirrors = [address]
    datasets.MNIST.resources = list(zip(names, md5s, strict=True))
    answer.put(find_mnist(data=data).root)


class Mirror(http.server.ThreadingHTTPServer):
    """Serves gzipped IDX files, in the way that `manner` says."""

    def __init__(self, root):
        raw = root / "MNIST" / "raw"
        self.files = {f"{name}.gz": gzip.compress((raw / name).read_bytes()) for name in IDX_FILES}
        self.md5s = [hashlib.md5(content).hexdigest() for content in self.files.values()]
        self.manner, self.requests = "whole", []
        self.closing, self.waited_for_nothing = threading.Event(), False
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}/"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.lstrip("/")
        content, manner = self.server.files[name], self.server.manner
        self.server.requests.append(name)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        third = len(self.server.requests) >= 3  # the first request only asks for an answer
        if manner == "corrupted" and third:
            content = bytes(len(content))
        if manner in ("broken off", "stalled") and third:
            self.wfile.write(content[: len(content) // 2])
            if manner == "stalled":
                self.server.waited_for_nothing |= not self.server.closing.wait(60)
            self.close_connection = True
            return
        if manner == "slow":
            time.sleep(0.3)
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(small_root):
    server = Mirror(small_root)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def data(tmp_path, small_root):
    """A data folder with a sample and nothing else."""
    shutil.copytree(small_root, tmp_path / "data" / "sample")
    return tmp_path / "data"


@pytest.fixture
def start(processes, mirror, data):
    """Start a process that looks for MNIST; return it, and the queue that its answer comes by."""

    def start():
        answer = processes.Queue()
        process = processes.Process(target=find, args=(mirror.address, mirror.md5s, data, answer))
        process.start()
        return process, answer

    return start


def found(process, answer):
    """Return the folder that a process found MNIST in."""
    process.join()
    root = answer.get(timeout=1)
    assert process.exitcode == 0
    return root


def assert_whole(data, small_root):
    for name in IDX_FILES:
        assert (data / "MNIST" / "raw" / name).read_bytes() == (
            small_root / "MNIST" / "raw" / name
        ).read_bytes()
    assert not list(data.glob(".download-*"))


def test_a_download(start, mirror, data, small_root):
    assert found(*start()) == data
    assert_whole(data, small_root)
    before = len(mirror.requests)
    assert found(*start()) == data
    assert len(mirror.requests) == before  # it is there now


@pytest.mark.parametrize("manner", ["broken off", "corrupted"])
def test_a_download_that_fails_leaves_nothing_behind(start, mirror, data, small_root, manner):
    mirror.manner = manner
    assert found(*start()) == data / "sample"
    assert not list(data.glob("MNIST/raw/*"))
    assert not list(data.glob(".download-*"))
    mirror.manner = "whole"
    assert found(*start()) == data
    assert_whole(data, small_root)


def test_a_download_that_stalls_is_given_up(mirror, data, monkeypatch):
    monkeypatch.setattr(datasets.MNIST, "mirrors", [mirror.address])
    names = [f"{name}.gz" for name in IDX_FILES]
    resources = list(zip(names, mirror.md5s, strict=True))
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    mirror.manner = "stalled"
    with pytest.raises((OSError, RuntimeError)):
        download_mnist(data, silence=1)
    assert not mirror.waited_for_nothing
    assert not list(data.glob("MNIST/raw/*"))


def test_a_silent_mirror_gives_way_to_the_next(mirror, data, small_root, monkeypatch):
    with socket.socket() as deaf:  # connects, and never says a word
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        addresses = [f"http://127.0.0.1:{deaf.getsockname()[1]}/", mirror.address]
        monkeypatch.setattr(datasets.MNIST, "mirrors", addresses)
        names = [f"{name}.gz" for name in IDX_FILES]
        resources = list(zip(names, mirror.md5s, strict=True))
        monkeypatch.setattr(datasets.MNIST, "resources", resources)
        download_mnist(data, silence=5)
    assert_whole(data, small_root)


def test_a_killed_download_is_not_taken_for_mnist(start, mirror, data, small_root):
    mirror.manner = "stalled"
    process, _ = start()
    while len(mirror.requests) < 3 and process.is_alive():
        time.sleep(0.02)
    process.kill()
    process.join()
    mirror.manner = "whole"
    assert found(*start()) == data
    for name in IDX_FILES:
        assert (data / "MNIST" / "raw" / name).exists()


def test_a_damaged_download_is_replaced(start, mirror, data, small_root):
    shutil.copytree(small_root / "MNIST", data / "MNIST")
    (data / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"half")
    assert found(*start()) == data
    assert_whole(data, small_root)


def test_two_processes_at_once_both_get_good_data(start, mirror, data, small_root):
    mirror.manner = "slow"
    both = [start(), start()]
    assert [found(*one) for one in both] == [data, data]
    assert_whole(data, small_root)
