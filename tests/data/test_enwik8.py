"""`data=enwik8` on a small file of the official format: one zip with one member, size and hash published."""

import functools
import gzip
import hashlib
import http.server
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from configs.errors import UserError
from configs.schema import DataConfig
from data.enwik8 import ENWIK8, open_enwik8
from data.official_file import OfficialFile

# Text-like: it must shrink in a zip as the real one does.
CONTENT = np.random.default_rng(0).choice(list(b"<page> the of and [[\n"), 20_000).astype(np.uint8).tobytes()


class Site:
    """A web server on this machine with one zip file; counts how often it is asked."""

    def __init__(self, folder):
        site = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self):
                site.requests += 1
                super().do_GET()

            def log_message(self, *_):
                pass

        self.requests = 0
        self.server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
        )
        self.url = f"http://127.0.0.1:{self.server.server_port}/enwik8.zip"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def site(tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "site").mkdir()
    site = Site(tmp_path / "site")
    yield site
    site.close()


@pytest.fixture
def official(site, tmp_path):
    path = tmp_path / "site" / "enwik8.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("enwik8", CONTENT)
    packed = path.read_bytes()
    return OfficialFile(
        url=site.url,
        zip_sha256=hashlib.sha256(packed).hexdigest(),
        member="enwik8",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        split=(18_000, 1_000, 1_000),
    )


def config(tmp_path, path=None, **options):
    options = {"name": "enwik8", "source": "enwik8", "cache_dir": str(tmp_path / "cache"), **options}
    return DataConfig(path=path and str(path), **options)


def error_line(tmp_path, official, path=None, **options):
    with pytest.raises(UserError) as caught:
        open_enwik8(config(tmp_path, path, **options), official)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_is_it(corpus):
    assert corpus.bytes_per_split() == {"train": 18_000, "validation": 1_000, "test": 1_000}
    assert b"".join(corpus.split(name).tokens.tobytes() for name in ("train", "validation", "test")) == CONTENT
    assert corpus.sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_it_is_downloaded_once(tmp_path, official, site, capfd):
    first = open_enwik8(config(tmp_path), official)
    assert_is_it(first)
    assert first.source == {"url": official.url, "member": "enwik8"}
    assert (tmp_path / "cache" / "enwik8.zip").read_bytes() == (tmp_path / "site" / "enwik8.zip").read_bytes()
    assert open_enwik8(config(tmp_path), official) == first
    next((tmp_path / "cache").glob("*.json")).unlink()  # the corpus is made again from the zip that is there
    assert open_enwik8(config(tmp_path), official) == first
    assert site.requests == 1
    (tmp_path / "cache" / "enwik8.zip").write_bytes(b"damaged")
    next((tmp_path / "cache").glob("*.json")).unlink()
    assert open_enwik8(config(tmp_path), official) == first
    assert site.requests == 2


def test_it_shows_progress_on_a_terminal(tmp_path, official, monkeypatch, capfd):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    open_enwik8(config(tmp_path), official)
    assert "100%" in capfd.readouterr().err


def test_of_two_that_start_at_once_one_downloads(tmp_path, official, site):
    with ThreadPoolExecutor() as pool:
        for corpus in pool.map(lambda _: open_enwik8(config(tmp_path), official), range(4)):
            assert_is_it(corpus)
    assert site.requests == 1


def test_the_zip_and_the_unpacked_file_can_be_given(tmp_path, official, site):
    (tmp_path / "enwik8").write_bytes(CONTENT)
    assert_is_it(open_enwik8(config(tmp_path, tmp_path / "enwik8"), official))
    assert_is_it(open_enwik8(config(tmp_path, tmp_path / "site" / "enwik8.zip"), official))
    assert site.requests == 0


