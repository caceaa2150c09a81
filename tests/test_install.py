"""Wheel, sdist and editable installs: each is made and used from a foreign folder, in an environment of its own, without a network.

Such an environment sees the dependencies of the one that runs the tests, but not its copy of cnnc.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Install:
    """An environment with cnnc, and a folder that has nothing to do with it."""

    kind: str
    env: Path
    cwd: Path
    #: where the package, and where the grammar and the specs must be found
    package: Path
    resources: Path

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return _run([self.env / "bin" / "python", *arguments], self.cwd)

    def cnnc(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return _run([self.env / "bin" / "cnnc", *arguments], self.cwd)

    def imported_by(self, *arguments: str) -> set[str]:
        """The modules that ``python -m cnnc`` with these arguments imports."""
        log = self.python("-X", "importtime", "-m", "cnnc", *arguments).stderr
        return {line.rpartition("|")[2].strip() for line in log.splitlines() if line.startswith("import time:")}


def _run(command: list[str | Path], cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done


def _build(what: str, out: Path) -> Path:
    _run([sys.executable, "-m", "build", "--no-isolation", f"--{what}", "--outdir", out, CHECKOUT], out.parent)
    (built,) = out.iterdir()
    return built


_WHAT: dict[str, Callable[[Path], list[str | Path]]] = {
    "wheel": lambda out: [_build("wheel", out)],
    "sdist": lambda out: [_build("sdist", out)],
    "editable": lambda out: ["--editable", CHECKOUT],
}


@pytest.fixture(scope="module", params=_WHAT)
def install(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Install]:
    kind: str = request.param
    folder = tmp_path_factory.mktemp(kind)
    env, out, cwd = folder / "env", folder / "out", folder / "elsewhere"
    out.mkdir()
    cwd.mkdir()
    venv.create(env, with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", "venv", vars={"base": str(env), "platbase": str(env)}))
    # Folders that a .pth names are searched, but their own .pth files, such as that of an editable cnnc, are not read.
    (site / "dependencies.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed"]
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", env / "bin" / "python"]
    _run([*pip, "install", *offline, *_WHAT[kind](out)], cwd)
    if kind == "editable":
        yield Install(kind, env, cwd, CHECKOUT / "dsl" / "cnnc", CHECKOUT)
    else:
        yield Install(kind, env, cwd, site / "cnnc", site / "cnnc")


def test_files_are_found_where_they_were_installed(install: Install) -> None:
    found = "cnnc.__file__, r.grammar_path(), r.specs_dir(), r.bundled_specs()['alexnet']"
    shown = install.python("-c", f"import cnnc, cnnc.resources as r; print({found}, sep='\\n')").stdout
    package, grammar, specs, alexnet = map(Path, shown.splitlines())
    assert package == install.package / "__init__.py"
    assert grammar == install.resources / "grammars" / "cnn.lark"
    assert specs == install.resources / "specs"
    assert alexnet == install.resources / "specs" / "alexnet.cnn"
    assert grammar.is_file()
    assert alexnet.is_file()


def test_every_bundled_file_is_there(install: Install) -> None:
    for name in ("grammars", "specs"):
        want = {p.relative_to(CHECKOUT) for p in (CHECKOUT / name).rglob("*") if p.is_file()}
        have = {p.relative_to(install.resources) for p in (install.resources / name).rglob("*") if p.is_file()}
        assert have == want


def test_command_line(install: Install) -> None:
    version = install.python("-m", "cnnc", "--version").stdout
    assert version == install.cnnc("--version").stdout
    assert "62,378,344" in install.cnnc("shapes", "alexnet").stdout
    install.cnnc("compile", "alexnet", "--target", "torch", "-o", "x.py")
    compile((install.cwd / "x.py").read_text(encoding="utf-8"), "x.py", "exec")
    assert [p.name for p in install.cwd.iterdir()] == ["x.py"]


@pytest.mark.parametrize("command", ["shapes alexnet", "check alexnet", "compile alexnet --target torch -o fresh.py"])
def test_torch_and_networkx_stay_unloaded(install: Install, command: str) -> None:
    if install.kind == "editable":
        pytest.skip("the same code as the wheel's")
    imported = install.imported_by(*command.split())
    assert "cnnc.compiler" in imported
    assert "torch" not in imported
    assert "networkx" not in imported


def test_torch_is_an_extra(install: Install) -> None:
    code = "import importlib.metadata as m; print(*m.requires('cnnc'), sep='\\n')"
    required = install.python("-c", code).stdout.splitlines()
    heavy = [line for line in required if line.startswith(("torch", "safetensors"))]
    assert len(heavy) == 2 and all("extra == 'torch'" in line for line in heavy)


def test_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with zipfile.ZipFile(_build("wheel", tmp_path / "out")) as wheel:
        names = wheel.namelist()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"cnnc"}
    assert "cnnc/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert not [name for name in names if "__pycache__" in name]
