"""The emitted PyTorch as text: golden files, the bundled networks, and what a spec must not be able to smuggle into it."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from cnnc.backends.torch import emit_torch
from cnnc.backends.torch.names import attribute, key_path
from cnnc.compiler import Checked, Options, analyse
from cnnc.diagnostics.model import CnncError
from cnnc.reading import find_spec, read_import
from cnnc.runtime.module import execute
from cnnc.source import Source
from conftest import CASES

TORCH = sorted((CASES / "torch").glob("*.cnn"))
BUNDLED = [
    ("alexnet", None, 80),
    ("vgg", "VGG16", 90),
    ("vgg", "VGG16BN", 90),
    ("lenet", "LeNet5", 140),
    ("googlenet", None, 130),
    ("resnet", "ResNet50", 150),
    ("resnet", "ResNet18", 150),
    ("resnet", "ResNet152", 150),
    ("unet", None, 110),
]


def check(source: Source, network: str | None = None) -> Checked:
    found = analyse(source, Options(network=network), read_import)
    assert isinstance(found, Checked) and not found.errors, found
    return found


def emitted(text: str) -> str:
    return emit_torch(check(Source("a.cnn", text)))


@pytest.mark.parametrize("case", TORCH, ids=lambda p: p.stem)
def test_golden(case, golden):
    checked = check(Source(case.name, case.read_text(encoding="utf-8")))
    code = emit_torch(checked)
    golden(case.with_suffix(".py"), code)
    names = execute(code)
    with torch.device("meta"):
        module = names[names["__all__"][0]]()
        made = module.eval()(*(torch.empty(2, *n.shapes[0]) for n in checked.graph.inputs))
    made = made if isinstance(made, tuple) else (made,)
    assert [tuple(t.shape[1:]) for t in made] == [tuple(checked.graph.shape(o.ref)) for o in checked.graph.outputs]


@pytest.mark.parametrize(("spec", "network", "most"), BUNDLED, ids=lambda v: str(v))
def test_bundled_networks_stay_short(spec, network, most):
    code = emit_torch(check(find_spec(spec), network))
    assert code.count("\n") <= most


def tool(*command: str, folder) -> str:
    if importlib.util.find_spec(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    found = subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False)
    return "" if found.returncode == 0 else found.stdout + found.stderr


def test_bundled_networks_and_cases_are_clean(tmp_path):
    for spec, network, _ in BUNDLED:
        (tmp_path / f"{spec}_{network}.py").write_text(emit_torch(check(find_spec(spec), network)), encoding="utf-8")
    for case in TORCH:
        code = emit_torch(check(Source(case.name, case.read_text(encoding="utf-8"))))
        (tmp_path / f"case_{case.stem}.py").write_text(code, encoding="utf-8")
    assert not tool("ruff", "format", "--isolated", "--check", "--diff", ".", folder=tmp_path)
    assert not tool("ruff", "check", "--isolated", ".", folder=tmp_path)
    assert not tool("mypy", "--strict", "--config-file", os.devnull, ".", folder=tmp_path)


NASTY = ['"""', "\\", '"', '\\"""', "\\N{BULLET}", "\\x00 \\u0041", "'''", "\u2028\u202e", "\x07", 'x"""\nimport os\n"""', "{0}", "# noqa"]


@pytest.mark.parametrize("words", NASTY, ids=range(len(NASTY)))
def test_comments_cannot_inject_code(words):
    comment = words.replace("\n", " ")
    text = f"cnn 1\n\n# {comment}\nblock B(w) {{ conv(w, 1) }}\n# {comment}\nnetwork N {{\n  input x: 2x4x4\n  B(2) -> B(4)\n}}\n"
    tree = ast.parse(emitted(text))
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.Import) and any(a.name == "os" for a in n.names)]
    assert {type(n) for n in tree.body} <= {ast.Expr, ast.ImportFrom, ast.Import, ast.Assign, ast.ClassDef, ast.FunctionDef}
    docs = [n for n in tree.body if isinstance(n, ast.Expr)]
    assert len(docs) == 1 and isinstance(docs[0].value, ast.Constant)


def test_attributes_of_modules_are_never_replaced():
    for made in (nn.Module(), nn.Sequential()):
        for name in dir(made):
            assert attribute(name) != name or name in ("append", "extend", "insert", "pop") or not hasattr(nn.Module(), attribute(name)), (
                name
            )


def test_different_paths_have_different_keys():
    paths = [
        "lambda",
        "lambda_",
        "lambda__",
        "forward",
        "forward_",
        "_modules",
        "_modules_",
        "x[0]",
        "x[1]",
        "x[-1]",
        "x[0][1]",
        "x.y",
        "x_y",
    ]
    assert len({key_path(p) for p in paths}) == len(paths)
    assert key_path("stage[2].bottleneck3.conv2@2") == "stage.2.bottleneck3.conv2"


def test_what_cannot_be_said_is_a_diagnostic():
    """Anything that the backend gives up on is an E702 with a place, never another exception."""
    text = "network N {\n  input x: 4x8x8\n  module f = conv(4, 3, pad=1)\n  s = { f -> relu; f }\n  t = { s -> f }\n}"
    try:
        emitted(text)
    except CnncError as problem:
        assert [d.code for d in problem.diagnostics] == ["E702"]
