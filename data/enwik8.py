"""`data=enwik8`: the first 10^8 bytes of the English Wikipedia dump of 2006-03-03, split 90/5/5 million bytes."""

from configs.schema import DataConfig
from data.corpus import Corpus
from data.official_file import OfficialFile, open_official

# Size, MD5 (a1fa5ffd...) and SHA-1 (57b8363b...) of the member are published at http://mattmahoney.net/dc/textdata.html.
# The two SHA-256 values are those that independent public projects pin next to that size and MD5.
ENWIK8 = OfficialFile(
    url="http://mattmahoney.net/dc/enwik8.zip",
    zip_sha256="547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
    member="enwik8",
    sha256="2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8",
    split=(90_000_000, 5_000_000, 5_000_000),
)


def open_enwik8(config: DataConfig, official: OfficialFile = ENWIK8) -> Corpus:
    """enwik8 from `data.path`, from the cache, or downloaded once. UserError as of `open_official`."""
    return open_official(config, official)
