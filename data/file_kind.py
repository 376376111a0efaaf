"""What a file is by the bytes that it begins with, whatever its name says.

Magic bytes are those of the formats' own specifications (as the program `file` has them). Text and unknown bytes are of
no kind: these are read as they are.
"""

import re
import tarfile
import zlib
from dataclasses import dataclass

HEAD = 1024  # bytes that tell a kind


@dataclass(frozen=True)
class Kind:
    """`told`: after "FILE is". `advice`: what to type instead. `codec`: how it is unpacked, where this reads it."""

    told: str
    advice: str = ""
    codec: str | None = None


def _archive(what: str, command: str) -> Kind:
    return Kind(f"{what}, not a text file", f"type {command} and give a file in it")


def _packed(what: str, command: str) -> Kind:
    # From its standard input, a program unpacks a file of any name.
    return Kind(f"compressed by {what}, which is not read here", f"type {command} < FILE > NEW and give NEW")


def _pointer(what: str, command: str) -> Kind:
    return Kind(f"a {what} pointer, not the file itself", f"type {command}, or get it again")


def _encoded(encoding: str) -> Kind:
    return Kind(f"{encoding} text, not UTF-8", f"type iconv -f {encoding} -t UTF-8 FILE > NEW and give NEW")


def _columns(what: str) -> Kind:
    return Kind(f"{what} file, not a text file", "give its text in a file of its own")


def _binary(what: str) -> Kind:
    return Kind(f"{what}, not a text file", "give a text file")


PARQUET = _columns("a Parquet")
ARROW = _columns("an Arrow")
ZIP = _archive("a zip archive", "unzip FILE")
CPIO = _archive("a cpio archive", "cpio -id < FILE")
TAR = _archive("a tar archive", "tar xf FILE")
DVC = Kind("a DVC pointer, not the file itself", "type dvc pull FILE and give the file that it names")
ANNEX = _pointer("git-annex", "git annex get FILE")

LZMA_SIZES = {base << n for n in range(31) for base in (1, 3)} | {2**32 - 1}

MAGIC: dict[bytes, Kind] = {  # a longer beginning before one that it begins with
    b"\x1f\x8b": Kind("compressed by gzip", codec="gz"),
    b"\xfd7zXZ\0": Kind("compressed by xz", codec="xz"),
    b"]\0\0": Kind("compressed by lzma", codec="lzma"),
    **{b"BZh%d1AY&SY" % level: Kind("compressed by bzip2", codec="bz2") for level in range(1, 10)},
    **{b"BZh%d\x17\x72\x45\x38\x50\x90" % level: Kind("compressed by bzip2", codec="bz2") for level in range(1, 10)},
    b"\x28\xb5\x2f\xfd": Kind("compressed by zstd", codec="zst"),
    # A frame to be skipped, which parallel zstd puts first.
    **{bytes([first]) + b"\x2a\x4d\x18": Kind("compressed by zstd", codec="zst") for first in range(0x50, 0x60)},
    **dict.fromkeys((b"\x04\x22\x4d\x18", b"\x02\x21\x4c\x18"), _packed("lz4", "lz4 -dc")),
    b"\xff\x06\0\0sNaPpY": _packed("snappy", "snzip -dc"),
    b"LZIP": _packed("lzip", "lzip -dc"),
    b"\x89LZO\0": _packed("lzop", "lzop -dc"),
    b"LRZI": _packed("lrzip", "lrzip -d"),
    b"\x1f\x9d": _packed("compress", "gzip -dc"),
    **dict.fromkeys((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"), ZIP),
    b"7z\xbc\xaf\x27\x1c": _archive("a 7z archive", "7z x FILE"),
    b"Rar!\x1a\x07": _archive("a rar archive", "unrar x FILE"),
    b"!<arch>\n": _archive("an ar archive", "ar x FILE"),
    b"MSCF\0\0\0\0": _archive("a cabinet archive", "cabextract FILE"),
    b"%PDF-": Kind("a PDF, not a text file", "type pdftotext FILE NEW and give NEW"),
    **dict.fromkeys((b"PAR1", b"PARE"), PARQUET),
    b"ARROW1\0\0": ARROW,
    b"Obj\x01": _columns("an Avro"),
    b"ORC": _columns("an ORC"),
    b"SQLite format 3\0": _columns("an SQLite"),
    b"\x89HDF\r\n\x1a\n": _columns("an HDF5"),
    b"\x93NUMPY": _columns("a NumPy"),
    b"GGUF": _binary("a GGUF model"),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": _binary("an old Office document"),
    b"\x89PNG\r\n\x1a\n": _binary("a PNG image"),
    b"\xff\xd8\xff": _binary("a JPEG image"),
    **dict.fromkeys((b"GIF87a", b"GIF89a"), _binary("a GIF image")),
    b"\x7fELF": _binary("a program"),
    b"version https://git-lfs": _pointer("Git LFS", "git lfs pull"),
    b"version http://git-media": _pointer("Git LFS", "git lfs pull"),
    b"version https://hawser": _pointer("Git LFS", "git lfs pull"),
    b"/annex/objects/": ANNEX,
    b"# xet version 0\n": _pointer("Xet", "git xet checkout"),
    b"\xff\xfe\0\0": _encoded("UTF-32"),
    b"\0\0\xfe\xff": _encoded("UTF-32"),
    b"\xff\xfe": _encoded("UTF-16"),
    b"\xfe\xff": _encoded("UTF-16"),
}


def _of_lzma(head: bytes) -> bool:
    """Whether the header behind the first three bytes is one: a dictionary of 2^n or 3 2^n bytes, and a length that is
    unknown or below 2^38, as liblzma asks.
    """
    size, length = int.from_bytes(head[1:5], "little"), int.from_bytes(head[5:13], "little")
    return len(head) >= 13 and size in LZMA_SIZES and (length == 2**64 - 1 or length < 2**38)


def _of_zlib(head: bytes) -> bool:
    """Whether it unpacks, and is no ASCII text: zlib's two bytes may begin one, `x^2`."""
    if head[:1] != b"x" or int.from_bytes(head[:2]) % 31 or head.isascii():
        return False
    try:
        unpacking = zlib.decompressobj()
        return bool(unpacking.decompress(head, HEAD)) and (unpacking.eof or len(head) == HEAD)
    except zlib.error:
        return False


def kind_of(head: bytes) -> Kind | None:
    """The kind of a file that begins with `head`, its first HEAD bytes or all of it. None: text, or unknown bytes."""
    for magic, kind in MAGIC.items():
        if head.startswith(magic):
            # Text may begin with three letters: binary files have zeros too.
            if magic.isalnum() and b"\0" not in head:
                return None
            return None if kind.codec == "lzma" and not _of_lzma(head) else kind
    if head.startswith(b"\xff\xff\xff\xff") and head[6:8] == b"\0\0":  # and the length of a schema
        return ARROW
    if head.startswith((b"outs:\n- md5:", b"outs:\r\n- md5:")) or (head.startswith(b"md5: ") and b"\nouts:" in head):
        return DVC
    # What a link became where the file system has none.
    if re.match(rb"(\.\./)*\.git/annex/objects/\S+\s*\Z", head):
        return ANNEX
    # Their six digits alone may begin a text, of numbers or dates.
    if re.match(rb"07070[12][0-9A-Fa-f]{104}|070707[0-7]{70}", head) or (head[:2] == b"\xc7\x71" and b"\0" in head):
        return CPIO
    if _of_zlib(head):
        return _packed("zlib", "pigz -dc")
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return None
    return TAR
