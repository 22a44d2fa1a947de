"""fetch: against a server on this machine that gives good, broken, slow and no answers."""

import dataclasses
import gzip
import hashlib
import importlib
import io
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import pytest

from reparam.data import RemoteFile, Source, fetch, load_data
from reparam.data.sources import SOURCES

module = importlib.import_module("reparam.data.fetch")  # the name is also that of the function
GOOD = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(GOOD).hexdigest()


class Server(ThreadingHTTPServer):
    """Answers by the path's last part; remembers what it was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked = []
        self.encodings = []
        self.files = {}
        self.sent = 0
        self.released = threading.Event()

    def url(self, answer):
        return f"http://127.0.0.1:{self.server_address[1]}/{answer}"


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        answer = self.path[1:]
        self.server.asked.append(answer)
        self.server.encodings.append(self.headers["Accept-Encoding"])
        if (
            answer == "missing"
            or (answer == "busy-once" and self.server.asked.count(answer) == 1)
            or answer == "broken"
        ):
            self.send_error(404 if answer == "missing" else 503)
            return
        self.send_response(200)
        good = self.server.files.get(answer, GOOD)
        if answer != "endless":
            self.send_header("Content-Length", str(len(good)))
        self.end_headers()
        content = {"corrupt": good[:-1] + b"x", "truncated": good[:1000], "slow": good[:1000]}.get(answer, good)
        self.wfile.write(content)
        self.wfile.flush()
        if answer == "endless":
            self.send_for_ever()
        if answer == "slow":
            self.server.released.wait(20)

    def send_for_ever(self):
        for _ in range(1000):  # 64 MB, were nobody to hang up
            try:
                self.wfile.write(bytes(2**16))
            except OSError:
                return
            self.server.sent += 2**16

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "BACKOFF", 0.01)
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield found
        found.released.set()
        found.shutdown()
        thread.join()


def source(*urls):
    return Source("thing", "things", (RemoteFile("thing.bin", SHA256, len(GOOD), urls),), 1, 1, (1,), "", "")


def test_a_file_comes_once_and_is_whole(server, tmp_path):
    (path,) = fetch(source(server.url("good")), cache=tmp_path)
    assert path == tmp_path / "things" / "thing.bin"
    assert path.read_bytes() == GOOD
    assert fetch(source(server.url("good")), cache=tmp_path) == (path,)
    assert server.asked == ["good"]


@pytest.mark.parametrize("bad", ["missing", "broken", "corrupt", "truncated"])
def test_the_next_mirror_is_asked_where_one_fails(server, tmp_path, bad):
    (path,) = fetch(source(server.url(bad), server.url("good")), cache=tmp_path)
    assert path.read_bytes() == GOOD
    assert server.asked == [bad, "good"]
    assert [file.name for file in path.parent.iterdir()] == ["thing.bin"]


def test_a_busy_server_is_asked_again_and_one_without_the_file_is_not(server, tmp_path):
    (path,) = fetch(source(server.url("missing"), server.url("busy-once")), cache=tmp_path)
    assert path.read_bytes() == GOOD
    assert server.asked == ["missing", "busy-once", "busy-once"]


@pytest.mark.parametrize(
    ("bad", "reason", "times"),
    [
        ("missing", "HTTP 404", 1),
        ("broken", "HTTP 503", 3),
        ("corrupt", "its content is not what was published", 1),
        ("truncated", "the answer broke off", 3),
        ("slow", "no answer within 0.2 s", 3),
        ("endless", f"it sends more than the published {len(GOOD)} bytes", 1),
    ],
)
def test_what_went_wrong_is_said_in_one_line_and_nothing_damaged_stays(server, tmp_path, bad, reason, times):
    with pytest.raises(OSError, match="could not be fetched") as caught:
        fetch(source(server.url(bad)), cache=tmp_path, timeout=0.2)
    message = str(caught.value)
    assert message.startswith(f"thing: thing.bin could not be fetched ({server.url(bad)}: {reason})")
    assert f"Expected: {len(GOOD)} bytes with sha256 {SHA256}" in message
    assert f"put the file at {tmp_path / 'things' / 'thing.bin'} by hand" in message
    assert "\n" not in message
    assert server.asked == [bad] * times
    assert list((tmp_path / "things").iterdir()) == []


def test_a_download_stops_at_the_published_size(server, tmp_path):
    with pytest.raises(ValueError, match="it sends more than the published 100000 bytes"):
        module._download(server.url("endless"), tmp_path / "x", 100_000, None, timeout=5)
    assert (tmp_path / "x").stat().st_size <= 100_000
    assert server.sent < 2**25  # what lay in buffers on the way


def test_mirrors_with_https_are_asked_first(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_try", lambda url, *rest: asked.append(url) or ("no answer", False))
    asked = []
    with pytest.raises(OSError, match="no answer"):
        fetch(source("http://a/x", "https://b/x", "http://c/x", "https://d/x"), cache=tmp_path)
    assert asked == ["https://b/x", "https://d/x", "http://a/x", "http://c/x"]


def test_a_server_that_is_not_there_is_no_connection(server, tmp_path):
    with pytest.raises(OSError, match=r"http://127.0.0.1:9/x: no connection\)"):
        fetch(source("http://127.0.0.1:9/x"), cache=tmp_path)


def test_a_damaged_file_in_the_cache_is_replaced_and_kept_until_then(server, tmp_path):
    path = tmp_path / "things" / "thing.bin"
    path.parent.mkdir()
    path.write_bytes(GOOD[:-1] + b"x")
    with pytest.raises(OSError, match="HTTP 404"):
        fetch(source(server.url("missing")), cache=tmp_path)
    assert path.exists()
    fetch(source(server.url("good")), cache=tmp_path)
    assert path.read_bytes() == GOOD


def test_a_cache_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "things").write_text("a file")
    with pytest.raises(OSError, match=r"the cache .*things cannot be made .*REPARAM_DATA"):
        fetch(source(server.url("good")), cache=tmp_path)


def test_a_full_disk_is_said_so(server, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pooch.core.shutil.move", full)
    with pytest.raises(OSError, match=r"thing.bin cannot be written \(No space left on device\). Make room"):
        fetch(source(server.url("good")), cache=tmp_path)
    assert list((tmp_path / "things").iterdir()) == []


def test_the_bar_is_drawn_on_a_terminal_alone(server, tmp_path, monkeypatch, capsys):
    fetch(source(server.url("good")), cache=tmp_path / "silent")
    assert capsys.readouterr() == ("", "")
    fetch(source(server.url("good")), cache=tmp_path / "drawn", progress=True)
    assert "thing.bin" in capsys.readouterr().err
    fetch(source(server.url("good")), cache=tmp_path / "drawn", progress=True)
    assert capsys.readouterr() == ("", "")


def test_pooch_keeps_silent_and_its_level_is_put_back(server, tmp_path):
    said = io.StringIO()
    logger, handler = pooch.get_logger(), logging.StreamHandler(said)
    logger.addHandler(handler)
    level = logger.level
    fetch(source(server.url("good")), cache=tmp_path)
    logger.removeHandler(handler)
    assert (said.getvalue(), logger.level) == ("", level)


def test_files_are_asked_for_as_they_are_stored(server, tmp_path):
    fetch(source(server.url("good")), cache=tmp_path)
    assert server.encodings == ["identity"]


def test_what_was_fetched_is_loaded_by_name(server, tmp_path, monkeypatch):
    images = np.arange(5 * 28 * 28, dtype=np.uint8).reshape(5, 28, 28)
    header = b"\x00\x00\x08\x03" + b"".join(size.to_bytes(4, "big") for size in images.shape)
    content = gzip.compress(header + images.tobytes())
    labels = gzip.compress(b"\x00\x00\x08\x01" + (5).to_bytes(4, "big") + bytes(range(5)))
    files = []
    for file in SOURCES["fashion-mnist"].files:
        served = server.files[file.name] = content if "images" in file.name else labels
        sha256 = hashlib.sha256(served).hexdigest()
        files.append(RemoteFile(file.name, sha256, len(served), (server.url(file.name),)))
    stand_in = dataclasses.replace(SOURCES["fashion-mnist"], files=tuple(files))
    monkeypatch.setitem(SOURCES, "fashion-mnist", stand_in)
    monkeypatch.setenv("REPARAM_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="Run `reparam data fetch fashion-mnist`"):
        load_data("fashion-mnist")
    assert fetch("fashion-mnist") == tuple(tmp_path / "fashion-mnist" / file.name for file in files)
    data = load_data("fashion-mnist", shape=(28, 28))
    assert np.array_equal(data.train.values, images)
    assert data.test.labels.tolist() == [0, 1, 2, 3, 4]
    assert len(server.asked) == 4


def test_the_published_checksums_are_complete_and_their_names_unique():
    for entry in SOURCES.values():
        for file in entry.files:
            assert len(bytes.fromhex(file.sha256)) == 32
            assert len(set(file.urls)) >= 2
            assert all(Path(url).name == file.name for url in file.urls)
    assert fetch("mnist") == ()
    with pytest.raises(ValueError, match="Did you mean 'omniglot'"):
        fetch("omniglott")
