"""`cnnc verify` and what it stands on: it agrees on every bundled network, and it sees when something is off."""

from __future__ import annotations

import json
import pickle
import re

import pytest
import torch
from click.testing import CliRunner

import cnnc
import cnnc.resources
from cnnc.backends.torch import emit_torch
from cnnc.backends.torch.names import key_path
from cnnc.check import Checked
from cnnc.cli import cli
from cnnc.compiler import analyse, emit
from cnnc.reading import read_import
from cnnc.runtime.module import build_module, forget
from cnnc.runtime.verify import compare, same_without_probes, verify
from cnnc.source import Source

SHARED = """\
block Twice(width) {
  conv(width, 3x3, pad=1, bias=false) -> batchnorm -> relu
}
network N {
  input image: 8x6x6
  module f = Twice(8)
  stage[0] = {
    f
    add { f; identity }
  }
  a, b = split([3, 5])
  both = concat { a -> conv(4, 1x1); b -> conv(4, 3x3, pad=1) -> prelu }
  head aux(weight=0.3) { global_avgpool -> flatten -> linear(5) }
  fc = global_avgpool -> flatten -> linear(10)
  output scores = softmax
}
"""


def checked(text: str) -> Checked:
    found = analyse(Source("x.cnn", text), read=read_import)
    assert isinstance(found, Checked), found
    assert not found.errors, found.errors
    return found


