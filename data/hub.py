"""Published data sets of the Hugging Face hub, each pinned to a commit, through the library `datasets`.

The library keeps its own cache of what it downloads.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from configs.errors import UserError
from data.columns import first_line

ROWS = 1000  # read at a time


@dataclass(frozen=True)
class HubDataset:
    """A column of a data set at a commit. `data`: what the user typed; `folder`: an example of where it may lie."""

    name: str
    revision: str
    column: str
    data: str
    folder: str
    subset: str | None = None

    @property
    def key(self) -> dict[str, Any]:
        """What decides the rows, as plain JSON."""
        subset = {} if self.subset is None else {"subset": self.subset}
        return {"dataset": self.name, **subset, "revision": self.revision}

    def rows(self, split: str) -> Iterator[Any]:
        """The values of the column, row after row. UserError where the data set can neither be found nor downloaded."""
        try:
            from datasets import load_dataset
        except ImportError as error:
            raise UserError(
                f"data={self.data} needs the package datasets; type pip install datasets, or data.path=FOLDER"
            ) from error
        try:
            dataset = load_dataset(self.name, self.subset, revision=self.revision, split=split)
        except Exception as error:  # the hub client raises a dozen kinds, from several libraries
            of, files = ("", "") if self.subset is None else (f"{self.subset} of ", f" --include '{self.subset}/*'")
            raise UserError(
                f"cannot get {of}{self.name} at revision {self.revision[:8]} from https://huggingface.co/datasets/"
                f"{self.name} ({first_line(error)}); where there is a network type: hf download {self.name} "
                f"--repo-type dataset --revision {self.revision}{files} --local-dir {self.folder}; and here add "
                f"data.path={self.folder}"
            ) from error
        for batch in dataset.select_columns(self.column).iter(batch_size=ROWS):
            yield from batch[self.column]
