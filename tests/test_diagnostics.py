"""The renderings of a diagnostic: nothing of it is lost, and a person can read the text one."""

from __future__ import annotations

import io
import json

import pytest

from cnnc.diagnostics.json import to_json
from cnnc.diagnostics.model import Diagnostic, Edit, Fix, Label, Severity
from cnnc.diagnostics.text import summary, to_rich, to_text
from cnnc.source import Source, Span


def at(source: Source, piece: str, text: str = "") -> Label:
    """A label on the first place where a source has some text."""
    start = source.text.index(piece)
    return Label(Span(source, start, start + len(piece)), text)


def error(label: Label, *also: Label, **more) -> Diagnostic:
    return Diagnostic("E999", "it is wrong", label, also, **more)


def drawn(label: Label, *also: Label, width: int = 120) -> list[str]:
    """The lines between the place and the facts."""
    text = to_text([error(label, *also)], width=width, explain=False)
    return text.splitlines()[2:-2]


@pytest.fixture
def alexnet() -> Source:
    return Source("alexnet.cnn", "cnn 1\n\nnetwork A {\n  input image: 3x224x224\n\n  conv1 = conv(96, 11x11, stride=4)\n}\n")


@pytest.fixture
def everything(alexnet: Source) -> Diagnostic:
    """A diagnostic with something in each field."""
    other = Source("std/blocks.cnn", "block B {\n  relu6\n}\n")
    return Diagnostic(
        "W777",
        "the headline",
        at(alexnet, "conv(96, 11x11, stride=4)", "the main label"),
        (at(alexnet, "3x224x224", "first other label"), at(other, "relu6", "second other label")),
        ("first note", "second note"),
        "the help",
        (
            Fix("fix one", (Edit(at(alexnet, "96").span, "64"), Edit(at(alexnet, "11x11").span, "")), safe=True),
            Fix("fix two", (Edit(Span(alexnet, 0, 0), "# new\n"),)),
        ),
        Severity.WARNING,
    )


# ---------------------------------------------------------------------------------------------------------------- nothing is lost


def test_every_field_survives_in_json(everything):
    (found,) = json.loads(json.dumps(to_json([everything])))
    place = {"file": "alexnet.cnn", "line": 6, "column": 11, "end_line": 6, "end_column": 36}
    assert found == {
        "code": "W777",
        "severity": "warning",
        "headline": "the headline",
        **place,
        "label": "the main label",
        "also": [
            {"file": "alexnet.cnn", "line": 4, "column": 16, "end_line": 4, "end_column": 25, "label": "first other label"},
            {"file": "std/blocks.cnn", "line": 2, "column": 3, "end_line": 2, "end_column": 8, "label": "second other label"},
        ],
        "notes": ["first note", "second note"],
        "help": "the help",
        "fixes": [
            {
                "title": "fix one",
                "safe": True,
                "edits": [
                    {"file": "alexnet.cnn", "line": 6, "column": 16, "end_line": 6, "end_column": 18, "text": "64"},
                    {"file": "alexnet.cnn", "line": 6, "column": 20, "end_line": 6, "end_column": 25, "text": ""},
                ],
            },
            {
                "title": "fix two",
                "safe": False,
                "edits": [{"file": "alexnet.cnn", "line": 1, "column": 1, "end_line": 1, "end_column": 1, "text": "# new\n"}],
            },
        ],
    }
    assert list(found) == "code severity headline file line column end_line end_column label also notes help fixes".split()


def test_every_field_survives_in_text(everything):
    text = to_text([everything])
    for piece in (
        "warning[W777]: the headline",
        "--> alexnet.cnn:6:11",
        "^^^^^^^^^^^^^^^^^^^^^^^^^ the main label",
        "--------- first other label",
        "::: std/blocks.cnn:2:3",
        "----- second other label",
        "= note: first note",
        "= note: second note",
        "= help: the help",
        "= fix:  fix one (safe)",
        "alexnet.cnn:6:16: replace `96` by `64`",
        "alexnet.cnn:6:20: delete `11x11`",
        "= fix:  fix two (unsafe)",
        "alexnet.cnn:1:1: insert `# new<U+000A>`",
        "= see:  cnnc explain W777",
    ):
        assert piece in text


