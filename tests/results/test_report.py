"""The report opens with the answer, asks no network for anything, holds what targets made, fits phone and paper."""

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
    notes = ["a note on claims", f"0 {FIRST}: who says so"]
    found[1].document.tables.insert(0, Table(CLAIMS, [*claims, claims[0]], ("claim", "status"), notes))
    found[1].document.tables.append(Table("without a run", [{"model": "none of it"}], recorded=False))
    found[1].document.not_run.append(("enwik8, 1m", "python train.py +sweeps=<b>"))
    wide = {f"column {number}": "a longer cell" for number in range(12)} | {"text": "words " * 30}
    found[2].document.tables.append(Table("wide", [wide, wide], ("column 0", "text")))
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
        for table in section.document.tables if section.target != "table-fsn-enwik8" else section.tables:
            assert table.title in text
            for row in table.rows:
                assert all(value.replace("`", "") in text for part in row.items() for value in part)
        for note in section.document.notes:
            assert note.replace("`", "") in text
    figures = [attributes for tag, attributes in elements if tag == "img"]
    assert len(figures) == sum(len(section.images) for section in sections) == 2
    assert all(figure["alt"] for figure in figures)
    assert base64.b64decode(figures[1]["src"].partition(",")[2]).rstrip().endswith(b"</svg>")
    assert len(sections[0].runs) == len(sections[1].runs) == 12
    for run in [*sections[0].runs.values(), *sections[1].runs.values()]:
        assert run.command in text and run.git.commit[:12] in text and run.data.sha256 in text
        assert f"{run.device.count} {run.device.kind} ({run.device.name})" in text


def test_each_target_is_folded_under_its_title_and_what_came_of_it(sections, page):
    """Every number of the line is in a cell."""
    assert Elements(page).elements.count(("details", {"class": "part", "id": "table-fsn-enwik8"})) == 1
    text = Elements(page).text
    for section in sections[1:]:
        assert section.outcome[1:] in text
        cells = {
            word for table in section.tables for row in table.rows for cell in row.values() for word in cell.split()
        }
        numbers = [word.strip("();,:") for word in section.outcome.split() if any(map(str.isdigit, word))]
        assert numbers and all(number in cells or f"({number}" in cells for number in numbers), section.outcome
    assert "fsn -0.0961 ± 0.0331 below" in sections[1].outcome and "BLEU: transformer 38.18" in sections[2].outcome


def test_what_has_no_run_is_one_list_of_commands(page):
    text = Elements(page).text
    assert "1 experiments have no record" not in text and "1 experiment has no record" in text
    assert text.count("python train.py +sweeps=<b>") == 1 and "without a run" not in text and "none of it" not in text


def test_claims_are_a_list_by_verdict_each_with_sign_and_words(page):
    text = " ".join(Elements(page).text.split())
    for number, (verdict, sign) in enumerate(SIGNS.items()):
        start = text.index(f"{1 + (number == 0)} {sign} {verdict}")  # the first claim is there twice
        assert text.index(f"{number} <script>", start) > start
    assert text.count("a note on claims") == 1
    assert text.count("who says so") == 2 and "No claim of the papers is decided" not in text
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
    assert text.count("Could not be made: these runs differ") == 2 and layer_cost.TITLE in text
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
    tab.locator("details").evaluate_all("all => all.forEach(each => each.open = true)")
    figures = tab.locator("figure img")
    assert figures.count() == 2
    for figure in figures.all():
        assert figure.is_visible() and figure.evaluate("image => image.complete && image.naturalWidth > 0")
        box, around = figure.bounding_box(), figure.locator("..").bounding_box()
        assert box["width"] > 300 and box["height"] > 150
        assert box["x"] >= around["x"] and around["x"] + around["width"] <= width
        natural = sections[1].images[0][2]
        assert natural == sections[0].images[0][2]
        if size == "phone":  # letters of their own size; what is wider scrolls by itself
            assert box["width"] == pytest.approx(max(natural, around["width"]), abs=2) and natural > width
            assert figure.locator("..").evaluate("box => box.scrollWidth > box.clientWidth")
        else:
            assert box["x"] + box["width"] <= around["x"] + around["width"]
    # The wide table scrolls in its own container, and words say so where there is something to scroll.
    tables = tab.locator(".wide").evaluate_all(
        "all => all.map(e => [e.scrollWidth > e.clientWidth, getComputedStyle(e.querySelector('.cue')).opacity == 1])"
    )
    assert tables[-1][0] and all(over == told for over, told in tables)
    assert size == "phone" or not tables[0][0]


def test_a_phone_shows_the_answer_within_a_few_screens(opened, page, tmp_path):
    """The page of all targets was 77,000 pixels high; a tenth of that is kept by what two targets leave of it."""
    file = tmp_path / "report.html"
    file.write_text(page)
    tab = opened(file, 390, 844)
    assert tab.evaluate("document.documentElement.scrollHeight") < 4500
    assert tab.locator("h1").bounding_box()["y"] < 100
    assert tab.locator("section table").first.bounding_box()["y"] < 844
    assert tab.locator("section figure").first.bounding_box()["y"] < 2 * 844
    assert not tab.locator("#table-fsn-enwik8 table").first.is_visible()
    tab.locator("#table-fsn-enwik8 > summary").click()
    assert tab.locator("#table-fsn-enwik8 table").first.is_visible()


def test_on_paper_all_is_unfolded_and_no_table_is_cut(opened, page, tmp_path):
    """A4 less its margins, in CSS pixels."""
    file = tmp_path / "report.html"
    file.write_text(page)
    tab = opened(file, 688, 1000)
    tab.emulate_media(media="print")
    tables = tab.locator("table")
    assert max(tables.evaluate_all("all => all.map(e => e.getBoundingClientRect().right)")) <= 688
    assert all(tables.evaluate_all("all => all.map(e => e.checkVisibility())"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_in_both_colour_schemes(scheme, opened, page, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(page)
    tab = opened(file, 390, 844)
    tab.emulate_media(color_scheme=scheme)
    ink, paper = (
        sum(map(int, tab.evaluate(f"getComputedStyle(document.body).{key}").strip("rgb()").split(",")))
        for key in ("color", "backgroundColor")
    )
    assert (ink < 200 < 600 < paper) if scheme == "light" else (paper < 200 < 600 < ink)
