"""The tables in docs/tables are those of the committed records, nothing in them is typed or of yesterday; and the page
that `make report` makes of them all, in a browser.
"""

from pathlib import Path

import pytest

from results.claims import __main__ as claims
from results.report import collect, render, source_tree
from results.target import OWN, targets

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sections():
    return collect(targets())


def test_each_is_what_its_target_makes(sections):
    stale = []
    for section in sections[1:]:
        path = ROOT / OWN / f"{section.document.name}.md"
        assert not section.error
        if section.document.markdown() != path.read_text(encoding="utf-8"):
            stale.append(path.name)
    assert not stale, "type make tables, and look at what changed"


def test_so_are_the_claims(tmp_path, capsys):
    claims.main([f"output={tmp_path}"])
    capsys.readouterr()
    made, committed = ((folder / "claims.md").read_text(encoding="utf-8") for folder in (tmp_path, ROOT / OWN))
    assert made == committed, "type make claims, and look at what changed"


@pytest.mark.parametrize("width", [360, 1280])
def test_a_browser_shows_every_figure_of_the_whole_page(width, opened, sections, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(render(sections, source_tree()), encoding="utf-8")
    tab = opened(file, width, 800)
    assert width > 400 or tab.evaluate("document.documentElement.scrollHeight") < 7700  # before anything is unfolded
    tab.locator("details").evaluate_all("all => all.forEach(each => each.open = true)")
    figures = tab.locator("figure img")
    assert figures.count() == sum(len(section.images) for section in sections) >= 10
    for figure in figures.all():
        figure.scroll_into_view_if_needed()
        assert figure.is_visible() and figure.evaluate("image => image.complete && image.naturalWidth > 0")
        assert figure.bounding_box()["width"] > 300 and figure.bounding_box()["height"] > 150
    # On paper (A4 less its margins, in CSS pixels) no table is cut.
    tab.emulate_media(media="print")
    tab.set_viewport_size({"width": 688, "height": 1000})
    assert max(tab.locator("table").evaluate_all("all => all.map(e => e.getBoundingClientRect().right)")) <= 688
