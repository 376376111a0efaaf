"""A published corpus: one zip with one member, whose sizes and hashes are known, and its customary split."""

import hashlib
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from configs.command import can_draw
from configs.errors import UserError
from configs.schema import DataConfig
from data.columns import first_line
from data.corpus import Built, Corpus, cache_errors, cache_folder, cached_corpus
from data.cuts import SPLITS, checked_fractions
from data.file_lock import locked
from data.files import WatchedFiles, existing_file, file_sha256, unreadable
from data.unpacking import CHUNK, unpacked_chunks

TIMEOUT = 60.0  # seconds without a byte before a download is given up


@dataclass(frozen=True)
class OfficialFile:
    """A published zip file with one member, and the split that published results use."""

    url: str
    zip_sha256: str
    member: str
    sha256: str  # of the unpacked member
    split: tuple[int, int, int]  # bytes of train, validation, test
    alphabet: bytes | None = None  # all bytes that the member has; None: not told

    @property
    def n_bytes(self) -> int:
        """Bytes of the unpacked member."""
        return sum(self.split)


def open_official(config: DataConfig, official: OfficialFile) -> Corpus:
    """The corpus from `data.path` (the zip or the unpacked file), from the cache, or downloaded once.

    UserError for a file of another size, hash or alphabet, for another split than the official one, and when it can
    neither be found nor downloaded.
    """
    _check_split(config, official)
    path = existing_file(config.path) if config.path is not None else None
    watched = WatchedFiles([path] if path else [])
    # The key is what is read. A cache made from the official zip serves without the zip itself.
    digest = official.zip_sha256 if path is None else file_sha256(path)
    recipe = {"source": official.member, "file_sha256": digest, "split": list(official.split)}

    def build(write: Callable[[bytes], None]) -> Built:
        file = path or _downloaded(cache_folder(config), official)
        n_bytes, content = 0, hashlib.sha256()
        for chunk in _member_chunks(file, official):
            _check_alphabet(file, official, chunk)
            n_bytes += len(chunk)
            if n_bytes > official.n_bytes:  # before more of it fills the disk
                raise _another(file, official, f"{n_bytes:,} or more")
            content.update(chunk)
            write(chunk)
        watched.require_unchanged()
        _check_file(file, official.member, (official.n_bytes, official.sha256), (n_bytes, content.hexdigest()))
        return Built(dict(zip(SPLITS, official.split, strict=True)), {})

    return cached_corpus(config, recipe, {"url": official.url, "member": official.member}, build)


def _check_split(config: DataConfig, official: OfficialFile) -> None:
    shares = [n / official.n_bytes for n in official.split]
    if any(abs(asked - share) > 1e-6 for asked, share in zip(checked_fractions(config.split), shares, strict=True)):
        sizes = " / ".join(f"{n:,}" for n in official.split)
        raise UserError(
            f"data.split={list(config.split)} cannot be used with data={official.member}, whose split is fixed "
            f"({sizes} bytes); leave data.split out, or type data=text data.path=FILE"
        )


def _check_file(where: Path | str, what: str, expected: tuple[int, str], found: tuple[int, str]) -> None:
    """UserError when (bytes, SHA-256) is not as published."""
    if found[0] != expected[0]:
        raise UserError(f"{where} is not the official {what}: expected {expected[0]:,} bytes, found {found[0]:,}")
    if found[1] != expected[1]:
        raise UserError(f"{where} is not the official {what}: expected SHA-256 {expected[1]}, found {found[1]}")


def _check_alphabet(where: Path, official: OfficialFile, chunk: bytes) -> None:
    """UserError for a byte that the official file does not have."""
    if official.alphabet is not None and (others := chunk.translate(None, official.alphabet)):
        raise UserError(
            f"{where} is not the official {official.member}: it has {bytes(others[:1])!r}, which is none of its "
            f"{len(official.alphabet)} characters; for text of your own type data=text27 data.path=FILE"
        )


def _member_chunks(path: Path, official: OfficialFile) -> Iterator[bytes]:
    """The content of the zip's member, or of the file itself, also compressed, when it is not a zip."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if official.member not in archive.namelist():
                    names = ", ".join(archive.namelist()[:3]) or "nothing"
                    raise UserError(f"{path} holds {names} but no {official.member}; get it from {official.url}")
                if (n_bytes := archive.getinfo(official.member).file_size) != official.n_bytes:
                    raise _another(path, official, f"{n_bytes:,}")
                with archive.open(official.member) as file:
                    yield from iter(lambda: file.read(CHUNK), b"")
        elif path.suffix == ".zip":
            raise UserError(f"{path} is not a whole zip file; get it again from {official.url}")
        else:
            yield from unpacked_chunks(path)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError) as error:
        # RuntimeError: it is encrypted
        raise UserError(f"{path} is damaged ({first_line(error)}); get it again from {official.url}") from error
    except OSError as error:
        raise unreadable(path, error) from error


def _another(where: Path, official: OfficialFile, found: str) -> UserError:
    return UserError(
        f"{where} is not the official {official.member}: expected {official.n_bytes:,} bytes, found {found}"
    )


def _downloaded(folder: Path, official: OfficialFile) -> Path:
    """The official zip in the cache folder, downloaded if it is not there; one process downloads, others wait.

    UserError when the download fails, breaks off or is another file.
    """
    import pooch
    from requests import RequestException  # a requirement of pooch

    pooch.get_logger().setLevel("WARNING")
    path = folder / f"{official.member}.zip"
    get = pooch.HTTPDownloader(progressbar=can_draw(), chunk_size=CHUNK >> 4, timeout=TIMEOUT)
    with cache_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with locked(path.with_name(f"{path.name}.lock")):
                pooch.retrieve(official.url, f"sha256:{official.zip_sha256}", path.name, folder, downloader=get)
        except (RequestException, ValueError) as error:  # pooch raises ValueError for another hash
            reason = getattr(next(iter(error.args), None), "reason", None) or str(error).partition(". ")[0]
            raise UserError(
                f"cannot download {official.url} ({reason}), and it is not at {path}; "
                "download it elsewhere and give it as data.path=FILE"
            ) from error
    return path
