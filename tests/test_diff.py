"""``cnnc diff``: which layers are paired, what is said of them, in which form; and that git can use it."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import cnnc
from cnnc.cli import cli
from cnnc.cli.forms import escaped, per_cent
from cnnc.compare import TOTALS, Comparison, compare

TINY = """\
network Tiny(classes = 10, width = 4) {
  input image: 3x8x8
  conv1 = conv(width, 3x3, pad=1) -> relu
  fc = flatten -> linear(classes)
}
"""


def of(a: str, b: str) -> Comparison:
    """Two networks whose bodies are given."""
    texts = (body if body.startswith("network") else f"network N {{\n  input image: 3x8x8\n{body}\n}}\n" for body in (a, b))
    return compare(*(cnnc.parse(text).checked for text in texts))


def found(comparison: Comparison) -> dict[str, str]:
    return {p.path: p.change for p in comparison.pairs if p.change != "same"}


# ------------------------------------------------------------------------------------------------------------------ what is paired


def test_a_network_is_equal_to_itself_whatever_its_text():
    assert of("conv(4, 3x3, pad=1) -> relu", "# a comment\nconv(2 + 2, 3, pad=(1, 1)[0])\n\nrelu; expect params > 0").equal


def test_layers_of_one_path_belong_together():
    comparison = of("c = conv(4, 3x3)\nd = conv(8, 3x3)", "c = conv(4, 5x5, bias=false)\nd = conv(8, 3x3)")
    assert found(comparison) == {"c": "changed", "d": "changed"}
    c, d = comparison.pairs[1:]
    assert {(x.name, x.a, x.b) for x in c.differences if x.of == "attribute"} == {("size", "3", "5"), ("bias", "true", "false")}
    assert {x.of for x in d.differences} == {"shape", "macs"}
    assert c.delta("params") == 4 * 3 * 25 - 4 * (3 * 9 + 1)


def test_layers_of_other_paths_are_renamed_when_they_are_alike():
    comparison = of("a = conv(4, 3x3)\nb = conv(8, 3x3) -> relu", "a = conv(4, 3x3)\nc = conv(8, 3x3) -> relu")
    assert found(comparison) == {"c": "renamed", "c.relu1": "renamed"}
    assert [(p.a.path, p.b.path) for p in comparison.pairs if p.change == "renamed"] == [("b", "c"), ("b.relu1", "c.relu1")]
    assert not comparison.equal


def test_what_is_renamed_stays_between_its_neighbours():
    comparison = of("x = relu\na = conv(4, 1)\nb = conv(4, 3, pad=1)", "a = conv(4, 1)\nb = conv(4, 3, pad=1)\ny = relu")
    assert found(comparison) == {"x": "removed", "y": "added"}


def test_added_and_removed_stand_where_they_are():
    comparison = of("a = relu\nb = sigmoid\nc = relu", "a = relu\nd = tanh\nc = relu")
    assert [(p.path, p.change) for p in comparison.pairs] == [
        ("image", "same"),
        ("a", "same"),
        ("b", "removed"),
        ("d", "added"),
        ("c", "same"),
    ]


def test_a_block_between_two_layers_does_not_rewire_them():
    block = "add { { conv(3, 3x3, pad=1) -> relu }; { identity } }\n"
    assert set(found(of("a = relu\nb = tanh", f"a = relu\nnew = {{ {block} }}\nb = tanh")).values()) == {"added"}


def test_other_wiring_is_a_difference():
    comparison = of("a = relu\nb = tanh\nadd { { a }; { b } }", "a = relu\nb = tanh\nadd { { b }; { b } }")
    assert found(comparison) == {"add1": "changed"}
    (difference,) = comparison.pairs[-1].differences
    assert (difference.of, difference.a, difference.b) == ("reads", "a, b", "b, b")


def test_other_outputs_are_a_difference():
    comparison = of("a = relu\nb = tanh\noutput a\noutput b", "a = relu\nb = tanh\noutput b\noutput a")
    assert found(comparison) == {}
    assert not comparison.equal
    assert [(d.a, d.b) for d in comparison.outputs] == [("a, b", "b, a")]


def test_deeper_resnet():
    comparison = compare(cnnc.load("resnet", "ResNet18").checked, cnnc.load("resnet", "ResNet34").checked)
    assert {comparison.count(c) for c in ("changed", "renamed", "removed")} == {0}
    assert comparison.count("added") == 64
    assert comparison.delta("params") == 21_797_672 - 11_689_512
    assert comparison.delta("depth") == 16


@pytest.mark.parametrize(("a", "b"), [("alexnet", "vgg"), ("googlenet", "resnet"), ("lenet", "googlenet"), ("unet", "densenet")])
def test_the_layers_account_for_the_totals(a, b):
    left, right = cnnc.load(a).checked, cnnc.load(b).checked
    there, back = compare(left, right), compare(right, left)
    for name, aux in (("params", "aux_params"), ("macs", "aux_macs")):
        assert sum(p.delta(name) for p in there.pairs) == there.delta(name) + there.delta(aux)
    assert [p.path for p in there.pairs if p.b is not None] == [n.path for n in right.graph.nodes]
    assert sorted(p.a.path for p in there.pairs if p.a is not None) == sorted(n.path for n in left.graph.nodes)
    assert there.count("added") + len(left.graph.nodes) == there.count("removed") + len(right.graph.nodes)
    assert all(there.delta(name) == -back.delta(name) for name in TOTALS)
    assert compare(left, left).equal


def test_nothing_on_one_side():
    checked = cnnc.parse(TINY).checked
    assert {p.change for p in compare(None, checked).pairs} == {"added"}
    assert {p.change for p in compare(checked, None).pairs} == {"removed"}
    assert compare(checked, None).delta("params") == -checked.totals.params
    assert not compare(None, checked).equal


# ---------------------------------------------------------------------------------------------------------------- the command line


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "tiny.cnn").write_text(TINY, encoding="utf-8")
    (tmp_path / "wide.cnn").write_text(TINY.replace("width = 4", "width = 8"), encoding="utf-8")
    (tmp_path / "broken.cnn").write_text(TINY.replace("3x3, pad=1", "9x9"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(cli, ["diff", *arguments], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_text():
    result = run("tiny.cnn", "wide.cnn")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "Tiny (tiny.cnn) -> Tiny (wide.cnn)"
    assert lines[4].split() == ["…", "1", "the", "same"]
    assert lines[5].split() == "~ conv1 conv out 4 -> 8 4x8x8 -> 8x8x8 224 +112 13,824 +6,912".split()
    assert "parameters       2,682 -> 5,354 (+2,672, +99.6 %)" in lines


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["tiny.cnn", "wide.cnn"], 0),
        (["tiny.cnn", "wide.cnn", "--exit-code"], 1),
        (["tiny.cnn", "tiny.cnn", "--exit-code"], 0),
        (["tiny.cnn", "wide.cnn(width=4)", "--exit-code"], 0),
        (["tiny.cnn:Tiny(width=8, classes=10)", "wide.cnn:Tiny", "--exit-code"], 0),
        (["tiny.cnn", "wide.cnn", "-p", "width=2", "--exit-code"], 0),
        (["tiny.cnn", "tiny.cnn:(classes=3)", "--exit-code"], 1),
        (["tiny.cnn", "broken.cnn"], 1),
        (["tiny.cnn", "broken.cnn", "--exit-code"], 2),
        (["tiny.cnn", "tiny.cnn:Other"], 1),
        (["tiny.cnn", "nowhere.cnn"], 2),
        (["tiny.cnn"], 2),
        (["-", "-"], 2),
        (["tiny.cnn", "tiny.cnn(width)"], 2),
        (["tiny.cnn", "tiny.cnn", "--json", "--format", "markdown"], 2),
        (["tiny.cnn:Tiny", "tiny.cnn", "--all"], 2),
        (["--git", "a", "b"], 2),
    ],
)
def test_exit_status(arguments, status):
    assert run(*arguments).exit_code == status


def test_equal_networks():
    assert run("resnet", "resnet:ResNet50").stdout.endswith("the networks are the same: 187 layers, 25,557,032 parameters\n")


def test_a_file_with_a_colon_in_its_name(folder):
    (folder / "a:Tiny").write_text(TINY, encoding="utf-8")
    assert "Tiny (a:Tiny) -> Tiny (tiny.cnn)" in run("a:Tiny", "tiny.cnn").stdout


def test_a_side_from_standard_input():
    assert "Tiny (<stdin>) -> Tiny (tiny.cnn)" in run("-", "tiny.cnn", stdin=TINY).stdout


def test_what_could_be_built_of_a_broken_spec_is_compared():
    result = run("tiny.cnn", "broken.cnn")
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("~  conv1 "))
    assert line.split()[-7:] == ["4x8x8", "->", *"?????"]
    assert "total of what is known" in result.stdout
    assert "error[E301]" in result.stderr
    assert result.stderr.endswith("\n1 error\n")


def test_json():
    data = json.loads(run("tiny.cnn", "wide.cnn", "--json").stdout)
    assert data["equal"] is False
    (network,) = data["networks"]
    assert network["a"] == {"network": "Tiny", "file": "tiny.cnn"}
    assert network["totals"]["params"] == {"a": 2682, "b": 5354, "delta": 2672}
    conv = network["layers"][0]
    assert conv["change"] == "changed"
    assert (conv["a"]["path"], conv["a"]["shapes"], conv["b"]["shapes"]) == ("conv1", [[4, 8, 8]], [[8, 8, 8]])
    assert {"of": "attribute", "name": "out", "a": "4", "b": "8"} in conv["differences"]
    assert conv["delta"] == {"params": 112, "buffers": 0, "macs": 6912}
    assert len(json.loads(run("tiny.cnn", "wide.cnn", "--json", "--unchanged").stdout)["networks"][0]["layers"]) == 5


def test_markdown():
    lines = run("tiny.cnn", "wide.cnn", "--format", "markdown").stdout.splitlines()
    assert lines[0] == "### Tiny (tiny.cnn) -> Tiny (wide.cnn)"
    table = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert "| ~ | conv1 | conv | out 4 -> 8 | 4x8x8 -> 8x8x8 | 224 | +112 | 13,824 | +6,912 |" in table


def test_every_network_of_two_files(folder):
    (folder / "more.cnn").write_text(TINY + TINY.replace("Tiny", "Extra"), encoding="utf-8")
    out = run("tiny.cnn", "more.cnn", "--all").stdout
    assert out.startswith("nothing -> Extra (more.cnn)")
    assert "Tiny" not in out
    assert run("alexnet", "alexnet", "--all", "--exit-code").stdout == "the networks are the same\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a|b", "a\\|b"), ("stage[0].conv1", "stage[0].conv1"), ("[x](y)", "[x\\](y)"), ("_a_b_", "\\_a_b\\_"), ("<b>`*", "\\<b>\\`\\*")],
)
def test_markdown_is_escaped(text, shown):
    assert escaped(text) == shown


def test_per_cent():
    assert [per_cent(1, 2), per_cent(-1, 3), per_cent(1, 0), per_cent(0, 5), per_cent(1, 100_000)] == ["+50.0 %", "-33.3 %", "", "", ""]


# ------------------------------------------------------------------------------------------------------------------------------ git


@pytest.fixture
def repository(folder, monkeypatch):
    """A repository with a spec in it, in which git shows specs with cnnc."""
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_EXTERNAL_DIFF"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(cnnc.__file__).parent.parent))
    for path in folder.iterdir():
        path.unlink()
    git("init", "--quiet")
    git("config", "user.name", "Somebody")
    git("config", "user.email", "somebody@example.org")
    (folder / ".gitattributes").write_text("*.cnn diff=cnn\n")
    (folder / "part.cnn").write_text("block Part(n) { conv(n, 3x3, pad=1) -> relu }\n")
    text = 'from "part.cnn" import Part\n' + TINY.replace("conv(width, 3x3, pad=1) -> relu", "Part(width)")
    (folder / "nets").mkdir()
    (folder / "nets" / "net.cnn").write_text(text.replace("part.cnn", "../part.cnn"))
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    return folder


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_git_shows_changed_specs(repository):
    git("config", "diff.cnn.command", shlex.join([sys.executable, "-m", "cnnc", "diff", "--git"]))
    spec = repository / "nets" / "net.cnn"
    text = spec.read_text()
    spec.write_text(text.replace("width = 4", "width = 8"))
    shown = git("diff")
    assert shown.startswith("cnnc diff a/nets/net.cnn b/nets/net.cnn\nTiny (a/nets/net.cnn) -> Tiny (b/nets/net.cnn)\n")
    assert "out 4 -> 8" in shown
    spec.write_text("# only a comment\n" + text)
    assert git("diff") == "cnnc diff a/nets/net.cnn b/nets/net.cnn\nthe networks are the same\n"
    spec.write_text(text.replace("linear(classes)", "linear(classes"))
    assert "error[E10" in git("diff")
    spec.unlink()
    assert "Tiny (a/nets/net.cnn) -> nothing\n" in git("diff")


def test_git_shows_new_and_unreadable_specs(repository):
    git("config", "diff.cnn.command", shlex.join([sys.executable, "-m", "cnnc", "diff", "--git"]))
    (repository / "new.cnn").write_text(TINY)
    (repository / "part.cnn").write_bytes(b"\xff")
    git("add", ".")
    shown = git("diff", "--cached")
    assert "nothing -> Tiny (b/new.cnn)\n" in shown
    assert "part.cnn is not UTF-8" in shown


def test_git_shows_specs_as_text(repository):
    (repository / "flat.cnn").write_text(TINY)
    git("add", ".")
    command = shlex.join([sys.executable, "-m", "cnnc", "shapes", "--columns", "layer,op,window,output,params,macs"])
    git("config", "diff.cnn.textconv", command)
    (repository / "flat.cnn").write_text(TINY.replace("width = 4", "width = 8"))
    lines = [" ".join(line.split()) for line in git("diff").splitlines()]
    assert "-conv1 conv 3/1/1 4x8x8 112 6,912" in lines
    assert "+conv1 conv 3/1/1 8x8x8 224 13,824" in lines
