"""Names and values of other people's records, in every output: shown as they are written, never obeyed."""

import csv
import io
import re
import xml.etree.ElementTree as ElementTree

import pytest

from configs.entry import fail
from configs.errors import UserError
from configs.printable import in_one_line, printable
from results.document import Document, Table
from results.escapes import for_csv, for_latex, for_markdown, for_markdown_cell
from results.evidence.runs import LONGEST_NAME, Evidence
from results.figures.curves import plot_curves
from results.report import Section, SourceTree, render
from training.run_record.record import DataInfo

EVIL = "<script>alert(1)</script>|`x\x1b[31m\u202e\n=1+1 [a](javascript:b) $\\input{/etc/passwd}$ \x9b&lt;"
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("fsn_native 2.1 ± 0.1 (50 %), data.split=[0.9,0.05]", "fsn_native 2.1 ± 0.1 (50 %), data.split=[0.9,0.05]"),
        ("made by `python train.py <x>`.", "made by `python train.py <x>`."),
        ("<b>x</b> <!-- y --> a < b, <eos>", r"\<b>x\</b> \<!-- y --> a < b, \<eos>"),
        ("a\n\n# b\r\n- c\u2028d", "a # b - c d"),
        ("one ` alone <i>", r"one \` alone \<i>"),
        ("` <i> ``", r"\` \<i> \`\`"),
        ("``<i>`` `<i>`", r"\`\`\<i>\`\` `<i>`"),
        (r"\`<i>`", r"\\`<i>`"),
        ("![x](http://a) [x][y] [x]: z", r"![x\](http://a) [x\][y] [x\]: z"),
        ("&lt;b&#62; R&D", r"\&lt;b\&#62; R&D"),
        ("\x1b[31m\u202e", r"\\x1b[31m\\u202e"),
    ],
)
def test_markdown(text, shown):
    assert for_markdown(text) == shown
    assert for_markdown_cell(text + "|`|`") == shown.replace("|", r"\|") + r"\|`\|`" or "`" in text


def test_latex():
    assert for_latex(r"\input{a}$%#_&~^") == (
        r"\textbackslash{}input\{a\}\$\%\#\_\&\textasciitilde{}\textasciicircum{}"
    )
    assert for_latex("[2pt]* <a|b>\n\\end") == r"{[}2pt{]}{*} \textless{}a\textbar{}b\textgreater{} \textbackslash{}end"
    assert for_latex("\x1b\0") == r"\textbackslash{}x1b\textbackslash{}x00"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", " =", "\uff1d", "x;=", "a\n="])
def test_no_cell_is_a_formula(start):
    cell = for_csv(f'{start}HYPERLINK("http://a")')
    assert not re.search("(^|[;\t\r\n])\\s*[=+@\uff1d-]", cell) and "HYPERLINK" in cell


@pytest.mark.parametrize(
    "value", [-1, -0.5, 1e-5, None, True, "-0.5", "+1.5e-3", "-3", "fsn", "a=b", "lr=-1", "x-y", ""]
)
def test_numbers_and_names_stay_in_csv(value):
    assert for_csv(value) == value


def test_a_document_of_evil_values():
    table = Table(EVIL, [{"model": EVIL, EVIL: EVIL}], notes=[EVIL], data=[{"model": EVIL, EVIL: -1.5, "n": EVIL}])
    document = Document("mine", EVIL, [table], [("stem", EVIL)], [EVIL])
    text = document.markdown()
    assert not UNSAFE.search(text) and not re.search(r"(?<!\\)(<script|\]\(javascript)", text)
    (image,) = re.findall(r"^!\[.*$", text, re.MULTILINE)
    assert image.endswith("](stem.png)") and image.count("](") == 1
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 3 and {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}
    assert len(re.findall("^- ", text, re.MULTILINE)) == 2
    latex = document.latex()
    assert not UNSAFE.search(latex) and r"\input" not in latex and latex.count(r"\\") == 2
    rows = list(csv.reader(io.StringIO(document.csv(table))))
    assert len(rows) == 2 and rows[1][1] == "-1.5" and not UNSAFE.search("".join(map("".join, rows)))
    assert rows[1][0].startswith("<script>")


def test_the_page_shows_what_is_written(record):
    evil = record(EVIL, 2.0, command=EVIL, started=EVIL, versions={"torch": EVIL})
    evil.data = DataInfo(EVIL, EVIL, {"train": 1, "validation": 1, "test": 1}, {})
    evil.config["scale"]["name"] = EVIL
    evil.device.name, evil.git.commit = EVIL, EVIL
    table = Table(EVIL, [{"model": EVIL, EVIL: EVIL}], notes=[EVIL])
    document = Document("mine", EVIL, [table], [], [EVIL])
    section = Section("table-mine", document, [("data:image/png;base64,", EVIL, 1)], {1: evil}, EVIL)
    page = render([section], SourceTree(None, "", None))
    assert "<script" not in page and not UNSAFE.search(page) and "&lt;script&gt;alert(1)" in page
    assert '"' not in re.search(r'alt="Figure: ([^>]*)" style', page)[1]


def test_an_error_is_one_line_that_a_terminal_obeys_nothing_of(capsys):
    with pytest.raises(SystemExit):
        fail(UserError(f"what {EVIL} is\x00\ud800"))
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and not UNSAFE.search(err) and r"\x1b[31m\u202e" in err and r"\x00\ud800" in err


def test_text_of_several_lines_keeps_them():
    assert printable("a\n\tb\r\x1b[0m é 中 👩‍🔬") == "a\n\tb\\r\\x1b[0m é 中 👩‍🔬"
    assert in_one_line(" a \n b\tc") == " a b\\tc"


def test_a_figure_of_evil_names(record, tmp_path):
    """Dollars are no TeX, control characters would make the SVG unreadable."""
    evil = record(r"$\frac{$ \x" + EVIL, 2.0)
    evil.data.name, evil.config["scale"]["name"] = "$x^2$\0", EVIL
    drawing = next(file for file in plot_curves([evil], tmp_path / "figure") if file.suffix == ".svg")
    root = ElementTree.fromstring(drawing.read_bytes())
    texts = "\n".join("".join(element.itertext()) for element in root.iter())
    assert "$x^2$" in texts and r"$\frac{$" in texts
    assert not [element for element in root.iter() if element.tag.endswith("}script")]


@pytest.mark.parametrize("name", ["../../x", "a/b\\c", "a\nb\0", "..", "x" * 5000, "\ud800", "~root", EVIL])
def test_a_name_makes_no_other_folder(name):
    evidence = Evidence.__new__(Evidence)
    evidence.corpus = name
    assert re.fullmatch(r"[\w.=-]*", evidence.slug) and not evidence.slug.startswith(".")
    assert len(evidence.slug) <= LONGEST_NAME + 9
