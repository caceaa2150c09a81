"""Weights of another implementation: `cnnc weights adapt` and `Network.to_torch(weights=…)`.

The other implementations are plain modules written here, with names and habits of their own.
"""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from torch import nn

import cnnc
from cnnc.cli import cli
from cnnc.runtime.mapping import Match, Part, Refusal, Slot, match, parts, slots, wrapper
from cnnc.runtime.weights import WeightsError, shapes_of

# ----------------------------------------------------------------------------------------------------- two specs, three modules

RESNET = """\
from std.residual import Bottleneck, BottleneckV1

network ResNet(unit = Bottleneck, classes = 12) {
  input image: 3x32x32
  stem = conv(8, 3x3, pad=1, bias=false) -> batchnorm -> relu -> maxpool(2x2)
  for i, depth in [2, 1] {
    stage[i] = {
      unit(8 * 2**i, stride = 1 if i == 0 else 2)
      repeat depth - 1 { unit(8 * 2**i) }
    }
  }
  global_avgpool -> flatten
  fc = linear(classes)
}
network V1 = ResNet(BottleneckV1)
network V15 = ResNet(Bottleneck)
"""

VGG = """\
network VGG(classes = 7) {
  input image: 3x16x16
  for i, depth in [1, 2] {
    stage[i] = {
      repeat depth { conv(8 * 2**i, 3x3, pad=1) -> relu }
      maxpool(2x2)
    }
  }
  fc1 = flatten -> linear(24) -> relu -> dropout(0.5)
  fc2 = linear(classes)
  output scores = softmax
}
"""


