"""``cnnc sweep``: which variants there are, what comes of each, conditions on them, the forms, the plot, the processes."""

from __future__ import annotations

import csv
import io
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

import cnnc
from cnnc.cli import cli
from cnnc.elaborate.values import Refusal
from cnnc.reading import find_spec
from cnnc.source import Source
from cnnc.sweep.condition import FACTS, Condition
from cnnc.sweep.run import Job, load, run
from cnnc.sweep.scatter import Axis, Point, axis, escape, scatter, short
from cnnc.sweep.space import Unusable, space
from cnnc.syntax.pieces import split_values

FAMILY = """\
# A family. For tests.
let LIMIT = 20K
block Wide(n) { conv(n, 3x3, pad=1) -> relu }
block Slim(n) { conv(n, 1x1) -> relu }
network Family(width = 1.0, depth = 2, unit = Wide, widths = [8, 16], note = "") {
  input image: 3x16x16
  for n in widths { unit(round(n * width)) }
  repeat depth - 1 { unit(round(widths[1] * width)) }
  fc = global_avgpool -> flatten -> linear(10)
  expect params < 100K
}
network Dense(units = 4) {
  input x: 12
  linear(units) -> relu
}
network Small = Family(0.5)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "family.cnn").write_text(FAMILY, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sweep(*arguments: str, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(cli, ["sweep", *arguments], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def data(*arguments: str) -> dict:
    return json.loads(sweep("family.cnn", *arguments, "--json").stdout)


def column(name: str, *arguments: str) -> list:
    """One column of the rows, of a fact or of a parameter."""
    return [row[name] if name in row else row["parameters"][name] for row in data(*arguments)["rows"]]


# ---------------------------------------------------------------------------------------------------------------- the combinations


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1,2 , 3", ["1", "2", "3"]),
        ("[1, 2],[3]", ["[1, 2]", "[3]"]),
        ('"a,b", "c\\",d"', ['"a,b"', '"c\\",d"']),
        ("min(1, 2),(3,4)", ["min(1, 2)", "(3,4)"]),
        ("1,,2", ["1", "", "2"]),
        ("1],2", ["1]", "2"]),
        ("[1,2", ["[1,2"]),
        ("", [""]),
    ],
)
def test_values_are_split_at_their_own_commas(text, parts):
    assert split_values(text) == parts


@given(st.text(alphabet='ab1,[]()" \\.{}', max_size=40))
def test_splitting_loses_nothing_but_spaces(text):
    assert ",".join(split_values(text)).replace(" ", "") == text.replace(" ", "")


def the_space(*parameters, networks=None, inputs=()):
    return space(load(find_spec("family.cnn")), networks, inputs, parameters)


def test_every_combination_in_order():
    made = the_space(("width", "0.5, 1"), ("depth", "1..4"), networks="Small,Family")
    assert made.size == 2 * 2 * 3
    variants = list(made)
    assert [v.number for v in variants] == list(range(12))
    assert [(v.network, dict(v.texts)) for v in variants[2:4]] == [
        ("Small", {"width": "0.5", "depth": "3"}),
        ("Small", {"width": "1", "depth": "1"}),
    ]
    assert variants[-1].network == "Family"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("10..40 by 10", [10, 20, 30]),
        ("3..0 by -1, 7", [3, 2, 1, 7]),
        ("1, 2, 1", [1, 2]),
        ("[1, 2], [3, 4]", [[1, 2], [3, 4]]),
        ("Wide, relu", ["Wide", "relu"]),
        ('"a..b"', ["a..b"]),
        ("1 ..3", [1, 2]),
        ("len([1, 2])..5", [2, 3, 4]),
        ("true, 2K, 1/2, nonsense", [True, 2000, 0.5, "nonsense"]),
        ("1..2 { relu }; for w in 3..5", ["1..2 { relu }; for w in 3..5"]),
    ],
)
def test_values_of_a_parameter(text, values):
    assert [v.plain for v in the_space(("width", text)).dimensions[-1].values] == values


@pytest.mark.parametrize("pattern", ["*", "Family,Dense,Small", "?*,Small"])
def test_patterns_of_networks(pattern):
    assert [v.text for v in the_space(networks=pattern).dimensions[0].values] == ["Family", "Dense", "Small"]


def test_without_a_name_it_is_the_last_network():
    assert [row["network"] for row in data()["rows"]] == ["Small"]


def test_too_many_combinations():
    with pytest.raises(Unusable, match=r"1 x 400 x 400 = 160,000 combinations: 100,000 are the most"):
        the_space(("width", "0..400"), ("depth", "0..400"))


# ------------------------------------------------------------------------------------------------------------------- what comes out


def test_facts_are_those_of_the_network():
    (row,) = data("--network", "Family", "-p", "width=2", "--input", "3x32x32")["rows"]
    net = cnnc.load("family.cnn", "Family", width=2, input="3x32x32")
    checked = net.checked
    assert (row["params"], row["macs"], row["layers"]) == (net.params, net.macs, len(net.layers))
    assert (row["depth"], row["memory"], row["receptive_field"]) == (checked.depth, checked.memory, checked.receptive_field)
    assert (row["inputs"], row["parameters"]) == ({"(first)": [3, 32, 32]}, {"width": 2})


def test_values_may_be_lists_blocks_and_strings():
    rows = data("-p", "unit=Wide,Slim", "-p", "widths=[4, 8],[8, 16]", "-p", 'note="a,b"')["rows"]
    assert [(r["parameters"]["unit"], r["parameters"]["widths"]) for r in rows] == [
        ("Wide", [4, 8]),
        ("Wide", [8, 16]),
        ("Slim", [4, 8]),
        ("Slim", [8, 16]),
    ]
    assert len({r["params"] for r in rows}) == 4


def test_what_has_errors_is_refused_and_not_hidden():
    found = data("--network", "Family", "-p", "width=1, 0, 100, foo, [")
    assert (found["variants"], found["kept"], len(found["refused"])) == (5, 1, 4)
    codes = [(r["parameters"]["width"], r["code"]) for r in found["refused"]]
    assert [c for c, _ in codes] == [0, 100, "foo", "["]
    assert codes[1:3] == [(100, "E403"), ("foo", "E204")]
    text = sweep("family.cnn", "--network", "Family", "-p", "width=1,100,foo").stdout
    assert "[E204] `foo` is not defined" in text
    assert "3 variants of family.cnn, 2 refused" in text
    assert "1 of the refused break only what the spec states of itself" in text


def test_stated_facts_may_be_ignored():
    assert column("width", "--network", "Family", "-p", "width=1,100", "--ignore-stated") == [1, 100]


def test_all_refused_is_an_error():
    assert sweep("family.cnn", "-p", "nothing=1,2").exit_code == 1


def test_warnings_refuse_with_strict(folder):
    (folder / "warned.cnn").write_text("network W(n = 2) {\n  input image: 3x8x8\n  maxpool(3, stride=n)\n}\n")
    assert [r["code"] for r in json.loads(sweep("warned.cnn", "-p", "n=1,2", "--strict", "--json").stdout)["refused"]] == ["W301"]


# --------------------------------------------------------------------------------------------------------------------- conditions


@pytest.mark.parametrize(
    ("condition", "widths"),
    [
        ("params < 2K and macs < 1G", [0.5]),
        ("params < LIMIT", [0.5, 1, 2]),
        ("width * 2 == 2 or width > 3", [1, 4]),
        ("not (parameter.width == 1)", [0.5, 2, 4]),
        ("unit == Wide and len(widths) == 2 and widths[0] == 8", [0.5, 1, 2, 4]),
        ("fact.depth > 3 if width < 1 else params > 0", [0.5, 1, 2, 4]),
        ("memory < 1M and receptive_field == 7", [0.5, 1, 2, 4]),
    ],
)
def test_conditions(condition, widths):
    assert column("width", "-p", "width=0.5,1,2,4", "--where", condition) == widths


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("parms < 3", "`parms` is no fact and no parameter"),
        ("depth < 3", "`depth` is a fact and a parameter"),
        ("params <", "expected a value"),
        ("params < 3; params > 1", "^"),
        ("params", "a condition must be true or false"),
        ("params < unit", "needs numbers"),
        ("fact.nothing > 1", "there is no fact `nothing`"),
        ("__import__('os')", "error"),
    ],
)
def test_what_is_no_condition(condition, words):
    result = sweep("family.cnn", "--where", condition)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""


def test_a_condition_without_an_answer_refuses_the_variant():
    found = data("--network", "Small,Dense", "--where", "receptive_field > 0")
    assert [r["network"] for r in found["rows"]] == ["Small"]
    assert [(r["network"], r["where"], r["problem"]) for r in found["refused"]] == [
        ("Dense", True, "this network has no map, so it has no receptive field")
    ]


def test_places_are_those_of_the_condition():
    with pytest.raises(Refusal) as caught:
        Condition("params < 3 + nothing", load(Source("f", FAMILY))).check(frozenset())
    span = caught.value.diagnostic.at.span
    assert (span.text, span.column) == ("nothing", 14)


# ------------------------------------------------------------------------------------------------------------- order and forms


def test_sorting():
    widths = ("-p", "width=1,4,0.5,2")
    assert column("width", *widths, "--sort", "macs") == [0.5, 1, 2, 4]
    assert column("width", *widths, "--sort", "width:desc") == [4, 2, 1, 0.5]
    assert column("width", *widths, "--sort", "params:desc", "--top", "2") == [4, 2]
    rows = data("-p", "depth=3,20,1", "--sort", "parameter.depth")["rows"]
    assert [(r["parameters"]["depth"], r["depth"]) for r in rows] == [(1, 3), (3, 5), (20, 22)]
    networks = [r["network"] for r in data("--network", "Dense,Family", "--sort", "receptive_field:desc")["rows"]]
    assert networks == ["Family", "Dense"]


def test_csv():
    out = sweep("family.cnn", "-p", "width=1,foo", "-p", "depth=2", "-p", 'note="a,b"', "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(out)))
    facts = ["fact.depth" if name == "depth" else name for name in FACTS]
    assert list(rows[0]) == ["network", "width", "parameter.depth", "note", *facts, "problem"]
    assert (rows[0]["note"], rows[0]["params"], rows[0]["problem"]) == ('"a,b"', str(cnnc.load("family.cnn", "Family").params), "")
    assert (rows[1]["width"], rows[1]["params"], rows[1]["problem"]) == ("foo", "", "[E204] `foo` is not defined")


def test_markdown():
    lines = sweep("family.cnn", "-p", 'note="a|b"', "--format", "markdown").stdout.splitlines()
    assert lines[0].startswith("| network | note | params |")
    assert '"a\\|b"' in lines[2]


def test_text_of_a_resnet_family():
    result = sweep("resnet", "--network", "ResNet18,ResNet34", "-p", "classes=10,1000", "--sort", "params:desc", "--top", "1")
    lines = result.stdout.splitlines()
    assert lines[2].split() == ["ResNet34", "1000", "21,797,672", "3,663,761,408", "34", "138", "93.7", "MB", "899"]
    assert lines[-1] == "4 variants of resnet.cnn, the first 1 of 4 shown"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-p", "width"], "is not NAME=VALUES"),
        (["-p", "width=1,,2"], "a value is missing"),
        (["-p", "width=1", "-p", "width=2"], "is given twice"),
        (["-p", "depth=3..1"], "is empty"),
        (["-p", "depth=1..5 by 0"], "a range cannot go by 0"),
        (["--network", "Familie"], "did you mean `Family`?"),
        (["--network", "X*"], "there is no network 'X*'"),
        (["--input", "3x0x3"], "is not a shape"),
        (["--input", "3x8x8,"], "is not one shape or several"),
        (["--input", "3x8x8", "--input", "3x4x4"], "an input is given twice"),
        (["--sort", "size"], "nothing is called 'size'"),
        (["--sort", "params:down"], "is followed by :desc or nothing"),
        (["--sort", "depth", "-p", "depth=1"], "parameter.depth or fact.depth"),
        (["--top", "0"], "not in the range"),
        (["--plot", "."], "is a folder"),
        (["--plot", "family.cnn"], "is no plot of `cnnc sweep`"),
    ],
)
def test_wrong_use(arguments, words):
    result = sweep("family.cnn", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""


def test_specs_that_cannot_be_read(folder):
    assert sweep("nowhere").exit_code == 2
    (folder / "broken.cnn").write_text("network Broken {")
    assert sweep("broken.cnn").exit_code == 1
    assert sweep("-", "-p", "width=1", stdin=FAMILY).exit_code == 0


# ---------------------------------------------------------------------------------------------------------------------- the plot


def test_a_plot(folder):
    result = sweep("family.cnn", "--network", "Family,Small", "-p", "width=1,2", "-p", 'note="<b>&"', "--plot", "a.svg")
    assert result.exit_code == 0
    root = ET.parse(folder / "a.svg").getroot()
    names = "{http://www.w3.org/2000/svg}"
    titles = [t.text for g in root.iter(f"{names}g") for t in g.iter(f"{names}title")]
    net = cnnc.load("family.cnn", "Family", width=1)
    assert titles[0] == f'Family, width=1, note="<b>&": {net.params:,} parameters, {net.macs:,} MACs'
    assert titles[-2:] == ["Family", "Small"]
    assert {"parameters", "MACs"} <= {t.text for t in root.iter(f"{names}text")}
    assert sweep("family.cnn", "--plot", "a.svg").exit_code == 0  # its own file may be written again


def test_nothing_to_draw(folder):
    result = sweep("family.cnn", "--where", "params < 1", "--plot", "none.svg")
    assert "nothing to draw" in result.stderr
    assert not (folder / "none.svg").exists()


@settings(max_examples=50)
@given(st.lists(st.integers(0, 10**15), min_size=1, max_size=20))
def test_an_axis_holds_its_numbers(values):
    made = axis(values, 100, 500)
    assert all(100 <= made(v) <= 500 for v in values)
    assert made.log is (min(values) > 0 and max(values) > 30 * min(values))
    ticks = made.ticks
    assert len(ticks) <= 16
    assert all(made.low * 0.999 <= t <= made.high * 1.001 for t in ticks)


@settings(max_examples=25)
@given(st.lists(st.text(max_size=8), min_size=1, max_size=30))
def test_a_plot_is_well_formed_whatever_the_names(names):
    points = [Point(k + 1, 10.0**k, name, name) for k, name in enumerate(names)]
    ET.fromstring(scatter(points, names[0], names[-1], "y"))
    assert not set("<>\"'") & set(escape(names[0]))


def test_numbers_of_an_axis():
    assert [short(v) for v in (0, 12, 1500, 2.5e6, 1e9, 3e12, 999_999.9999)] == ["0", "12", "1.5K", "2.5M", "1G", "3T", "1M"]
    assert Axis(1, 1000, True, 0, 3)(100) == pytest.approx(2)
    assert not math.isnan(axis([0], 0, 1)(0))


# ------------------------------------------------------------------------------------------------------------------- the processes


def test_processes_give_what_one_process_gives():
    source = find_spec("family.cnn")
    unit = load(source)
    variants = list(space(unit, "Family,Dense", (), [("width", "1..18, foo")]))
    job = Job(source, "params < 50K")
    told = []
    several = run(job, variants, unit, jobs=2, done=told.append)
    assert several == run(job, variants, unit, jobs=1)
    assert [r.number for r in several] == list(range(36))
    assert sum(told) == 36
    assert len(told) > 1


def test_an_interrupt_ends_the_processes():
    source = find_spec("family.cnn")
    unit = load(source)
    before = signal.getsignal(signal.SIGINT)

    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Job(source), list(space(unit, None, (), [("width", "1..20000")])), unit, jobs=2, done=interrupt)
    assert multiprocessing.active_children() == []
    assert signal.getsignal(signal.SIGINT) == before


def test_an_interrupt_is_quiet():
    script = """
from cnnc.cli import main
from cnnc.sweep import run

def interrupt(*arguments):
    raise KeyboardInterrupt

run.run = interrupt
main(["sweep", "family.cnn", "-p", "width=1,2"])
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(cnnc.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "")