def test_offline_and_absent_names_the_url_and_the_place(tmp_path, official, site):
    (tmp_path / "site" / "enwik8.zip").unlink()
    line = error_line(tmp_path, official)
    assert line.startswith(f"cannot download {official.url} (")
    assert f"it is not at {tmp_path / 'cache' / 'enwik8.zip'}" in line and "data.path=FILE" in line
    site.close()
    line = error_line(tmp_path, official)
    assert line.startswith(f"cannot download {official.url} (") and "Connection refused), and it is not at" in line
    assert not list((tmp_path / "cache").glob("*tmp*")) and not (tmp_path / "cache" / "enwik8.zip").exists()


def test_a_download_that_is_not_the_official_file_is_not_kept(tmp_path, official):
    served = tmp_path / "site" / "enwik8.zip"
    packed = served.read_bytes()
    served.write_bytes(packed[:-1] + b"x")
    line = error_line(tmp_path, official)
    assert line.startswith(
        f"cannot download {official.url} (SHA256 hash of downloaded file (enwik8.zip) does not match"
    )
    assert official.zip_sha256 in line and hashlib.sha256(packed[:-1] + b"x").hexdigest() in line
    assert "data.path=FILE" in line and "Deleted" not in line
    assert not (tmp_path / "cache" / "enwik8.zip").exists()


def test_a_given_file_that_is_not_it_says_expected_and_found(tmp_path, official):
    def given(name, content):
        (tmp_path / name).write_bytes(content)
        return error_line(tmp_path, official, tmp_path / name)

    changed = CONTENT[:-1] + b"?"
    assert "is not the official enwik8: expected 20,000 bytes, found 19,999" in given("short", CONTENT[:-1])
    assert f"expected SHA-256 {official.sha256}, found {hashlib.sha256(changed).hexdigest()}" in given("other", changed)
    assert "missing does not exist" in error_line(tmp_path, official, tmp_path / "missing")
    packed = (tmp_path / "site" / "enwik8.zip").read_bytes()
    assert "is not a whole zip file; get it again from http://" in given("cut.zip", packed[:-100])
    assert "is damaged (" in given("changed.zip", packed[:500] + b"\xff" * 100 + packed[600:])
    with zipfile.ZipFile(tmp_path / "wrong.zip", "w") as archive:
        archive.writestr("enwik9", CONTENT)
    assert "holds enwik9 but no enwik8" in error_line(tmp_path, official, tmp_path / "wrong.zip")
    assert not list((tmp_path / "cache").iterdir())


def test_a_zip_that_becomes_larger_or_is_encrypted_is_stopped_before_it_is_unpacked(tmp_path, official, monkeypatch):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("enwik8", bytes(10 << 20))
        archive.writestr("../enwik9", b"escaped")
    with monkeypatch.context() as patched:
        patched.setattr(zipfile.ZipFile, "open", None)  # it is not
        line = error_line(tmp_path, official, tmp_path / "bomb.zip")
    assert "is not the official enwik8: expected 20,000 bytes, found 10,485,760" in line
    assert not list(tmp_path.rglob("enwik9"))
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(10 << 20)))
    assert "expected 20,000 bytes, found 1,048,576 or more" in error_line(tmp_path, official, tmp_path / "bomb.gz")
    encrypted = bytearray((tmp_path / "site" / "enwik8.zip").read_bytes())
    encrypted[6] |= 1  # the flag, of the file and in the directory
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "encrypted.zip").write_bytes(encrypted)
    line = error_line(tmp_path, official, tmp_path / "encrypted.zip")
    assert "encrypted.zip is damaged (File 'enwik8' is encrypted" in line and "get it again from http://" in line
    (tmp_path / "enwik8.gz").write_bytes(gzip.compress(CONTENT))
    assert_is_it(open_enwik8(config(tmp_path, tmp_path / "enwik8.gz"), official))


def test_the_split_is_fixed(tmp_path, official):
    assert "whose split is fixed (18,000 / 1,000 / 1,000 bytes)" in error_line(
        tmp_path, official, split=[0.8, 0.1, 0.1]
    )


def test_the_published_numbers():
    assert ENWIK8.n_bytes == 100_000_000 and ENWIK8.split == (90_000_000, 5_000_000, 5_000_000)
    assert len(ENWIK8.sha256) == len(ENWIK8.zip_sha256) == 64