def test_colour_changes_no_character(everything, alexnet):
    found = [everything, error(at(alexnet, "96"))]
    plain = [line.rstrip() for line in to_rich(found).plain.splitlines()]
    assert plain == to_text(found).splitlines()


def test_colour_is_there(everything):
    from rich.console import Console

    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(to_rich([everything]))
    assert "\x1b[1;33mwarning[W777]\x1b[0m" in console.file.getvalue()


@pytest.mark.parametrize(
    ("errors", "warnings", "text"),
    [(0, 0, ""), (1, 0, "1 error"), (2, 1, "2 errors, 1 warning"), (0, 3, "3 warnings"), (1234, 0, "1,234 errors")],
)
def test_summary(alexnet, errors, warnings, text):
    label = at(alexnet, "cnn")
    found = [error(label)] * errors + [error(label, severity=Severity.WARNING)] * warnings
    assert summary(found) == text
    assert to_text(found).endswith(f"\n{text}\n" if text else "")


# ------------------------------------------------------------------------------------------------------------------- the drawing


def test_the_picture_in_the_language_document(alexnet):
    diagnostic = Diagnostic(
        "E301",
        "the window does not fit: (224 - 11 + 2*0) / 4 + 1 = 54.25",
        at(alexnet, "conv(96, 11x11, stride=4)", "round=exact, but 1 column and 1 row are left over"),
        (at(alexnet, "3x224x224", "3x224x224 comes from here"),),
        help="an input of 227x227 gives 55; pad=2 with round=floor gives 55 too",
    )
    assert (
        to_text([diagnostic])
        == """\
error[E301]: the window does not fit: (224 - 11 + 2*0) / 4 + 1 = 54.25
  --> alexnet.cnn:6:11
   |
 4 |   input image: 3x224x224
   |                --------- 3x224x224 comes from here
 5 |
 6 |   conv1 = conv(96, 11x11, stride=4)
   |           ^^^^^^^^^^^^^^^^^^^^^^^^^ round=exact, but 1 column and 1 row are left over
   |
   = help: an input of 227x227 gives 55; pad=2 with round=floor gives 55 too
   = see:  cnnc explain E301

1 error
"""
    )


def test_far_lines_are_left_out():
    source = Source("x", "".join(f"line{n}\n" for n in range(1, 101)))
    assert drawn(at(source, "line99", "here"), at(source, "line1\n", "there")) == [
        "    |",
        "  1 | line1",
        "    | ----- there",
        "...",
        " 99 | line99",
        "    | ^^^^^^ here",
    ]


def test_labels_on_one_line_hang_below_each_other():
    source = Source("x", "add(first, second, third)")
    assert drawn(at(source, "second", "two"), at(source, "first", "one"), at(source, "third", "three")) == [
        "   |",
        " 1 | add(first, second, third)",
        "   |     -----  ^^^^^^  ----- three",
        "   |     |      |",
        "   |     |      two",
        "   |     one",
    ]


def test_labels_inside_each_other():
    source = Source("x", "conv(96, 11x11)")
    assert drawn(at(source, "conv(96, 11x11)", "outer"), at(source, "96", "inner"), at(source, "11x11")) == [
        "   |",
        " 1 | conv(96, 11x11)",
        "   | ^^^^^--^^-----^ outer",
        "   |      |",
        "   |      inner",
    ]


def test_several_lines():
    source = Source("x", "s = {\n  relu\n  relu\n  relu\n}\nrest")
    assert drawn(at(source, source.text[4:-5], "the body"), at(source, "rest", "after")) == [
        "   |",
        " 1 |   s = {",
        "   |  _____^",
        "...  |",
        " 5 | | }",
        "   | |_^ the body",
        " 6 |   rest",
        "   |   ---- after",
    ]


