"""The report is one page that asks no network for anything, holds all that its targets made, fits phone and paper."""

import base64
from html.parser import HTMLParser

import pytest

from configs.errors import UserError
from results import report, target
from results.document import Document, Table
from results.report import CLAIMS, SIGNS, SourceTree, collect, data_uri, main, render, runs_text
from results.tables import layer_cost

SIZES = {"phone": (360, 740), "desktop": (1280, 900)}
TREE = SourceTree("0123456789abcdef0123456789abcdef01234567", "2026-01-02", False)
FIRST = "<script>alert(1)</script> & `code`"


@pytest.fixture(scope="module")
def sections(tmp_path_factory):
    """Two targets from the committed records, the cpu profile alone because composing configs is slow, and claims."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, "SHOWN", ("cpu",))
        found = collect(["table-fsn-enwik8", "table-ssa-mt"], [f"runs={tmp_path_factory.mktemp('no-runs')}"])
    # Taken out of what the targets bring themselves, so that the counts are known.
    for section in found:
        section.document.tables = section.tables
    claims = [{"claim": f"{number} {FIRST}", "status": status} for number, status in enumerate(SIGNS)]
    found[0].document.tables.insert(0, Table(CLAIMS, [*claims, claims[0]], ("claim", "status"), ["a note on claims"]))
    wide = {f"column {number}": "a longer cell" for number in range(12)} | {"text": "words " * 30}
    found[1].document.tables.append(Table("wide", [wide, wide], ("column 0", "text")))
    return found


@pytest.fixture(scope="module")
def page(sections):
    return render(sections, TREE)


class Elements(HTMLParser):
    """All elements of a page, each (tag, attributes), and the text outside of the style sheet."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.text, self._tag = [], "", ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self._tag = tag
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += "" if self._tag == "style" else data


def test_the_page_is_self_contained_and_its_links_lead_somewhere(page):
    elements = Elements(page).elements
    assert not {tag for tag, _ in elements} & {"script", "iframe", "object", "embed", "base"}
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in elements:
        for key in {"src", "srcset", "poster", "background", "data", "action"} & attributes.keys():
            assert attributes[key].startswith("data:"), (tag, key)
        link = attributes.get("href", "")
        if tag != "a":
            assert link in ("", "data:,")
        elif link.startswith("#"):
            assert link[1:] in ids
        else:
            assert link.startswith("https://arxiv.org/abs/")
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style and "@import" not in style
    assert "default-src 'none'" in page


def test_all_tables_figures_notes_and_runs_are_on_it(sections, page):
    text, elements = Elements(page).text, Elements(page).elements
    for section in sections:
        for table in section.document.tables:
            assert table.title in text
            for row in table.rows:
                assert all(value.replace("`", "") in text for part in row.items() for value in part)
        for note in section.document.notes:
            assert note.replace("`", "") in text
    figures = [attributes for tag, attributes in elements if tag == "img"]
    assert len(figures) == len(sections[0].document.figures) == 1 and all(figure["alt"] for figure in figures)
    assert base64.b64decode(figures[0]["src"].partition(",")[2]).rstrip().endswith(b"</svg>")
    assert len(sections[0].runs) == 12
    for run in sections[0].runs.values():
        assert run.command in text and run.git.commit[:12] in text and run.data.sha256 in text
        assert f"{run.device.count} {run.device.kind} ({run.device.name})" in text


def test_claims_come_first_each_with_the_sign_and_words_of_its_verdict(page):
    text = Elements(page).text
    assert text.index("a note on claims") < text.index("bits per byte on the first") and text.count(CLAIMS) == 2
    for number, (verdict, sign) in enumerate(SIGNS.items()):
        # In the count and in its row; the first claim stands there twice.
        assert text.count(f"{sign} {verdict}") == (3 if number == 0 else 2)
    assert " ".join(text.split()).count("2 ✓ reproduced") == 1
    assert "<script>" not in page and "&lt;script&gt;alert(1)&lt;/script&gt; &amp; <code>code</code>" in page


def test_the_same_records_give_the_same_bytes_but_for_the_line_of_the_commit(sections, page):
    other = render(sections, SourceTree("f" * 40, "2026-02-03", True))
    lines = list(zip(page.splitlines(), other.splitlines(), strict=True))
    (different,) = [pair for pair in lines if pair[0] != pair[1]]
    assert "0123456789ab" in different[0] and "2026-02-03" in different[1] and "uncommitted" in different[1]


def test_a_target_that_cannot_be_made_says_why_on_the_page_and_in_the_exit_code(monkeypatch, tmp_path, capsys):
    def refuse(asked):
        raise UserError("these runs differ")

    monkeypatch.setattr(report, "make_document", refuse)
    monkeypatch.setattr(report, "targets", lambda: ["table-ssa-mt", "table-ssa-cost"])  # of a sweep, of a benchmark
    assert main([f"output={tmp_path / 'new' / 'page.html'}"]) == 1
    text = (tmp_path / "new" / "page.html").read_text()
    assert text.count("could not be made: these runs differ") == 2 and layer_cost.TITLE in text
    assert "table-ssa-mt could not be made: these runs differ" in capsys.readouterr().err
    monkeypatch.setattr(report, "make_document", lambda asked: Document(asked.sweep, "Translation"))
    assert main([f"output={tmp_path / 'page.html'}", "runs=elsewhere"]) == 0
    with pytest.raises(UserError, match="profile=cpu: the report takes output=FILE and runs=FOLDER"):
        main(["profile=cpu"])


def test_a_large_drawing_is_shown_as_a_picture_where_that_is_smaller(tmp_path):
    (tmp_path / "a.png").write_bytes(b"picture")
    (tmp_path / "a.svg").write_bytes(b"<svg/>")
    assert data_uri(tmp_path / "a").startswith("data:image/svg+xml;")
    (tmp_path / "a.svg").write_bytes(b" " * 300_000)
    assert data_uri(tmp_path / "a") == "data:image/png;base64," + base64.b64encode(b"picture").decode()


def test_runs_are_named_by_their_spans():
    assert Elements(runs_text([7, 1, 2, 3, 9, 10])).text.replace("\N{EN DASH}", "-") == "1-3, 7, 9-10"


@pytest.mark.parametrize("size", SIZES)
def test_a_browser_shows_every_figure_without_network_or_errors(size, opened, page, sections, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(page)
    width, height = SIZES[size]
    tab = opened(file, width, height)
    figures = tab.locator("figure img")
    assert figures.count() == 1
    for figure in figures.all():
        assert figure.is_visible() and figure.evaluate("image => image.complete && image.naturalWidth > 0")
        box, around = figure.bounding_box(), figure.locator("..").bounding_box()
        assert box["width"] > 300 and box["height"] > 150
        assert box["x"] >= around["x"] and around["x"] + around["width"] <= width
        natural = sections[0].images[0][2]
        if size == "phone":  # letters of their own size; what is wider scrolls by itself
            assert box["width"] == pytest.approx(max(natural, around["width"]), abs=2) and natural > width
            assert figure.locator("..").evaluate("box => box.scrollWidth > box.clientWidth")
        else:
            assert box["x"] + box["width"] <= around["x"] + around["width"]
    # The wide table scrolls in its own container.
    over = tab.locator(".wide").evaluate_all("all => all.map(e => e.scrollWidth > e.clientWidth)")
    assert over[-1]
    # On paper (A4 less its margins, in CSS pixels) no table is cut.
    tab.emulate_media(media="print")
    tab.set_viewport_size({"width": 688, "height": 1000})
    assert max(tab.locator("table").evaluate_all("all => all.map(e => e.getBoundingClientRect().right)")) <= 688
