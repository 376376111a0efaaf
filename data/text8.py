"""`data=text8`: 10^8 letters and spaces that Mahoney's wikifil.pl left of English Wikipedia, split 90/5/5 millions."""

from configs.schema import DataConfig
from data.corpus import Corpus
from data.letters import LETTERS
from data.official_file import OfficialFile, open_official

# Size and MD5 of the member (3bea1919...) are published at http://mattmahoney.net/dc/textdata.html.
# The two SHA-256 values are those that independent public projects pin, one of the zip next to its size, 31,344,016.
TEXT8 = OfficialFile(
    url="http://mattmahoney.net/dc/text8.zip",
    zip_sha256="a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
    member="text8",
    sha256="6e890197040d37d85beb962ae1f041ff1d9a9ca8d20c7d99c85027eebf51dca7",
    split=(90_000_000, 5_000_000, 5_000_000),
    alphabet=LETTERS,
)


def open_text8(config: DataConfig, official: OfficialFile = TEXT8) -> Corpus:
    """text8 from `data.path`, from the cache, or downloaded once. UserError as of `open_official`."""
    return open_official(config, official)
