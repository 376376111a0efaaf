"""What tests of the operator share."""

import pytest

from ssa import pairs


@pytest.fixture
def compiled_always(monkeypatch):
    """Every call takes the compiled maps; skipped where no compiler works."""
    if pairs.how("cpu") != "compiled":
        pytest.skip(f"no compiler works here: {pairs.how('cpu')}")
    monkeypatch.setattr(pairs, "FEWEST", 1)