def run(*arguments: str, stdin: str | None = None):
    result = CliRunner().invoke(cli, ["verify", *arguments], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def differences(old: str, new: str, text: str = SHARED, device="meta") -> set[tuple[str, str]]:
    """What is reported when the emitted text has ``new`` where it should have ``old``."""
    network = checked(text)
    plain, probed = emit(network, "torch"), emit_torch(network, probe=True)
    assert re.search(old, plain), plain
    report = compare(network, re.sub(old, new, plain), re.sub(old, new, probed), device)
    return {(m.layer, m.what) for m in report.mismatches}


# ------------------------------------------------------------------------------------------------------------------------ agrees


@pytest.fixture
def two_specs(monkeypatch):
    """Only two of the bundled specs, for a quick `--all`."""
    some = {name: path for name, path in cnnc.resources.bundled_specs().items() if name in ("alexnet", "lenet")}
    monkeypatch.setattr(cnnc.resources, "bundled_specs", lambda: some)


@pytest.mark.parametrize("spec", ["alexnet", "googlenet", "lenet", "resnet", "unet", "vgg"])
def test_the_first_specs_agree(spec):
    result = run(spec)
    assert result.exit_code == 0, result.output
    assert "agree with what PyTorch ran" in result.stdout


def test_all_as_json(two_specs):
    result = run("--all", "--json")
    networks = json.loads(result.stdout)["networks"]
    assert all(n["agrees"] and n["mismatches"] == [] for n in networks)
    assert {"AlexNet", "LeNet5"} <= {n["network"] for n in networks}
    assert result.exit_code == 0


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_uses_of_a_module_splits_merges_and_heads(device):
    report = verify(checked(SHARED), device)
    assert report.mismatches == ()
    assert report.layers == len(checked(SHARED).graph.layers)


@pytest.mark.parametrize("spec", ["lenet", "alexnet", "resnet"])
def test_with_real_numbers(spec):
    result = run(spec, "--device", "cpu", *(["--network", "ResNet18", "--input", "3x64x64"] if spec == "resnet" else []))
    assert result.exit_code == 0, result.output
    assert "agree with what PyTorch ran" in result.stdout


def test_one_network_as_json():
    (found,) = json.loads(run("-", "--json", stdin=SHARED).stdout)["networks"]
    assert found.pop("layers") == len(checked(SHARED).graph.layers)
    assert found == {
        "network": "N",
        "file": "<stdin>",
        "device": "meta",
        "agrees": True,
        "params": 576 + 16 + (12 + 4) + (180 + 4) + 1 + 45 + 90,
        "macs": 2 * 576 * 36 + (12 + 180) * 36 + 80,
        "mismatches": [],
    }


def test_the_summary_of_all(two_specs):
    text = run("--all").stdout
    assert re.search(r"^AlexNet +alexnet\.cnn +24 +62,378,344 +1,135,256,096 +[\d.]+ +agrees$", text, re.MULTILINE)
    assert re.search(r"^(\d+) of \1 networks agree on every layer \(meta device\)$", text, re.MULTILINE)


def test_random_numbers_of_the_caller_stay():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    verify(checked(SHARED), "cpu")
    assert torch.equal(torch.rand(3), expected)


# ---------------------------------------------------------------------------------------------------------------- sees differences


def test_another_width_is_seen():
    assert ("fc", "parameters") in differences(r"nn\.Linear\((8|width), 10\)", "nn.Linear(8, 11)")


def test_a_missing_bias_is_seen():
    found = differences(r"nn\.Linear\(8, 10\)", "nn.Linear(8, 10, bias=False)")
    assert found == {("fc", "parameters"), ("", "parameters")}


def test_another_window_is_seen_where_it_stands():
    text = "network N {\n input image: 3x8x8\n a = conv(4, 3x3, pad=1)\n b = maxpool(2)\n c = conv(4, 3x3)\n}"
    found = differences("padding=1", "padding=2", text)
    assert {("a", "shape in evaluation"), ("a", "MACs in evaluation"), ("a", "shape in training")} <= found
    assert ("", "outputs") in found
    assert not any(what == "parameters" for _, what in found)


def test_work_beside_the_layers_is_seen():
    text = "network N {\n input image: 3x8x8\n a = conv(4, 3x3)\n b = relu\n}"
    found = differences(r"self\.a\(x\)", "self.a(x) + F.conv2d(x, x.new_ones(4, 3, 3, 3))", text)
    assert found == {("a", "MACs in evaluation"), ("a", "MACs in training"), ("", "MACs"), ("", "MACs in training")}


def test_a_layer_that_does_not_run_is_seen():
    text = "network N {\n input image: 3x8x8\n a = conv(4, 3x3)\n b = relu\n c = conv(4, 3x3)\n}"
    network = checked(text)
    plain, probed = emit(network, "torch"), emit_torch(network, probe=True)
    without = re.sub(r'_probe\(self, "b", (F\.relu\(.*?\))\)', r"\1", probed)
    assert without != probed
    report = compare(network, plain, without)
    assert {(m.layer, m.what) for m in report.mismatches} == {("b", "runs in evaluation"), ("b", "runs in training")}


def test_the_function_itself_is_not_compared():
    """Shapes and counts say nothing of the numbers: that is for the tests of the layers."""
    text = "network N {\n input image: 3x8x8\n a = conv(4, 3x3)\n b = relu\n}"
    assert differences(r"F\.relu\(x.*?\)", "F.sigmoid(x)", text) == set()


def test_a_renamed_key_is_seen():
    text = "network N {\n input image: 3x8x8\n a = conv(4, 3x3)\n}"
    found = differences(r"self\.a\b", "self.other", text)
    assert ("", "state_dict") in found
    assert ("a", "parameters") in found


def test_an_exception_is_a_finding():
    text = "network N {\n input image: 3x8x8\n a = conv(4, 3x3)\n b = conv(5, 3x3)\n}"
    assert differences(r"nn\.Conv2d\(4, 5", "nn.Conv2d(7, 5", text) >= {("a", "after it")}


def test_numbers_that_are_none_are_seen():
    text = "network N {\n input image: 3x8x8\n a = conv(4, 3x3)\n b = relu\n}"
    assert ("", "output 0") in differences(r"F\.relu\(x.*?\)", "F.relu(x) / 0", text, "cpu")


def test_a_parameter_without_a_gradient_is_seen():
    text = "network N {\n input image: 3x8x8\n a = conv(4, 3x3)\n b = conv(4, 3x3)\n}"
    found = differences(r"self\.a\(x\)", "self.a(x).detach()", text, "cpu")
    assert found == {("", "gradient")}


def test_probes_must_change_nothing():
    assert same_without_probes("x = f(g(y), 1)", 'x = _probe(self, "f", f(_probe(self, "g", g(y)), 1))')
    assert not same_without_probes("x = f(g(y), 1)", 'x = _probe(self, "f", f(_probe(self, "g", g(y)), 2))')
    network = checked(SHARED)
    report = compare(network, emit(network, "torch"), emit_torch(network, probe=True).replace("padding=1", "padding=1 + 0"))
    assert [m.what for m in report.mismatches] == ["text"]


def test_differences_are_printed(monkeypatch):
    import cnnc.runtime.verify as module

    def wrong(found, device="meta"):
        plain, probed = emit(found, "torch"), emit_torch(found, probe=True)
        return compare(found, *(t.replace("nn.Linear(8, 10)", "nn.Linear(8, 11)") for t in (plain, probed)), device)

    monkeypatch.setattr(module, "verify", wrong)
    result = run("-", stdin=SHARED)
    assert result.exit_code == 1
    assert re.search(r"^fc +parameters +90 +99$", result.stdout, re.MULTILINE)
    assert "figures differ from what PyTorch ran" in result.stdout


@pytest.mark.parametrize(
    ("path", "name"),
    [("conv1", "conv1"), ("stage[2].bottleneck3.conv2", "stage.2.bottleneck3.conv2"), ("f@2.conv1", "f.conv1"), ("a[0][1]", "a.0.1")],
)
def test_paths_as_module_names(path, name):
    assert key_path(path) == name


# ------------------------------------------------------------------------------------------------------------------- the module


def test_a_built_module_runs_and_can_be_pickled():
    module = build_module(checked(SHARED)).eval()
    copy = pickle.loads(pickle.dumps(module))
    image = torch.rand(2, 8, 6, 6)
    assert torch.equal(module(image), copy(image))
    assert "class N" in __import__("inspect").getsource(type(module))
    forget(module)
    assert module(image).shape == (2, 10)


def test_to_torch():
    network = cnnc.load("lenet", network="LeNet5Modern")
    module = network.to_torch()
    assert sum(p.numel() for p in module.parameters()) == network.params == 61_706
    assert type(module).__name__ == "LeNet5Modern"


def test_two_modules_of_one_text_do_not_meet():
    first, second = build_module(checked(SHARED)), build_module(checked(SHARED))
    assert type(first) is not type(second)
    assert type(first).__module__ != type(second).__module__
