"""What we use of Hydra that its documentation does not offer, all in one place: look here first when Hydra is updated.

Documented, and imported where they are used: hydra.main, compose and initialize_config_dir, ConfigStore, HydraConfig,
hydra.types, hydra.errors and the base class of launchers in hydra.plugins.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, QuotedString
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals

__all__ = [  # noqa: RUF022 - by what they are for
    # A command line is checked before Hydra reads it, whose own messages take many lines: with its parser of flags, and
    # with -m split into the jobs that it would split it into.
    "get_args_parser",
    "BasicSweeper",
    # Each override is read alone, by Hydra's grammar, so that a mistake is named with the key it is in.
    "OverridesParser",
    "Override",
    "OverrideType",
    "QuotedString",
    # A sweep starts runs as Hydra's own sweepers do, but from a list, because the rows of a table are no product:
    # `Plugins` makes a launcher, in a context with `Callbacks`, which composes each job with a `ConfigLoader`.
    "Plugins",
    "Callbacks",
    "ConfigLoader",
    "hydra_of_its_own",
    # What every launcher calls, whoever wrote it; our own for Ray does the same.
    "Singleton",
    "setup_globals",
    "run_job",
    "JobReturn",
    "JobStatus",
]


@contextmanager
def hydra_of_its_own(folder: Path, version_base: str) -> Iterator[ConfigLoader]:
    """Hydra on a folder of configs, even while Hydra runs a command: a process has one, which refuses a second."""
    running, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with hydra.initialize_config_dir(str(folder), version_base=version_base):
            yield GlobalHydra.instance().config_loader()
    finally:
        GlobalHydra.instance().hydra = running