def test_several_lines_twice():
    source = Source("x", "one {\n  two {\n    three\n  }\n}\n")
    inner = at(source, "{\n    three\n  }", "inner")
    assert drawn(at(source, source.text[4:-1], "outer"), inner) == [
        "   |",
        " 1 |     one {",
        "   |  _______^",
        " 2 | |     two {",
        "   | |  _______-",
        " 3 | | |     three",
        " 4 | | |   }",
        "   | | |___- inner",
        " 5 | |   }",
        "   | |___^ outer",
    ]


def test_tabs_are_expanded():
    source = Source("x", "\tconv(3)\t-> relu")
    assert drawn(at(source, "relu", "here"), at(source, "conv(3)")) == [
        "   |",
        " 1 |     conv(3) -> relu",
        "   |     -------    ^^^^ here",
    ]


def test_wide_characters_take_two_cells():
    source = Source("x", 'say("日本語", é)  # ok')
    assert drawn(at(source, '"日本語"', "wide"), at(source, "é", "narrow")) == [
        "   |",
        ' 1 | say("日本語", é)  # ok',
        "   |     ^^^^^^^^  - narrow",
        "   |     |",
        "   |     wide",
    ]


def test_combining_characters_take_no_cell():
    source = Source("x", "e\u0301e\u0301 here")
    assert drawn(at(source, "here"))[2] == "   |    ^^^^"


@pytest.mark.parametrize("where", ["source", "headline", "label", "note", "help", "name", "fix"])
@pytest.mark.parametrize("char", ["\x1b", "\x07", "\x9b", "\u202e", "\u2028", "\x00", "\ud800"])
def test_no_control_character_comes_through(where, char):
    bad = f"a{char}[31mb"
    source = Source(bad if where == "name" else "x", f"first {bad if where == 'source' else ''} last")
    diagnostic = Diagnostic(
        "E1",
        bad if where == "headline" else "",
        at(source, "last", bad if where == "label" else ""),
        notes=(bad if where == "note" else "",),
        help=bad if where == "help" else "",
        fixes=(Fix(bad if where == "fix" else "", (Edit(at(source, "first").span, bad if where == "fix" else ""),)),),
    )
    text = to_text([diagnostic])
    assert char not in text
    if where not in ("note", "help") or char != "\u2028":
        assert f"<U+{ord(char):04X}>" in text


def test_a_long_line_is_cut_around_its_label():
    source = Source("x", f"{'a' * 500}HERE{'b' * 500}")
    lines = drawn(at(source, "HERE", "this"), width=40)
    assert lines[1] == f" 1 | …{'a' * 17}HERE{'b' * 17}…"
    assert lines[2] == f"   | {' ' * 18}^^^^ this"


def test_a_label_longer_than_the_line_stays_inside():
    source = Source("x", f"start {'a' * 500} end")
    lines = drawn(at(source, "a" * 500, "this"), width=40)
    assert len(lines[1]) == len(lines[2]) - len(" this") == 5 + 40


def test_a_label_beyond_the_cut_stands_at_its_edge():
    source = Source("x", f"FIRST {'a' * 500} LAST")
    lines = drawn(at(source, "FIRST", "one"), at(source, "LAST", "two"), width=40)
    assert lines[1] == f" 1 | FIRST {'a' * 33}…"
    assert lines[2] == f"   | ^^^^^{' ' * 34}- two"


@pytest.mark.parametrize("text", ["", "x", "x\n", "\n\n"])
def test_a_place_behind_the_end(text):
    source = Source("x", text)
    end = Label(Span(source, len(text), len(text)), "ends here")
    assert "ends here" in to_text([error(end)])
    assert to_json([error(end)])[0]["end_line"] == text.count("\n") + 1


def test_a_whole_file_has_no_line():
    text = to_text([error(Label(Span(Source("net.cnn", "cnn 1\n"), 0, 0)), help="write one")], explain=False)
    assert text == "error[E999]: it is wrong\n  --> net.cnn\n   = help: write one\n\n1 error\n"


def test_the_same_label_is_drawn_once(alexnet):
    label = at(alexnet, "96", "here")
    assert to_text([error(label, label)]).count("here") == 1


def test_nothing_is_nothing():
    assert to_text([]) == ""
    assert to_json([]) == []
