"""The command line: what it prints, where, and with which exit status; and that nothing ends in a traceback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import cnnc.cli.common
import cnnc.cli.table
from cnnc.cli import COMMANDS, cli
from cnnc.cli.table import Column, Row, print_table
from cnnc.resources import bundled_specs

TINY = """\
cnn 1

# A tiny network. For tests.
network Tiny(classes = 10) {
  input image: 3x8x8
  conv1 = conv(4, 3x3, pad=1, stride=2) -> relu
  fc = flatten -> linear(classes)
}
"""

BROKEN = """\
network Broken {
  input image: 3x8x8
  conv1 = conv(4, 3x3) -> relu
  conv2 = conv(4, 9x9)
  fc = flatten -> linear(10)
}
"""

WARNED = """\
network Warned {
  input image: 3x8x8
  pool = maxpool(3, stride=2)
}
"""

HEADED = """\
block Pair(width) {
  conv(width, 3x3, pad=1) -> relu
}
network Headed {
  input image: 3x8x8
  stage = {
    Pair(4)
    Pair(8)
  }
  head aux(weight=0.3) { flatten -> linear(5) }
  fc = flatten -> linear(10)
}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with the specs above, and nothing else."""
    for name, text in {"tiny": TINY, "broken": BROKEN, "warned": WARNED, "headed": HEADED}.items():
        (tmp_path / f"{name}.cnn").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
    result = CliRunner().invoke(cli, arguments, input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def process(*arguments: str, python: tuple[str, ...] = (), **more) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *python, "-m", "cnnc", *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", **more)


# ------------------------------------------------------------------------------------------------------------------- all commands


def test_version():
    assert re.fullmatch(r"cnnc \d+\.\d+\.\d+\n", run("--version").output)


@pytest.mark.parametrize("command", [(), *((c,) for c in COMMANDS)])
def test_help(command):
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")


@pytest.mark.parametrize("command", ["compile", "shapes", "check", "verify"])
def test_a_missing_spec_is_a_wrong_use(command):
    result = run(command, "nowhere.cnn")
    assert result.exit_code == 2
    assert "there is no file nowhere.cnn" in result.output


@pytest.mark.parametrize("command", ["compile", "shapes", "check", "verify"])
def test_what_is_no_text_is_an_error_of_the_spec(command, folder):
    (folder / "bytes.cnn").write_bytes(b"cnn 1\n\xff")
    result = run(command, "bytes.cnn")
    assert result.exit_code == 1
    assert "bytes.cnn is not UTF-8: byte 6 (line 2) is 0xff" in result.output


@pytest.mark.parametrize("command", ["compile", "shapes", "check", "verify"])
def test_a_spec_with_errors(command):
    result = run(command, "broken.cnn")
    assert result.exit_code == 1
    where = result.stdout if command == "check" else result.stderr
    assert "error[E301]: the window does not fit: (6 - 9 + 2*0) / 1 + 1 = -2" in where
    assert "--> broken.cnn:4:" in where
    assert where.endswith("\n1 error\n")


def test_a_spec_from_standard_input():
    assert "Tiny (<stdin>)" in run("shapes", "-", stdin=TINY).stdout
    assert "<stdin>:4:" in run("check", "-", stdin=BROKEN).stdout


def test_a_bundled_spec_by_name():
    assert "62,378,344" in run("shapes", "alexnet").stdout


def test_a_misspelt_bundled_name():
    assert "did you mean the bundled `alexnet`?" in run("shapes", "alexnt").stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["shap", "alexnet"], "did you mean 'shapes'?"),
        (["tiny.cnn"], "try `cnnc shapes tiny.cnn`"),
        (["shapes"], "Missing argument 'SPEC'"),
        (["shapes", "tiny.cnn", "-p", "classes"], "is not NAME=VALUE"),
        (["shapes", "tiny.cnn", "-p", "=3"], "is not NAME=VALUE"),
        (["shapes", "tiny.cnn", "--input", "3x0x8"], "is not a shape"),
        (["shapes", "tiny.cnn", "--input", "3,8,8"], "is not a shape"),
        (["shapes", "tiny.cnn", "--input", "9" * 5000], "is not a shape"),
        (["shapes", "tiny.cnn", "--columns", "layer,size"], "there is no column 'size'"),
        (["shapes", "tiny.cnn", "--columns", ","], "at least one name"),
        (["shapes", "tiny.cnn", "--depth", "0"], "0 is not in the range"),
        (["compile", "tiny.cnn", "--target", "tensorflow"], "there is no target 'tensorflow'; there is torch"),
        (["verify"], "name a SPEC, or give --all"),
        (["verify", "tiny.cnn", "--all"], "not both"),
    ],
)
def test_wrong_use(arguments, words):
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""


def test_parameters_and_input():
    data = json.loads(run("shapes", "tiny.cnn", "-p", "classes = 2 * 21", "--input", "3x4x4", "--json").stdout)
    assert data["outputs"] == [{"name": "fc", "shape": [42]}]
    assert data["inputs"] == [{"name": "image", "shape": [3, 4, 4]}]
    assert data == json.loads(run("shapes", "tiny.cnn", "-p", "classes=42", "--input", "image=3x4x4", "--json").stdout)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-p", "clases=1"], "the network `Tiny` has no parameter `clases`"),
        (["-p", "classes=1+"], "-p classes:1:"),
        (["--network", "Tinny"], "did you mean `Tiny`?"),
        (["--input", "picture=3x8x8"], "no input `picture`"),
    ],
)
def test_options_that_do_not_fit_the_spec(arguments, words):
    result = run("shapes", "tiny.cnn", *arguments)
    assert result.exit_code == 1
    assert words in result.stderr


# ------------------------------------------------------------------------------------------------------------------------- shapes


def table(text: str) -> list[list[str]]:
    """The rows of the printed table, split at two spaces or more."""
    lines = text.split("\n\n")[1].splitlines()
    return [re.split(r" {2,}|(?<=[0-9]) (?=[<0-9])", line.strip()) for line in lines if not line.startswith("─")]


def test_shapes_of_alexnet():
    text = run("shapes", "alexnet").stdout
    assert text.startswith("AlexNet (alexnet.cnn): image 3x227x227 -> scores 1000\n")
    rows = table(text)
    assert rows[0] == ["layer", "op", "k/s/p/g", "output", "params", "%", "MACs", "%", "RF/jump"]
    assert ["conv2", "conv", "5/1/2", "256x27x27", "614,656", "1.0", "447,897,600", "39.5", "51/8"] in rows
    assert rows[-1] == ["total", "24 layers", "62,378,344", "100.0", "1,135,256,096", "100.0"]
    assert "parameters      62,378,344 (249.5 MB in float32)" in text
    assert "receptive field 195 input cells a side at pool5, 32 cells apart" in text
    assert max(map(len, text.splitlines()[2:-5])) <= 100


@pytest.mark.parametrize("name", ["alexnet", "lenet", "vgg", "googlenet", "resnet", "unet"])
def test_the_default_columns_stay_within_100(name):
    for line in run("shapes", name, "--depth", "1").stdout.split("\n\n")[1].splitlines():
        assert len(line) <= 100, line


def test_blocks_are_a_tree_with_subtotals():
    rows = table(run("shapes", "headed.cnn", "--columns", "layer,op,output,params").stdout)
    assert rows == [
        ["layer", "op", "output", "params"],
        ["image", "input", "3x8x8"],
        ["stage", "8x8x8", "408"],
        ["pair1", "Pair", "4x8x8", "112"],
        ["conv1", "conv", "4x8x8", "112"],
        ["relu1", "relu", "4x8x8"],
        ["pair2", "Pair", "8x8x8", "296"],
        ["conv1", "conv", "8x8x8", "296"],
        ["relu1", "relu", "8x8x8"],
        ["fc.flatten1", "flatten", "512"],
        ["fc", "linear", "10", "5,130"],
        ["total", "6 layers", "5,538"],
        ["training only"],
        ["aux", "head ×0.3", "5", "2,565"],
        ["flatten1", "flatten", "512"],
        ["linear1", "linear", "5", "2,565"],
        ["total of heads", "2 layers", "2,565"],
    ]


def test_depth_closes_blocks():
    rows = table(run("shapes", "headed.cnn", "--columns", "layer,op,output,params", "--depth", "1").stdout)
    assert ["stage", "4 layers", "8x8x8", "408"] in rows
    assert ["aux", "head ×0.3", "5", "2,565"] in rows
    assert not any(row[0] in ("pair1", "linear1") for row in rows)
    rows = table(run("shapes", "headed.cnn", "--columns", "layer,op,output,params", "--depth", "2").stdout)
    assert ["pair1", "Pair", "4x8x8", "112"] in rows
    assert not any(row[0] == "conv1" for row in rows)


def test_columns():
    text = run("shapes", "tiny.cnn", "--columns", "+in,from,activation,buffers,ops,line").stdout
    head, *rows = table(text)
    assert head[-6:] == ["input", "from", "activation", "buffers", "other ops", "line"]
    (fc,) = (row for row in rows if row[0] == "fc")
    assert fc == ["fc", "linear", "10", "650", "85.3", "640", "27.0", "all", "64", "fc.flatten1", "10", "10", "7"]


def test_every_column_can_be_chosen():
    from cnnc.cli.outline import COLUMNS

    assert run("shapes", "headed.cnn", "--columns", ",".join(COLUMNS)).exit_code == 0


@pytest.mark.parametrize(
    ("op", "shown"),
    [
        ("conv(6, 3)", "3/1/0"),
        ("conv(6, 1x3, stride=2x1, pad=0x1)", "1x3/2x1/0x1"),
        ("conv(6, 2, pad=same)", "2/1/0+1"),
        ("conv(6, 3, dilation=2, groups=3)", "3d2/1/0/3"),
        ("depthwise(3, pad=1)", "3/1/1/6"),
        ("maxpool(2)", "2/2/0"),
        ("conv_transpose(6, 2, stride=2)", "2/2/0"),
        ("lrn(5)", "5"),
        ("relu", ""),
    ],
)
def test_windows(op, shown):
    text = f"network N {{\n input image: 6x8x8\n it = {op}\n}}"
    lines = run("shapes", "-", "--columns", "layer,window", stdin=text).stdout.splitlines()
    assert next(line for line in lines if line.startswith("it")).split()[1:] == ([shown] if shown else [])


def test_shapes_as_far_as_they_are_known():
    result = run("shapes", "broken.cnn")
    rows = table(result.stdout)
    assert ["conv1", "conv", "3/1/0", "4x6x6", "112", "100.0", "3,888", "100.0", "3/1"] in rows
    assert ["conv2", "conv", "9/1/0", "?", "?", "?"] in rows
    assert ["fc", "linear", "?", "?", "?"] in rows
    assert rows[-1][0] == "total of what is known"
    assert "parameters      at least 112" in result.stdout
    assert result.exit_code == 1


def test_shapes_as_json():
    data = json.loads(run("shapes", "headed.cnn", "--json").stdout)
    layers = data.pop("layers")
    assert data == {
        "network": "Headed",
        "file": "headed.cnn",
        "inputs": [{"name": "image", "shape": [3, 8, 8]}],
        "outputs": [{"name": "fc", "shape": [10]}],
        "params": 5538,
        "aux_params": 2565,
        "buffers": 0,
        "macs": 30464,
        "aux_macs": 2560,
    }
    assert list(data) == "network file inputs outputs params aux_params buffers macs aux_macs".split()
    assert [layer["path"] for layer in layers] == [
        "stage.pair1.conv1",
        "stage.pair1.relu1",
        "stage.pair2.conv1",
        "stage.pair2.relu1",
        "aux.flatten1",
        "aux.linear1",
        "fc.flatten1",
        "fc",
    ]
    assert layers[0] == {
        "path": "stage.pair1.conv1",
        "op": "conv",
        "shape": [4, 8, 8],
        "params": 112,
        "macs": 6912,
        "aux": False,
        "file": "headed.cnn",
        "line": 2,
        "column": 3,
    }
    assert [layer["aux"] for layer in layers] == [False] * 4 + [True] * 2 + [False] * 2


def test_unknown_shapes_are_null_in_json():
    result = run("shapes", "broken.cnn", "--json")
    conv1, _, conv2, *_ = json.loads(result.stdout)["layers"]
    assert (conv1["shape"], conv1["params"]) == ([4, 6, 6], 112)
    assert (conv2["shape"], conv2["params"], conv2["macs"]) == (None, None, None)
    assert result.exit_code == 1


def test_shared_weights_are_counted_once():
    text = "network N {\n input a: 4\n module f = linear(4)\n f\n f\n}"
    result = run("shapes", "-", "--columns", "layer,params", stdin=text)
    assert ["f", "20"] in table(result.stdout)
    assert ["f@2", "shared"] in table(result.stdout)


# ----------------------------------------------------------------------------------------------------------------- tables


COLUMNS_OF_TABLE = [Column("text", fold=True), Column("number", right=True)]


def test_a_table_is_aligned(capsys):
    print_table(COLUMNS_OF_TABLE, [Row(["é日本", "1"]), Row(), Row(["abc", "12,345,678"])])
    assert capsys.readouterr().out == (
        "text       number\n" + "─" * 17 + "\n" + "é日本           1\n" + "─" * 17 + "\n" + "abc    12,345,678\n"
    )


@pytest.mark.parametrize("width", [20, 25, 40])
def test_a_narrow_terminal_loses_nothing(capsys, monkeypatch, width):
    monkeypatch.setattr(cnnc.cli.table, "terminal_width", lambda stream: width)
    words = "stage[2].bottleneck3.conv2.relu1"
    print_table(COLUMNS_OF_TABLE, [Row([words, "12,345,678"])])
    out = capsys.readouterr().out
    assert "12,345,678" in out
    assert "".join(line.split("12,345,678")[0].strip() for line in out.splitlines()[2:]) == words
    assert all(len(line) <= width for line in out.splitlines())


def test_rich_is_not_needed_for_a_table_that_fits():
    code = "import sys; from cnnc.cli import cli; cli(['shapes', 'alexnet'], standalone_mode=False); assert 'rich' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


# -------------------------------------------------------------------------------------------------------------------------- check


def test_check_says_fine():
    assert run("check", "tiny.cnn").stdout == "tiny.cnn: fine (Tiny: 4 layers, 762 parameters, 2,368 MACs)\n"


def test_check_looks_at_every_network():
    two = TINY + BROKEN.replace("network Broken", "network Broken2") + TINY.replace("cnn 1", "").replace("Tiny", "Last")
    result = run("check", "-", stdin=two)
    assert result.exit_code == 1
    assert "E301" in result.stdout
    assert run("check", "-", "--network", "Last", stdin=two).exit_code == 0
    assert "(Tiny, Other)" in run("check", "-", stdin=TINY + "network Other = Tiny(classes=3)\n").stdout


def test_a_mistake_that_networks_share_is_told_once():
    text = BROKEN.replace("Broken", "Broken(n = 1)") + "network B2 = Broken(n=2)\nnetwork B3 = Broken(n=3)\n"
    assert run("check", "-", stdin=text).stdout.count("E301") == 1


def test_a_network_for_variants_needs_no_values():
    text = TINY.replace("classes = 10", "classes")
    assert run("check", "-", stdin=text + "network Ten = Tiny(10)\n").stdout.startswith("<stdin>: fine (Ten:")
    result = run("check", "-", stdin=text)
    assert result.exit_code == 1
    assert "E512" in result.stdout
    assert run("check", "-", "-p", "classes=3", stdin=text).exit_code == 0


def test_check_several_specs():
    result = run("check", "tiny.cnn", "broken.cnn", "nowhere.cnn", "alexnet")
    assert result.exit_code == 2
    assert "tiny.cnn: fine" in result.stdout
    assert "alexnet.cnn: fine" in result.stdout
    assert result.stdout.endswith("2 errors\n")


def test_warnings_are_errors_when_strict():
    result = run("check", "warned.cnn")
    assert result.exit_code == 0
    assert "warning[W301]" in result.stdout
    assert result.stdout.endswith("1 warning\n")
    result = run("check", "warned.cnn", "--strict")
    assert result.exit_code == 1
    assert "error[W301]" in result.stdout


def test_check_as_json():
    result = run("check", "tiny.cnn", "broken.cnn", "warned.cnn", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert list(found) == ["diagnostics"]
    assert [(d["code"], d["severity"], d["file"], d["line"]) for d in found["diagnostics"]] == [
        ("E301", "error", "broken.cnn", 4),
        ("W301", "warning", "warned.cnn", 3),
    ]
    assert json.loads(run("check", "tiny.cnn", "--json").stdout) == {"diagnostics": []}


# ------------------------------------------------------------------------------------------------------------------------ compile


def test_compile_writes_a_module_of_the_specs_name(folder):
    result = run("compile", "tiny.cnn", "--target", "torch")
    assert result.exit_code == 0
    assert result.stdout == "tiny.py: Tiny, 762 parameters\n"
    assert "class Tiny(nn.Module):" in (folder / "tiny.py").read_text(encoding="utf-8")
    assert sorted(p.name for p in folder.iterdir() if p.suffix != ".cnn") == ["tiny.py"]


def test_compile_to_standard_output(folder):
    run("compile", "tiny.cnn", "-o", "x.py")
    text = run("compile", "tiny.cnn", "-o", "-").stdout
    assert text == (folder / "x.py").read_text(encoding="utf-8")
    assert "class Tiny(nn.Module):" in run("compile", "-", stdin=TINY).stdout


def test_compile_is_deterministic():
    assert run("compile", "resnet", "-o", "-").stdout == run("compile", "resnet", "-o", "-").stdout


def test_compile_overwrites_only_its_own(folder):
    assert run("compile", "tiny.cnn").exit_code == 0
    assert run("compile", "tiny.cnn", "-p", "classes=3").exit_code == 0
    ours = (folder / "tiny.py").read_text(encoding="utf-8")
    for theirs in ("import os\n", "# this is not\n# a file Generated by cnnc\n"):
        (folder / "tiny.py").write_text(theirs, encoding="utf-8")
        result = run("compile", "tiny.cnn", "-p", "classes=3")
        assert result.exit_code == 2
        assert "tiny.py exists and was not written by cnnc; --force overwrites it" in result.stderr
        assert (folder / "tiny.py").read_text(encoding="utf-8") == theirs
    assert run("compile", "tiny.cnn", "-p", "classes=3", "--force").exit_code == 0
    assert (folder / "tiny.py").read_text(encoding="utf-8") == ours


def test_compile_writes_into_an_empty_file(folder):
    (folder / "tiny.py").touch()
    assert run("compile", "tiny.cnn").exit_code == 0


def test_compile_knows_its_own_file_behind_a_long_comment(folder):
    long = TINY.replace("# A tiny network", "\n".join(f"# {'long comment ' * 8}{n}." for n in range(100)) + "\n# A tiny network")
    (folder / "long.cnn").write_text(long, encoding="utf-8")
    assert run("compile", "long.cnn").exit_code == 0
    assert run("compile", "long.cnn").exit_code == 0


def test_compile_keeps_mode_and_link(folder):
    target = folder / "real.py"
    target.touch(mode=0o640)
    target.chmod(0o640)
    (folder / "link.py").symlink_to(target)
    assert run("compile", "tiny.cnn", "-o", "link.py").exit_code == 0
    assert (folder / "link.py").is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    assert "class Tiny" in target.read_text(encoding="utf-8")


@pytest.mark.skipif(os.name != "posix", reason="about umask")
def test_compile_heeds_the_umask(folder):
    before = os.umask(0o027)
    try:
        assert run("compile", "tiny.cnn").exit_code == 0
    finally:
        os.umask(before)
    assert (folder / "tiny.py").stat().st_mode & 0o777 == 0o640


def test_compile_writes_to_a_device_without_replacing_it():
    assert run("compile", "tiny.cnn", "-o", os.devnull).exit_code == 0
    assert not Path(os.devnull).is_file()


def test_a_failed_write_leaves_what_was_there(folder, monkeypatch):
    assert run("compile", "tiny.cnn").exit_code == 0
    before = (folder / "tiny.py").read_bytes()
    names = sorted(folder.iterdir())

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = run("compile", "tiny.cnn", "-p", "classes=3")
    assert result.exit_code == 2
    assert "tiny.py cannot be written: No space left on device" in result.stderr
    assert (folder / "tiny.py").read_bytes() == before
    assert sorted(folder.iterdir()) == names


@pytest.mark.parametrize("output", ["nowhere/x.py", "tiny.cnn/x.py", "."])
def test_places_that_cannot_be_written(output):
    result = run("compile", "tiny.cnn", "-o", output)
    assert result.exit_code == 2
    assert result.stderr.startswith(("Error: ", "Usage: "))


def test_nothing_is_written_for_a_spec_with_errors(folder):
    before = sorted(folder.iterdir())
    assert run("compile", "broken.cnn").exit_code == 1
    assert run("compile", "warned.cnn", "--strict").exit_code == 1
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(("name", "module"), [("my-net.v2", "my_net_v2"), ("2nd", "_2nd"), ("größe", "größe"), ("a b", "a_b")])
def test_names_of_modules(folder, name, module):
    (folder / f"{name}.cnn").write_text(TINY, encoding="utf-8")
    assert run("compile", f"{name}.cnn").exit_code == 0
    assert (folder / f"{module}.py").is_file()


@pytest.mark.parametrize(
    ("name", "words"),
    [("class", "class is a keyword"), ("torch", "would hide"), ("json", "would hide"), ("---", "no good name")],
)
def test_names_that_make_no_module(folder, name, words):
    (folder / f"{name}.cnn").write_text(TINY, encoding="utf-8")
    result = run("compile", f"./{name}.cnn")
    assert result.exit_code == 2
    assert words in result.stderr
    assert "-o" in result.stderr
    assert not list(folder.glob("*.py"))


# ---------------------------------------------------------------------------------------------------------------------- list, new


def test_list_names_every_bundled_spec():
    text = run("list").stdout
    for name in bundled_specs():
        assert re.search(rf"^{name} ", text, re.MULTILINE)
    figures = r"^vgg +VGG16, and \d+ more +3x224x224 +138,357,544 +15,470,264,320 +VGG\. Simonyan"
    assert re.search(figures, text, re.MULTILINE)


def test_list_names_every_network_of_a_spec():
    lines = run("list", "lenet", "vgg").stdout.splitlines()
    assert re.match(r"lenet +LeNet5 +1x32x32 +60,000 ", lines[2])
    assert any(re.match(r" +VGG11 +3x224x224 +132,863,336 ", line) for line in lines)


def test_list_of_an_unknown_name():
    assert "there is no bundled spec 'lenett'; there is " in run("list", "lenett").stderr


def test_list_as_json():
    lenet, vgg = json.loads(run("list", "lenet", "vgg", "--json").stdout)["specs"]
    networks = {n["network"]: n for n in vgg["networks"]}
    assert (vgg["name"], vgg["file"]) == ("vgg", "vgg.cnn")
    assert networks["VGG16"] == {
        "network": "VGG16",
        "inputs": [{"name": "image", "shape": [3, 224, 224]}],
        "params": 138_357_544,
        "aux_params": 0,
        "macs": 15_470_264_320,
        "default": True,
    }
    assert not networks["VGG11"]["default"]
    assert sum(n["default"] for n in lenet["networks"]) == 1


@pytest.mark.parametrize(
    ("name", "network"),
    [("tiny2", "Tiny2"), ("my-tiny_net", "MyTinyNet"), ("3d", "Net3d"), ("resNet", "ResNet"), ("x.cnn", "X"), ("é", "Network")],
)
def test_new_writes_a_spec_that_is_fine(folder, name, network):
    file = name if name.endswith(".cnn") else f"{name}.cnn"
    result = run("new", name)
    assert result.exit_code == 0
    assert file in result.stdout
    checked = run("check", file, "--strict")
    assert checked.stdout.startswith(f"{file}: fine ({network}:"), checked.output


def test_new_never_overwrites(folder):
    result = run("new", "tiny")
    assert result.exit_code == 2
    assert "tiny.cnn exists" in result.stderr
    assert (folder / "tiny.cnn").read_text(encoding="utf-8") == TINY


def test_new_in_no_folder():
    result = run("new", "nowhere/x")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


# ----------------------------------------------------------------------------------------------------------------- whole processes


def test_exit_statuses_of_a_process():
    assert process("check", "tiny.cnn").returncode == 0
    assert process("check", "broken.cnn").returncode == 1
    assert process("check", "--what").returncode == 2


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_output_without_a_terminal_is_plain(stream):
    assert "\x1b" not in getattr(process("shapes", "broken.cnn"), stream)


def test_a_reader_that_stops_early_is_no_error():
    command = [sys.executable, "-m", "cnnc", "shapes", "vgg"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdout.close()
    assert child.stderr.read() == b""
    child.wait()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_in_a_line():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "cnnc", "shapes", "alexnet"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 74
    assert done.stderr == "cnnc: output cannot be written: No space left on device\n"


def test_an_ascii_terminal_gets_everything():
    done = process("shapes", "alexnet", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "62,378,344" in done.stdout


def test_an_internal_error_is_one_line_and_a_report(folder):
    code = """
