"""Emitted networks against the same networks written by hand: equal weights must give equal numbers.

Each function here is a forward pass in plain `torch.nn.functional`, written from the paper (and from Keras's rules for `same`), never
from emitted code. It takes the weights from the module's `state_dict`, by the layers' paths. Implementations differ silently in their
padding, in ceil and floor, in what an average counts, in the normalisation over channels and in where a stride stands; here they cannot.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import cnnc
from cnnc.resources import specs_dir
from interpreter import randomise


class Weights:
    """The layers of a network by their paths, as functions."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = state
        self.used: set[str] = set()

    def get(self, path: str, name: str = "weight") -> Tensor:
        key = f"{path.replace('[', '.').replace(']', '')}.{name}"
        self.used.add(key)
        return self.state[key]

    def bias(self, path: str) -> Tensor | None:
        key = f"{path.replace('[', '.').replace(']', '')}.bias"
        self.used.add(key)
        return self.state.get(key)

    def conv(self, x: Tensor, path: str, stride: int = 1, pad: int | tuple[int, int] = 0, groups: int = 1) -> Tensor:
        return F.conv2d(x, self.get(path), self.bias(path), stride, pad, 1, groups)

    def depthwise(self, x: Tensor, path: str, stride: int = 1) -> Tensor:
        return self.conv(x, path, stride, 1, x.shape[1])

    def norm(self, x: Tensor, path: str, eps: float = 1e-5) -> Tensor:
        names = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (self.get(path, n).view(1, -1, 1, 1) for n in names)
        return (x - mean) / torch.sqrt(var + eps) * weight + bias

    def linear(self, x: Tensor, path: str) -> Tensor:
        return F.linear(x, self.get(path), self.bias(path))


Forward = Callable[[Weights, Tensor], Tensor]


def mean_of_map(x: Tensor) -> Tensor:
    return x.mean((2, 3))


# ------------------------------------------------------------------------------------------------------------------------ AlexNet


def lrn(x: Tensor) -> Tensor:
    """Section 3.3 with n = 5, k = 2, alpha = 1e-4, beta = 0.75: the sum runs over channels i - 2 to i + 2 where there are such."""
    channels = x.shape[1]
    sums = [(x[:, max(0, i - 2) : min(channels, i + 3)] ** 2).sum(1) for i in range(channels)]
    return x / (2 + 1e-4 * torch.stack(sums, 1)) ** 0.75


def alexnet(w: Weights, x: Tensor) -> Tensor:
    x = F.relu(w.conv(x, "conv1", 4))
    x = lrn(F.max_pool2d(x, 3, 2))
    x = F.relu(w.conv(x, "conv2", 1, 2))
    x = lrn(F.max_pool2d(x, 3, 2))
    for name in ("conv3", "conv4", "conv5"):
        x = F.relu(w.conv(x, name, 1, 1))
    x = F.max_pool2d(x, 3, 2).flatten(1)
    x = F.relu(w.linear(x, "fc6"))
    x = F.relu(w.linear(x, "fc7"))
    return w.linear(x, "fc8")


# ---------------------------------------------------------------------------------------------------------------------------- VGG


def vgg16(w: Weights, x: Tensor) -> Tensor:
    for stage, depth in enumerate((2, 2, 3, 3, 3)):
        for i in range(depth):
            x = F.relu(w.conv(x, f"stage[{stage}].conv{i + 1}", 1, 1))
        x = F.max_pool2d(x, 2, 2)
    x = F.relu(w.linear(x.flatten(1), "fc6"))
    x = F.relu(w.linear(x, "fc7"))
    return w.linear(x, "fc8")


# ---------------------------------------------------------------------------------------------------- GoogLeNet with Keras's padding