class Bottleneck(nn.Module):
    """As torchvision has it: the shortcut after the main path."""

    def __init__(self, channels: int, width: int, stride: int, v1: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, stride if v1 else 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1 if v1 else stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = None
        if stride != 1 or channels != 4 * width:
            self.downsample = nn.Sequential(nn.Conv2d(channels, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn3(self.conv3(self.bn2(self.conv2(y)).relu()))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class ResNet(nn.Module):
    def __init__(self, v1: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(Bottleneck(8, 8, 1, v1), Bottleneck(32, 8, 1, v1))
        self.layer2 = nn.Sequential(Bottleneck(32, 16, 2, v1))
        self.fc = nn.Linear(64, 12)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 2)
        return self.fc(self.layer2(self.layer1(x)).mean((2, 3)))


class Vgg(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        )
        self.classifier = nn.Sequential(nn.Linear(256, 24), nn.ReLU(), nn.Dropout(), nn.Linear(24, 7))

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def ready(module: nn.Module) -> nn.Module:
    """A module in evaluation mode, with statistics that it could have learnt."""
    torch.manual_seed(3)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.normal_(0, 0.3) if not name.endswith("running_var") else tensor.uniform_(0.5, 1.5)
    return module.eval()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with the specs and with what the modules save."""
    monkeypatch.chdir(tmp_path)
    Path("resnet.cnn").write_text(RESNET, encoding="utf-8")
    Path("vgg.cnn").write_text(VGG, encoding="utf-8")
    return tmp_path


def adapt(source: str, spec: str, *arguments: str, output: str = "out.safetensors"):
    result = CliRunner().invoke(cli, ["weights", "adapt", source, "--spec", spec, "-o", output, *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def results(spec: str, image: torch.Tensor, weights: str = "out.safetensors", **more) -> torch.Tensor:
    """What the emitted module says of an image, before its softmax."""
    module = cnnc.load(spec, **more).to_torch(weights=weights).eval()
    with torch.no_grad():
        return getattr(module, "logits", module)(image)


# --------------------------------------------------------------------------------------------------------------------- it is mapped


def test_a_resnet_gives_the_same_numbers(folder):
    other, image = ready(ResNet()), torch.rand(2, 3, 32, 32)
    torch.save(other.state_dict(), "other.pth")
    result = adapt("other.pth", "resnet.cnn")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["conv1", "stem.conv1", "conv", "8x3x3x3", "order"] in lines
    assert ["layer1.0.downsample.0", "stage.0.bottleneck1.conv4", "conv", "32x8x1x1", "names"] in lines
    assert ["layer1.0.bn3", "stage.0.bottleneck1.batchnorm3", "batchnorm", "32", "names"] in lines
    assert ["fc", "fc", "linear", "12x64,", "bias", "order"] in lines
    assert "out.safetensors: weights of 25 layers of V15" in result.stdout
    torch.testing.assert_close(results("resnet.cnn", image), other(image))
    assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []


def test_a_shortcut_may_come_first(folder):
    """BottleneckV1 of `std` has its shortcut before the main path, the other implementation behind it."""
    other, image = ready(ResNet(v1=True)), torch.rand(2, 3, 32, 32)
    torch.save(other.state_dict(), "other.pth")
    assert adapt("other.pth", "resnet.cnn", "--network", "V1").exit_code == 0
    torch.testing.assert_close(results("resnet.cnn", image, network="V1"), other(image))


@pytest.mark.parametrize("file", ["other.pth", "other.safetensors"])
def test_numbered_names(file):
    other, image = ready(Vgg()), torch.rand(2, 3, 16, 16)
    torch.save(other.state_dict(), "other.pth")
    save_file(other.state_dict(), "other.safetensors")
    found = json.loads(adapt(file, "vgg.cnn", "--json").stdout)
    assert [(row["source"], row["layer"], row["how"]) for row in found["layers"]] == [
        ("features.0", "stage.0.conv1", "order"),
        ("features.3", "stage.1.conv1", "order"),
        ("features.5", "stage.1.conv2", "order"),
        ("classifier.0", "fc1", "order"),
        ("classifier.3", "fc2", "order"),
    ]
    assert found["layers"][0]["shapes"] == {"weight": [8, 3, 3, 3], "bias": [8]}
    assert (found["network"], found["output"], found["check"], found["refused"]) == ("VGG", "out.safetensors", None, None)
    torch.testing.assert_close(results("vgg.cnn", image), other(image))


def test_names_make_up_for_an_order_that_was_lost():
    """Sorted by name, `bn1` stands before `conv1` and `fc` before `layer1`."""
    other, image = ready(ResNet()), torch.rand(2, 3, 32, 32)
    save_file(other.state_dict(), "other.safetensors")
    result = adapt("other.safetensors", "resnet.cnn")
    assert result.exit_code == 0, result.output
    torch.testing.assert_close(results("resnet.cnn", image), other(image))


def test_wrappers_are_taken_off():
    other = ready(Vgg())
    state = OrderedDict((f"module._orig_mod.{k}", v) for k, v in other.state_dict().items())
    torch.save({"epoch": 3, "state_dict": state}, "checkpoint.pt")
    result = adapt("checkpoint.pt", "vgg.cnn")
    assert "note: took the state dict under `state_dict`" in result.stdout
    assert "note: took `module._orig_mod.` off every key" in result.stdout
    torch.testing.assert_close(results("vgg.cnn", image := torch.rand(1, 3, 16, 16)), other(image))


def test_equal_keys_are_taken_as_they_are():
    own = ready(cnnc.load("resnet.cnn").to_torch())
    state = own.state_dict()
    torch.save(dict(reversed(list(state.items()))), "own.pt")
    found = json.loads(adapt("own.pt", "resnet.cnn", "--json").stdout)
    assert {row["how"] for row in found["layers"]} == {"key"}
    written = load_file("out.safetensors")
    assert written.keys() == state.keys()
    assert all(torch.equal(written[k], state[k]) for k in state)


def test_half_precision_and_missing_counters_become_what_the_module_has():
    other = ready(ResNet())
    torch.save({k: v.half() for k, v in other.state_dict().items() if not k.endswith("num_batches_tracked")}, "old.pth")
    assert adapt("old.pth", "resnet.cnn").exit_code == 0
    image = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(results("resnet.cnn", image), other(image), atol=2e-2, rtol=2e-2)
    assert load_file("out.safetensors")["stem.conv1.weight"].dtype == torch.float32


HEADED = """\
block Side(classes) { global_avgpool -> flatten -> linear(6) -> relu -> linear(classes) }
network Headed(classes = 4) {
  input image: 3x8x8
  conv1 = conv(6, 3x3) -> relu
  head aux1 { Side(classes) }
  conv2 = conv(8, 3x3) -> relu
  head aux2 { Side(classes) }
  conv3 = conv(6, 3x3) -> relu
  fc = global_avgpool -> flatten -> linear(classes)
}
"""


def headed() -> dict[str, torch.Tensor]:
    """As torchvision has it: the heads after the trunk, before the last layer. Three layers have the shape of that."""
    shapes: dict[str, tuple[int, ...]] = {"a": (6, 3, 3, 3), "b": (8, 6, 3, 3), "c": (6, 8, 3, 3)}
    shapes |= {"aux1.fc1": (6, 6), "aux1.fc2": (4, 6), "aux2.fc1": (6, 8), "aux2.fc2": (4, 6), "fc": (4, 6)}
    torch.manual_seed(0)
    return {f"{name}.{leaf}": torch.rand(s) for name, shape in shapes.items() for leaf, s in (("weight", shape), ("bias", shape[:1]))}


def test_heads_may_stand_elsewhere():
    Path("headed.cnn").write_text(HEADED, encoding="utf-8")
    torch.save(headed(), "other.pth")
    found = json.loads(adapt("other.pth", "headed.cnn", "--json").stdout)
    assert {row["layer"]: row["source"] for row in found["layers"]} == {
        "conv1": "a",
        "conv2": "b",
        "conv3": "c",
        "fc": "fc",
        **{f"aux{k}.side1.linear{n}": f"aux{k}.fc{n}" for k in (1, 2) for n in (1, 2)},
    }


def test_heads_may_be_missing():
    Path("headed.cnn").write_text(HEADED, encoding="utf-8")
    trunk = {k: v for k, v in headed().items() if not k.startswith("aux")}
    torch.save(trunk, "other.pth")
    result = adapt("other.pth", "headed.cnn")
    assert "note: the source has no auxiliary heads: 4 of their layers are fresh" in result.stdout
    assert "weights of 8 layers of Headed, 4 of them fresh" in result.stdout
    module = cnnc.load("headed.cnn").to_torch(weights="out.safetensors")
    assert torch.equal(module.state_dict()["conv3.weight"], trunk["c.weight"])
    torch.save({k: v for k, v in trunk.items() if not k.startswith("b.")}, "less.pth")
    refused = adapt("less.pth", "headed.cnn", "--force")
    assert refused.exit_code == 1
    assert "conv2: conv, 8x6x3x3, bias" in refused.stderr


# -------------------------------------------------------------------------------------------------------------------- it is refused


def refusal(state: dict[str, torch.Tensor], spec: str = "vgg.cnn") -> str:
    torch.save(state, "other.pth")
    result = adapt("other.pth", spec)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert not Path("out.safetensors").exists()
    return result.stderr


def test_a_missing_layer():
    state = ready(Vgg()).state_dict()
    said = refusal({k: v for k, v in state.items() if not k.startswith("features.5.")})
    assert "the mapping is incomplete: the first 2 layers agree, then the two sides part" in said
    assert "  other.pth  classifier.0: linear, 24x256, bias\n" in said
    assert "  VGG        stage.1.conv2: conv, 16x16x3x3, bias\n" in said


def test_the_last_layer_is_missing():
    state = ready(Vgg()).state_dict()
    said = refusal({k: v for k, v in state.items() if not k.startswith("classifier.3.")})
    assert "the source has 4 modules with weights, the spec 5 layers" in said
    assert "  other.pth  nothing is left\n  VGG        fc2: linear, 7x24, bias\n" in said


def test_an_extra_layer():
    said = refusal(ready(Vgg()).state_dict() | {"classifier.6.weight": torch.rand(7, 7)})
    assert "the source has 6 modules with weights, the spec only 5 layers" in said
    assert "  other.pth  classifier.6: linear, 7x7\n  VGG        nothing is left\n" in said


def test_a_transposed_weight():
    state = ready(Vgg()).state_dict()
    said = refusal(state | {"classifier.0.weight": state["classifier.0.weight"].T})
    assert "the first 3 layers agree, then the two sides part (the same sizes in another order: is the weight transposed?)" in said
    assert "classifier.0: linear, 256x24, bias 24" in said


def test_a_missing_bias():
    state = ready(Vgg()).state_dict()
    del state["features.0.bias"]
    assert "the two sides part at the first layer (the source has no bias)" in refusal(state)


def test_a_convolution_for_a_dense_layer():
    state = ready(Vgg()).state_dict()
    said = refusal(state | {"classifier.3.weight": state["classifier.3.weight"][:, :, None, None]})
    assert "(a dense layer on one side, a 1x1 convolution on the other)" in said


def test_equal_keys_with_other_shapes():
    state = cnnc.load("vgg.cnn", classes=8).to_torch().state_dict()
    said = refusal(state)
    assert "the names are the same, but not the shapes" in said
    assert "  other.pth  fc2: linear, 8x24, bias\n  VGG        fc2: linear, 7x24, bias\n" in said


BRANCHES = """\
network Branches {
  input image: 3x8x8
  concat {
    left = conv(4, 1x1)
    right = conv(4, 1x1) -> relu
  }
  last = conv(2, 3x3)
}
"""


def branches() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {"p.weight": torch.rand(4, 3, 1, 1), "q.weight": torch.rand(4, 3, 1, 1), "r.weight": torch.rand(2, 8, 3, 3)} | {
        f"{name}.bias": torch.rand(size) for name, size in (("p", 4), ("q", 4), ("r", 2))
    }


def test_an_ambiguous_mapping():
    Path("branches.cnn").write_text(BRANCHES, encoding="utf-8")
    said = refusal(branches(), "branches.cnn")
    assert "the mapping is ambiguous: 2 modules have the shape and could have the place of left" in said
    assert "  other.pth  p: conv2d, 4x3x1x1, bias\n  other.pth  q: conv2d, 4x3x1x1, bias\n  Branches   left: conv" in said


@pytest.mark.parametrize("swapped", [False, True])
def test_a_golden_pair_decides(swapped):
    Path("branches.cnn").write_text(BRANCHES, encoding="utf-8")
    state = branches()
    torch.save(state, "other.pth")
    image = torch.rand(1, 3, 8, 8)
    left, right = (nn.functional.conv2d(image, state[f"{n}.weight"], state[f"{n}.bias"]) for n in ("qp" if swapped else "pq"))
    golden = nn.functional.conv2d(torch.cat([left, right.relu()], 1), state["r.weight"], state["r.bias"])
    torch.save(image, "image.pt")
    torch.save(golden, "golden.pt")
    result = adapt("other.pth", "branches.cnn", "--check", "image.pt,golden.pt")
    assert result.exit_code == swapped
    assert Path("out.safetensors").exists() is not swapped
    assert ("the golden output agrees with the spec's order" in result.output) is not swapped


def test_a_refusal_as_json():
    Path("branches.cnn").write_text(BRANCHES, encoding="utf-8")
    torch.save(branches(), "other.pth")
    result = adapt("other.pth", "branches.cnn", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["output"] is None
    assert found["layers"] == []
    assert found["refused"].pop("message").startswith("2 modules have the shape")
    assert found["refused"] == {"reason": "ambiguous", "source": "p", "layer": "left", "others": ["p", "q"]}


# ------------------------------------------------------------------------------------------------------------------- pure mapping


def chain(*names: str, shape: tuple[int, ...] = (4, 4)) -> list[Slot]:
    """Slots that read one another."""
    found: list[Slot] = []
    for name in names:
        after = frozenset({found[-1].part.name}) if found else frozenset()
        found.append(Slot(Part(name, (("weight", shape),)), "linear", after))
    return found


def test_a_chain_of_equal_layers_has_one_order():
    found = match({"z.weight": (4, 4), "a.weight": (4, 4), "m.weight": (4, 4)}, chain("one", "two", "three"))
    assert isinstance(found, Match)
    assert found.keys["one.weight"] == "z.weight"
    assert [row.source.name for row in found.rows] == ["z", "a", "m"]


def test_without_order_numbers_must_tell():
    targets = chain("one", "two", "three")
    found = match({f"fc{n}.weight": (4, 4) for n in (10, 2, 1)}, targets, ordered=False)
    assert isinstance(found, Match)
    assert [row.source.name for row in found.rows] == ["fc1", "fc2", "fc10"]
    refused = match({f"{name}.weight": (4, 4) for name in "abc"}, targets, ordered=False)
    assert isinstance(refused, Refusal)
    assert refused.reason == "ambiguous"
    assert refused.guess is not None


def test_lists_of_modules_fall_back_on_their_numbers():
    """All convolutions, then all normalisations: no order in which the layers could run."""
    targets: list[Slot] = []
    for k in range(3):
        for kind in ("conv", "norm"):
            after = frozenset({targets[-1].part.name}) if targets else frozenset()
            shape = (4, 4, 3, 3) if kind == "conv" else (4,)
            targets.append(Slot(Part(f"layer.{k}.{kind}", (("weight", shape), ("bias", (4,)))), kind, after))
    source: dict[str, tuple[int, ...]] = {}
    for kind, shape in (("convs", (4, 4, 3, 3)), ("norms", (4,))):
        for k in range(3):
            source |= {f"{kind}.{k}.weight": shape, f"{kind}.{k}.bias": (4,)}
    found = match(source, targets)
    assert isinstance(found, Match)
    assert [row.source.name for row in found.rows] == [f"{kind}s.{k}" for k in range(3) for kind in ("conv", "norm")]
    assert "the numbers in their names gave another" in found.notes[0]


def test_too_many_possibilities_end_soon():
    targets = [Slot(Part(f"branch{k}", (("weight", (4, 4)),)), "linear") for k in range(40)]
    found = match({f"{k}x.weight": (4, 4) for k in range(40)}, targets)
    assert isinstance(found, Refusal)
    assert found.reason == "ambiguous"


def test_parts_and_wrappers():
    keys = {"a.weight": (2, 3), "a.bias": (2,), "a.num_batches_tracked": (), "scale": (1,)}
    assert parts(keys) == [Part("a", (("weight", (2, 3)), ("bias", (2,)))), Part("", (("scale", (1,)),))]
    assert wrapper(["module.a", "module.b"]) == "module."
    assert wrapper(["module.a", "b"]) == ""
    assert wrapper([]) == ""


@pytest.mark.parametrize(("spec", "network"), [("resnet", "ResNet50"), ("googlenet", "GoogLeNet"), ("lenet", None), ("mobilenet", None)])
def test_each_tensor_of_a_bundled_network_has_its_slot(spec, network):
    checked = cnnc.load(spec, network=network).checked
    shapes = shapes_of(checked)
    found = slots(checked, shapes)
    assert sorted(s.part.name for s in found) == sorted(p.name for p in parts(shapes))
    seen: set[str] = set()
    for slot in found:
        assert slot.after <= seen
        seen.add(slot.part.name)


# ------------------------------------------------------------------------------------------------------------------------- classes


def test_other_classes_keep_the_trunk():
    other = ready(ResNet())
    torch.save(other.state_dict(), "other.pth")
    result = adapt("other.pth", "resnet.cnn", "--classes", "5")
    assert ["-", "fc", "linear", "5x64,", "bias", "fresh"] in [line.split() for line in result.stdout.splitlines()]
    assert "weights of 25 layers of V15, 1 of them fresh" in result.stdout
    written = load_file("out.safetensors")
    assert written["fc.weight"].shape == (5, 64)
    assert torch.equal(written["stem.conv1.weight"], other.state_dict()["conv1.weight"])
    assert results("resnet.cnn", torch.rand(1, 3, 32, 32), classes=5).shape == (1, 5)
    first = Path("out.safetensors").read_bytes()
    torch.manual_seed(99)
    assert adapt("other.pth", "resnet.cnn", "--classes", "5", "--force").exit_code == 0
    assert Path("out.safetensors").read_bytes() == first


def test_the_same_number_of_other_classes():
    other = ready(Vgg())
    torch.save(other.state_dict(), "other.pth")
    assert "1 of them fresh" in adapt("other.pth", "vgg.cnn", "--classes", "7").stdout
    written = load_file("out.safetensors")
    assert written["fc2.weight"].shape == (7, 24)
    assert not torch.equal(written["fc2.weight"], other.state_dict()["classifier.3.weight"])
    assert torch.equal(written["fc1.weight"], other.state_dict()["classifier.0.weight"])


def test_a_network_without_classes():
    Path("branches.cnn").write_text(BRANCHES, encoding="utf-8")
    torch.save(branches(), "other.pth")
    result = adapt("other.pth", "branches.cnn", "--classes", "5")
    assert result.exit_code == 2
    assert "Branches has no parameter `classes`" in result.stderr


# ----------------------------------------------------------------------------------------------------------------------- the check


def save(tensor: torch.Tensor, file: str) -> None:
    if file.endswith(".npy"):
        numpy.save(file, tensor.numpy())
    elif file.endswith(".safetensors"):
        save_file({"x": tensor}, file)
    else:
        torch.save(tensor, file)


@pytest.mark.parametrize("kind", ["pt", "npy", "safetensors"])
def test_the_check_passes_for_the_same_function(kind):
    other, image = ready(ResNet()), torch.rand(2, 3, 32, 32)
    torch.save(other.state_dict(), "other.pth")
    save(image, f"image.{kind}")
    save(other(image).detach(), f"golden.{kind}")
    result = adapt("other.pth", "resnet.cnn", "--check", f"image.{kind},golden.{kind}", "--classes", "5")
    assert result.exit_code == 0, result.output
    assert "check: the result and the golden output: the largest difference is" in result.stdout
    assert load_file("out.safetensors")["fc.weight"].shape == (5, 64)


def test_v1_and_v15_have_the_same_keys_and_are_two_functions():
    other, image = ready(ResNet(v1=True)), torch.rand(2, 3, 32, 32)
    torch.save(other.state_dict(), "other.pth")
    save(image, "image.pt")
    save(other(image).detach(), "golden.pt")
    assert adapt("other.pth", "resnet.cnn", "--network", "V15").exit_code == 0
    Path("out.safetensors").unlink()
    result = adapt("other.pth", "resnet.cnn", "--network", "V15", "--check", "image.pt,golden.pt")
    assert result.exit_code == 1
    assert "it is another function" in result.stderr
    assert not Path("out.safetensors").exists()
    found = json.loads(adapt("other.pth", "resnet.cnn", "--network", "V15", "--check", "image.pt,golden.pt", "--json").stdout)
    assert found["check"]["agrees"] is False
    assert found["check"]["difference"] > 1e-3
    assert adapt("other.pth", "resnet.cnn", "--network", "V1", "--check", "image.pt,golden.pt").exit_code == 0


def test_logits_and_a_single_image_will_do():
    other, image = ready(Vgg()), torch.rand(3, 16, 16)
    torch.save(other.state_dict(), "other.pth")
    save(image, "image.pt")
    save(other(image[None]).detach(), "golden.pt")
    assert "the scores before the softmax" in adapt("other.pth", "vgg.cnn", "--check", "image.pt,golden.pt").stdout
    save(other(image[None]).softmax(1).detach(), "golden.pt")
    assert "check: the result" in adapt("other.pth", "vgg.cnn", "--check", "image.pt,golden.pt", "--force").stdout


@pytest.mark.parametrize(
    ("image", "golden", "message"),
    [
        (torch.rand(1, 3, 9, 9), torch.rand(1, 7), "image.pt holds 1x3x9x9, but input image is 3x16x16"),
        (torch.rand(1, 3, 16, 16), torch.rand(1, 8), "golden.pt holds 1x8, but the network gives 1x7"),
        (torch.rand(1, 3, 16, 16), "no tensor", "golden.pt holds neither a tensor nor tensors"),
        ([torch.rand(1)] * 2, torch.rand(1, 7), "image.pt holds 2 tensors, but the network has 1 inputs (image)"),
    ],
)
def test_golden_files_that_do_not_fit(image, golden, message):
    torch.save(ready(Vgg()).state_dict(), "other.pth")
    torch.save(image, "image.pt")
    torch.save(golden, "golden.pt")
    result = adapt("other.pth", "vgg.cnn", "--check", "image.pt,golden.pt")
    assert result.exit_code == 1
    assert message in result.stderr


# --------------------------------------------------------------------------------------------------------------------------- files


class _Trap:
    def __reduce__(self):
        return (Path.touch, (Path("trapped"),))


def test_nothing_in_a_file_is_run():
    for name, write in (("new.pth", torch.save), ("old.pth", lambda value, file: Path(file).write_bytes(pickle.dumps(value)))):
        write({"a.weight": torch.rand(2), "b": _Trap()}, name)
        result = adapt(name, "vgg.cnn")
        assert result.exit_code == 1
        assert f"{name} holds more than tensors, and loading that could run code" in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert not Path("trapped").exists()


def test_a_whole_module_is_no_state_dict():
    torch.save(ready(Vgg()), "model.pth")
    result = adapt("model.pth", "vgg.cnn")
    assert result.exit_code == 1
    assert "save `model.state_dict()`" in result.stderr


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pth", b"hello", "a.pth is no file that torch.save wrote"),
        ("a.pth", b"", "a.pth is no file that torch.save wrote"),
        ("a.safetensors", b"hello", "a.safetensors is no safetensors file"),
    ],
)
def test_other_files(name, content, message):
    Path(name).write_bytes(content)
    result = adapt(name, "vgg.cnn")
    assert result.exit_code == 1
    assert message in result.stderr


@pytest.mark.parametrize("value", [[torch.rand(2)], {"epoch": 3}, {}, {"state_dict": {}}, {3: torch.rand(2)}])
def test_files_without_tensors_by_name(value):
    torch.save(value, "a.pt")
    result = adapt("a.pt", "vgg.cnn")
    assert result.exit_code == 1
    assert "a.pt holds no tensors by name" in result.stderr


def test_what_is_there_is_not_overwritten():
    torch.save(ready(Vgg()).state_dict(), "other.pth")
    Path("out.safetensors").write_text("mine")
    result = adapt("other.pth", "vgg.cnn")
    assert result.exit_code == 2
    assert "out.safetensors exists; --force overwrites it" in result.stderr
    assert Path("out.safetensors").read_text() == "mine"
    assert adapt("other.pth", "vgg.cnn", "--force").exit_code == 0
    assert load_file("out.safetensors")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.pth", "vgg.cnn"), "there is no file nowhere.pth"),
        (("vgg.cnn", "nowhere.cnn"), "there is no file nowhere.cnn"),
        (("vgg.cnn", "vgg.cnn", "--check", "one"), "'one' is not two files"),
        (("vgg.cnn", "vgg.cnn", "--check", "one,two"), "there is no file one"),
        (("vgg.cnn", "vgg.cnn", "--classes", "0"), "0 is not in the range"),
        (("vgg.cnn", "vgg.cnn", "-o", "no/out.safetensors"), "there is no folder no"),
        (("vgg.cnn", "vgg.cnn", "-o", "."), ". is a folder"),
    ],
)
def test_wrong_use(arguments, message):
    result = adapt(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_spec_with_errors():
    Path("other.pth").write_bytes(b"")
    Path("bad.cnn").write_text("network B {\n  input x: 3x4x4\n  conv(2, 9x9)\n}\n", encoding="utf-8")
    result = adapt("other.pth", "bad.cnn")
    assert result.exit_code == 1
    assert "error[E301]" in result.stderr


def test_loading_is_strict():
    net = cnnc.load("vgg.cnn")
    state = net.to_torch().state_dict()
    for change, message in (
        ({"fc2.bias": None}, "it has no fc2.bias"),
        ({"fc2.bias": None, "fc2.weight": None}, "it has no fc2.weight and 1 more"),
        ({"more": torch.rand(1)}, "it has more, which the network has not"),
        ({"fc2.bias": torch.rand(9)}, "it has fc2.bias as 9, which is 7 in the network"),
    ):
        save_file({k: v for k, v in (state | change).items() if v is not None}, "a.safetensors")
        with pytest.raises(WeightsError, match=message):
            net.to_torch(weights="a.safetensors")
    with pytest.raises(WeightsError, match="cannot be read: no such file"):
        net.to_torch(weights=Path("nowhere.safetensors"))