import sys
import cnnc.compiler
def analyse(*a): raise RuntimeError("out of\\ncheese")
cnnc.compiler.analyse = analyse
from cnnc.cli import main
main(["shapes", "tiny.cnn"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "TMPDIR": str(folder)})
    assert done.returncode == 70
    match = re.fullmatch(r"cnnc [\d.]+: internal error: RuntimeError: out of cheese; .* a report is in (.*\.txt)\n", done.stderr)
    assert match
    assert "Traceback (most recent call last)" in Path(match[1]).read_text(encoding="utf-8")


def imported(*arguments: str) -> set[str]:
    log = process(*arguments, python=("-X", "importtime")).stderr
    return {line.rpartition("|")[2].strip() for line in log.splitlines() if line.startswith("import time:")}


@pytest.mark.parametrize("command", ["shapes alexnet", "check alexnet", "compile alexnet -o -", "list"])
def test_what_is_not_needed_is_not_imported(command):
    names = imported(*command.split())
    assert "cnnc.compiler" in names
    assert not names & {"torch", "networkx", "rich.console", "numpy", "importlib.metadata", "email", "asyncio"}


def test_help_and_version_do_not_load_the_compiler():
    for command in ("--version", "--help"):
        assert not imported(command) & {"cnnc.compiler", "lark", "pydantic", "rich"}