def same(x: Tensor, size: int, stride: int, fill: float) -> Tensor:
    """TensorFlow's rule: ceil(W / stride) windows, and the odd cell of the padding after the map."""
    sides = []
    for width in (x.shape[3], x.shape[2]):
        total = max((-(-width // stride) - 1) * stride + size - width, 0)
        sides += [total // 2, total - total // 2]
    return F.pad(x, sides, value=fill)


def googlenet_keras(w: Weights, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The scores and those of both heads, without dropout."""

    def conv(x: Tensor, path: str, size: int, stride: int = 1) -> Tensor:
        return F.relu(w.conv(same(x, size, stride, 0.0), path, stride))

    def pool(x: Tensor, stride: int) -> Tensor:
        return F.max_pool2d(same(x, 3, stride, float("-inf")), 3, stride)

    def inception(x: Tensor, path: str) -> Tensor:
        return torch.cat(
            [
                conv(x, f"{path}.conv1", 1),
                conv(conv(x, f"{path}.conv2", 1), f"{path}.conv3", 3),
                conv(conv(x, f"{path}.conv4", 1), f"{path}.conv5", 5),
                conv(pool(x, 1), f"{path}.conv6", 1),
            ],
            1,
        )

    def head(x: Tensor, path: str) -> Tensor:
        x = conv(F.avg_pool2d(x, 5, 3), f"{path}.auxiliary1.conv1", 1)
        x = F.relu(w.linear(x.flatten(1), f"{path}.auxiliary1.linear1"))
        return w.linear(x, f"{path}.auxiliary1.linear2").softmax(1)

    x = pool(conv(x, "conv1", 7, 2), 2)
    x = pool(conv(conv(x, "conv2a", 1), "conv2b", 3), 2)
    heads = []
    for name in ("3a", "3b", "pool", "4a", "head1", "4b", "4c", "4d", "head2", "4e", "pool", "5a", "5b"):
        if name == "pool":
            x = pool(x, 2)
        elif name.startswith("head"):
            heads.append(head(x, f"aux{name[4:]}"))
        else:
            x = inception(x, f"inception{name}")
    return w.linear(mean_of_map(x), "fc").softmax(1), heads[0], heads[1]


# ------------------------------------------------------------------------------------------------------------------------- ResNet


def resnet50(w: Weights, x: Tensor) -> Tensor:
    """Version 1.5: a bottleneck that halves the map does so in its 3x3 convolution."""
    x = F.relu(w.norm(w.conv(x, "stem.conv1", 2, 3), "stem.batchnorm1"))
    x = F.max_pool2d(x, 3, 2, 1)
    for stage, depth in enumerate((3, 4, 6, 3)):
        for i in range(depth):
            path = f"stage[{stage}].bottleneck{i + 1}"
            stride = 2 if stage and not i else 1
            y = F.relu(w.norm(w.conv(x, f"{path}.conv1"), f"{path}.batchnorm1"))
            y = F.relu(w.norm(w.conv(y, f"{path}.conv2", stride, 1), f"{path}.batchnorm2"))
            y = w.norm(w.conv(y, f"{path}.conv3"), f"{path}.batchnorm3")
            if not i:
                x = w.norm(w.conv(x, f"{path}.conv4", stride), f"{path}.batchnorm4")
            x = F.relu(x + y)
    return w.linear(mean_of_map(x), "fc")


# -------------------------------------------------------------------------------------------------------------------- Inception-v3


def inception_v3(w: Weights, x: Tensor) -> Tensor:
    """With the convolutions of the authors' code and padding counted in the average poolings."""

    def conv(x: Tensor, path: str, stride: int = 1, pad: int | tuple[int, int] = 0) -> Tensor:
        return F.relu(w.norm(w.conv(x, f"{path}.conv1", stride, pad), f"{path}.batchnorm1", eps=1e-3))

    def average(x: Tensor) -> Tensor:
        summed = F.pad(x, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1).sum((4, 5))
        return summed / 9

    def both(x: Tensor, path: str) -> list[Tensor]:
        return [conv(x, f"{path}.conv_bn1", 1, (0, 1)), conv(x, f"{path}.conv_bn2", 1, (1, 0))]

    x = conv(conv(x, "conv1a", 2), "conv2a")
    x = F.max_pool2d(conv(x, "conv2b", 1, 1), 3, 2)
    x = F.max_pool2d(conv(conv(x, "conv3b"), "conv4a"), 3, 2)
    for block in ("mixed5b", "mixed5c", "mixed5d"):
        c = f"{block}.conv_bn"
        five = conv(conv(x, c + "2"), c + "3", 1, 2)
        three = conv(conv(conv(x, c + "4"), c + "5", 1, 1), c + "6", 1, 1)
        x = torch.cat([conv(x, c + "1"), five, three, conv(average(x), c + "7")], 1)
    c = "mixed6a.conv_bn"
    three = conv(conv(conv(x, c + "2"), c + "3", 1, 1), c + "4", 2)
    x = torch.cat([conv(x, c + "1", 2), three, F.max_pool2d(x, 3, 2)], 1)
    row, column = (0, 3), (3, 0)
    for block in ("mixed6b", "mixed6c", "mixed6d", "mixed6e"):
        c = f"{block}.conv_bn"
        seven = conv(conv(conv(x, c + "2"), c + "3", 1, row), c + "4", 1, column)
        twice = conv(x, c + "5")
        for i, pad in enumerate((column, row, column, row)):
            twice = conv(twice, f"{c}{6 + i}", 1, pad)
        x = torch.cat([conv(x, c + "1"), seven, twice, conv(average(x), c + "10")], 1)
    c = "mixed7a.conv_bn"
    three = conv(conv(x, c + "1"), c + "2", 2)
    seven = conv(conv(conv(conv(x, c + "3"), c + "4", 1, row), c + "5", 1, column), c + "6", 2)
    x = torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)
    for block in ("mixed7b", "mixed7c"):
        c = f"{block}.conv_bn"
        parts = [conv(x, c + "1")]
        parts += both(conv(x, c + "2"), f"{block}.split3_1")
        parts += both(conv(conv(x, c + "3"), c + "4", 1, 1), f"{block}.split3_2")
        x = torch.cat([*parts, conv(average(x), c + "5")], 1)
    return w.linear(mean_of_map(x), "fc")


# -------------------------------------------------------------------------------------------------------------------- MobileNetV2


def mobilenet_v2(w: Weights, x: Tensor) -> Tensor:
    """Table 2; a shortcut where the stride is 1 and the widths agree."""

    def relu6(x: Tensor) -> Tensor:
        return x.clamp(0, 6)

    x = relu6(w.norm(w.conv(x, "conv1.conv1", 2, 1), "conv1.batchnorm1"))
    table = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for row, (t, c, n, s) in enumerate(table):
        for i in range(n):
            path = f"bottlenecks[{row}].inverted_residual{i + 1}"
            y = x if t == 1 else relu6(w.norm(w.conv(x, f"{path}.conv1"), f"{path}.batchnorm1"))
            y = relu6(w.norm(w.depthwise(y, f"{path}.depthwise1", 1 if i else s), f"{path}.batchnorm2"))
            y = w.norm(w.conv(y, f"{path}.conv2"), f"{path}.batchnorm3")
            assert y.shape[1] == c
            x = x + y if i else y
    x = relu6(w.norm(w.conv(x, "conv2.conv1"), "conv2.batchnorm1"))
    return w.linear(mean_of_map(x), "fc")


# ----------------------------------------------------------------------------------------------------------------------- DenseNet


def densenet121(w: Weights, x: Tensor) -> Tensor:
    """Every layer reads all maps before it, the oldest first."""
    x = F.relu(w.norm(w.conv(x, "stem.conv1", 2, 3), "stem.batchnorm1"))
    x = F.max_pool2d(x, 3, 2, 1)
    for block, depth in enumerate((6, 12, 24, 16)):
        made = [x]
        for i in range(depth):
            path = f"dense[{block}].dense_layer{i + 1}"
            y = torch.cat(made, 1)
            y = w.conv(F.relu(w.norm(y, f"{path}.batchnorm1")), f"{path}.conv1")
            made.append(w.conv(F.relu(w.norm(y, f"{path}.batchnorm2")), f"{path}.conv2", 1, 1))
        x = torch.cat(made, 1)
        if block < 3:
            x = w.conv(F.relu(w.norm(x, f"transition[{block}].batchnorm1")), f"transition[{block}].conv1")
            x = F.avg_pool2d(x, 2, 2)
    return w.linear(mean_of_map(F.relu(w.norm(x, "final"))), "fc")


# ------------------------------------------------------------------------------------------------------------------- ShuffleNet V2


def shufflenet_v2(w: Weights, x: Tensor) -> Tensor:
    """Figures 3c and 3d; the shuffle takes the channels of both halves in turns."""

    def branch(x: Tensor, path: str, stride: int) -> Tensor:
        x = F.relu(w.norm(w.conv(x, f"{path}.conv1"), f"{path}.batchnorm1"))
        x = w.norm(w.depthwise(x, f"{path}.depthwise1", stride), f"{path}.batchnorm2")
        return F.relu(w.norm(w.conv(x, f"{path}.conv2"), f"{path}.batchnorm3"))

    def in_turns(a: Tensor, b: Tensor) -> Tensor:
        return torch.stack([a, b], 2).flatten(1, 2)

    x = F.relu(w.norm(w.conv(x, "conv1.conv1", 2, 1), "conv1.batchnorm1"))
    x = F.max_pool2d(x, 3, 2, 1)
    for stage, depth in ((2, 4), (3, 8), (4, 4)):
        path = f"stage[{stage}].down_unit1"
        left = w.norm(w.depthwise(x, f"{path}.depthwise1", 2), f"{path}.batchnorm1")
        left = F.relu(w.norm(w.conv(left, f"{path}.conv1"), f"{path}.batchnorm2"))
        x = in_turns(left, branch(x, f"{path}.branch1", 2))
        for i in range(1, depth):
            half = x.shape[1] // 2
            x = in_turns(x[:, :half], branch(x[:, half:], f"stage[{stage}].unit{i}.branch1", 1))
    x = F.relu(w.norm(w.conv(x, "conv5.conv1"), "conv5.batchnorm1"))
    return w.linear(mean_of_map(x), "fc")


# -------------------------------------------------------------------------------------------------------------------------- U-Net


def unet(w: Weights, x: Tensor) -> Tensor:
    """Nothing is padded; what is copied over is cut to the size of what it joins, and stands before it."""

    def double(x: Tensor, path: str) -> Tensor:
        return F.relu(w.conv(F.relu(w.conv(x, f"{path}.conv1")), f"{path}.conv2"))

    skips = []
    for i in range(4):
        x = double(x, f"skip[{i}]")
        skips.append(x)
        x = F.max_pool2d(x, 2, 2)
    x = double(x, "bottom")
    for i in (3, 2, 1, 0):
        x = F.conv_transpose2d(x, w.get(f"up[{i}]"), w.bias(f"up[{i}]"), 2)
        cut = (skips[i].shape[2] - x.shape[2]) // 2
        x = double(torch.cat([skips[i][:, :, cut : cut + x.shape[2], cut : cut + x.shape[3]], x], 1), f"merge[{i}]")
    return w.conv(x, "mask")


# -------------------------------------------------------------------------------------------------------------------------- tests


def close(found: Tensor, expected: Tensor) -> None:
    """Equal to nine digits of the largest number."""
    assert found.shape == expected.shape
    worst = float((found - expected).abs().max() / expected.abs().max())
    assert expected.abs().max() > 0 and worst < 1e-9, f"{worst:.3g} apart"


def prepared(net: cnnc.api.Network) -> tuple[torch.nn.Module, Weights, Tensor]:
    """The emitted module in float64 with weights that tell its layers apart, and an input."""
    module = net.to_torch().double().eval()
    randomise(module, seed=3)
    (shape,) = net.inputs.values()
    batch = 1 if max(shape) > 200 else 2
    image = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return module, Weights(dict(module.state_dict())), image


def unused(w: Weights, but: str = " ") -> set[str]:
    """Weights that the hand-written pass did not read."""
    return {k for k in w.state if k not in w.used and not k.endswith("num_batches_tracked") and not k.startswith(but)}


CASES: list[tuple[str, str, Forward, tuple[int, ...] | None]] = [
    ("alexnet", "AlexNet", alexnet, None),
    ("vgg", "VGG16", vgg16, (3, 32, 32)),
    ("resnet", "ResNet50", resnet50, (3, 64, 96)),
    ("inception", "InceptionV3", inception_v3, None),
    ("mobilenet", "MobileNetV2", mobilenet_v2, (3, 96, 64)),
    ("densenet", "DenseNet121", densenet121, (3, 64, 96)),
    ("shufflenet", "ShuffleNetV2", shufflenet_v2, (3, 96, 64)),
]


@pytest.mark.parametrize(("spec", "network", "forward", "size"), CASES, ids=[c[1] for c in CASES])
def test_same_numbers(spec: str, network: str, forward: Forward, size: tuple[int, ...] | None) -> None:
    module, weights, image = prepared(cnnc.load(specs_dir() / f"{spec}.cnn", network=network, input=size))
    logits = getattr(module, "logits", module)
    with torch.no_grad():
        expected = forward(weights, image)
        close(logits(image), expected)
        if hasattr(module, "logits"):
            close(module(image), expected.softmax(1))
    assert not unused(weights, but="aux.")


def test_googlenet_with_keras_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both heads as well, which are there in training mode; dropout is made to keep everything."""
    module, weights, image = prepared(cnnc.load(specs_dir() / "googlenet_keras.cnn"))
    monkeypatch.setattr(F, "dropout", lambda x, *_, **__: x)
    with torch.no_grad():
        expected = googlenet_keras(weights, image)
        close(module(image), expected[0])
        for found, wanted in zip(module.train()(image), expected, strict=True):
            close(found, wanted)
    assert not unused(weights)


def test_unet_on_a_small_tile() -> None:
    """The published tile costs 150 billion multiplications; the smallest that goes through is 188 cells wide and leaves 4."""
    text = Path(specs_dir() / "unet.cnn").read_text(encoding="utf-8")
    text = text.replace("1024x28x28", "1024x4x4").replace("(classes)x388x388", "2x4x4")
    module, weights, image = prepared(cnnc.parse(text, network="UNet", input=(1, 188, 188)))
    with torch.no_grad():
        close(module(image), unet(weights, image))
    assert not unused(weights)


def test_a_stride_in_another_place_is_noticed() -> None:
    """ResNet v1 and v1.5 have the same weights with the same names; only numbers tell them apart."""
    module, weights, image = prepared(cnnc.load(specs_dir() / "resnet.cnn", network="ResNet50", input=(3, 64, 64)))
    original = weights.conv

    def moved(x: Tensor, path: str, stride: int = 1, pad: int | tuple[int, int] = 0, groups: int = 1) -> Tensor:
        if path == "stage[1].bottleneck1.conv1":
            stride = 2
        elif path == "stage[1].bottleneck1.conv2":
            stride = 1
        return original(x, path, stride, pad, groups)

    weights.conv = moved  # type: ignore[method-assign]
    with torch.no_grad(), pytest.raises(AssertionError, match="apart"):
        close(module(image), resnet50(weights, image))