def test_the_stand_in_for_pydantics_plugins_gives_way():
    code = """
from cnnc.cli import startup
startup.prepare()
from importlib import import_module
loader = import_module("pydantic.plugin._loader")
assert loader.get_plugins() == ()
assert loader.PYDANTIC_ENTRY_POINT_GROUP == "pydantic"
import sys
assert sys.modules["pydantic.plugin._loader"] is not loader
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ----------------------------------------------------------------------------------------------------------------------- terminals


pty = pytest.importorskip("pty", reason="about terminals")


def on_terminal(*arguments: str, columns: int = 120, **environment: str) -> str:
    """What a terminal of some width gets."""
    import fcntl
    import struct
    import termios

    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    env = {**os.environ, "TERM": "xterm-256color", **environment}
    with subprocess.Popen([sys.executable, "-m", "cnnc", *arguments], stdout=child, stderr=child, stdin=child, env=env) as running:
        os.close(child)
        found = b""
        while True:
            try:
                piece = os.read(parent, 65536)
            except OSError:
                break
            if not piece:
                break
            found += piece
        running.wait()
    os.close(parent)
    return found.decode().replace("\r\n", "\n")


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_a_terminal_gets_colour():
    text = on_terminal("check", "broken.cnn")
    assert "\x1b[1;31merror[E301]" in text
    assert plain(text) == run("check", "broken.cnn").stdout


def test_no_color():
    assert "\x1b" not in on_terminal("shapes", "broken.cnn", NO_COLOR="1")


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_every_number_is_there_whatever_the_width(columns):
    text = plain(on_terminal("shapes", "alexnet", columns=columns))
    for number in ("34,944", "105,415,200", "37,752,832", "62,378,344", "1,135,256,096", "195/32"):
        assert number in text


def test_eighty_columns_are_enough_for_alexnet():
    text = plain(on_terminal("shapes", "alexnet", columns=80))
    assert all(len(line) <= 80 for line in text.split("\n\n")[1].splitlines())
