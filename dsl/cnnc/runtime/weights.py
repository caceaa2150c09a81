"""Weights on the disk and in modules: reading, adapting, comparing with a golden output, writing. What maps what is in ``mapping``."""

from __future__ import annotations

import math
import os
import pickle
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnnc.check import Checked
from cnnc.runtime.mapping import COUNTER, Match, Refusal, match, slots, text, wrapper
from cnnc.runtime.module import build_module, forget

#: Under what name training scripts keep a state dict among other things.
_WRAPPED = ("state_dict", "model_state_dict", "model", "net", "weights")


class WeightsError(Exception):
    """A file of weights that cannot be read or does not fit; the message is for its owner."""


@dataclass(frozen=True)
class State:
    """The tensors of a file by key, wrappers' prefixes taken off; ``ordered`` unless the file format sorts them by name."""

    tensors: Mapping[str, Tensor]
    ordered: bool
    notes: tuple[str, ...] = ()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Key -> shape."""
        return {key: tuple(tensor.shape) for key, tensor in self.tensors.items()}


# ------------------------------------------------------------------------------------------------------------------------ reading


def read(path: Path) -> State:
    """The state dict of a file: safetensors, or what ``torch.save`` wrote. Nothing in the file is run. Raises WeightsError."""
    if path.suffix == ".safetensors":
        tensors = _read_safetensors(path)
        ordered = False
        notes: tuple[str, ...] = ()
    else:
        found, notes = _state_dict(_read_pickle(path), path)
        tensors = {key: value for key, value in found.items() if isinstance(value, Tensor)}
        others = [str(key) for key, value in found.items() if not isinstance(value, Tensor)]
        if others:
            notes += (f"left out what is no tensor: {', '.join(others[:4])}{', …' if len(others) > 4 else ''}",)
        # Saved again after sorting; in a module's own order a weight is before its bias.
        ordered = len(tensors) < 2 or list(tensors) != sorted(tensors)
    if not tensors:
        raise WeightsError(f"{path} holds no tensors by name: save `model.state_dict()`")
    prefix = wrapper(tensors)
    if prefix:
        notes += (f"took `{prefix}` off every key",)
    return State({key[len(prefix) :]: tensor.detach() for key, tensor in tensors.items()}, ordered, notes)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with path.open("rb"):
            return load_file(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except SafetensorError as error:
        raise WeightsError(f"{path} is no safetensors file: {error}") from None


def _read_pickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "WeightsUnpickler" in str(error) or "weights_only" in str(error):
            raise WeightsError(
                f"{path} holds more than tensors, and loading that could run code from the file; "
                "only tensors are read: save `model.state_dict()`, with torch.save or as safetensors"
            ) from None
        raise WeightsError(f"{path} is no file that torch.save wrote") from None
    except Exception:  # what is not written by torch.save can raise anything
        raise WeightsError(f"{path} is no file that torch.save wrote, or it is damaged") from None


def _state_dict(value: Any, path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The state dict in what was loaded, which may keep it under a name of its own."""
    notes: tuple[str, ...] = ()
    while isinstance(value, Mapping) and not any(isinstance(v, Tensor) for v in value.values()):
        name = next((n for n in _WRAPPED if isinstance(value.get(n), Mapping)), None)
        if name is None:
            break
        value = value[name]
        notes += (f"took the state dict under `{name}`",)
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise WeightsError(f"{path} holds no tensors by name: save `model.state_dict()`")
    return dict(value), notes


def read_tensors(path: Path) -> list[Tensor] | dict[str, Tensor]:
    """One or several tensors of a ``.npy``, ``.safetensors`` or ``torch.save`` file; a dict where they have names."""
    if path.suffix == ".npy":
        return [_read_npy(path)]
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    value = _read_pickle(path)
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping) and value and all(isinstance(v, Tensor) for v in value.values()):
        return {str(key): tensor for key, tensor in value.items()}
    if isinstance(value, list | tuple) and value and all(isinstance(v, Tensor) for v in value):
        return list(value)
    raise WeightsError(f"{path} holds neither a tensor nor tensors")


def _read_npy(path: Path) -> Tensor:
    try:
        import numpy
    except ImportError:
        raise WeightsError(f"{path} needs NumPy, which is not installed; torch.save and safetensors files do not") from None
    try:
        return torch.from_numpy(numpy.load(path, allow_pickle=False))
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except (ValueError, EOFError, TypeError):
        raise WeightsError(f"{path} is no .npy file of numbers") from None


# ----------------------------------------------------------------------------------------------------------------------- adapting


def shapes_of(checked: Checked) -> dict[str, tuple[int, ...]]:
    """The keys of the emitted module with their shapes; no memory is taken for them."""
    with torch.device("meta"):
        module = build_module(checked)
    forget(module)
    return {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}


def adapt(checked: Checked, state: State) -> Match | Refusal:
    """Which tensors of a file are which layer's."""
    return match(state.shapes, slots(checked, shapes_of(checked)), ordered=state.ordered)


def renewed(found: Match, checked: Checked, other: Checked) -> Match:
    """The mapping onto a variant of its network; what has other shapes in yet another variant (or in this one's) starts anew."""
    mine, theirs = shapes_of(checked), shapes_of(other)
    return found.renewed(frozenset(key for key, shape in mine.items() if theirs.get(key) != shape), mine)


def module_with(checked: Checked, state: State, found: Match) -> nn.Module:
    """The emitted module with a file's weights. A layer without a source is as the module starts it, the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = build_module(checked)
    keys = found.keys
    with torch.no_grad():
        for key, own in module.state_dict().items():
            given = state.tensors.get(keys.get(key, ""))
            if given is not None:
                own.copy_(given)
            else:
                assert key not in keys or key.endswith(COUNTER), key
    return module


def load(module: nn.Module, path: Path) -> None:
    """Load a file whose keys are the module's own; raises WeightsError where one is missing, left over or of another shape."""
    state = read(path)
    mine = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    theirs = state.shapes
    lacking = [key for key in mine if key not in theirs]
    more = [key for key in theirs if key not in mine]
    wrong = [key for key in mine if key in theirs and mine[key] != theirs[key]]
    problems = [_some(lacking, "has no {}"), _some(more, "has {}, which the network has not")]
    problems += [f"has {key} as {text(theirs[key])}, which is {text(mine[key])} in the network" for key in wrong[:1]]
    said = "; ".join(p for p in problems if p)
    if said:
        raise WeightsError(f"{path} does not fit: it {said}. `cnnc weights adapt` maps the files of other implementations")
    module.load_state_dict(dict(state.tensors))


def _some(keys: Sequence[str], sentence: str) -> str:
    if not keys:
        return ""
    return sentence.format(f"{keys[0]}" + (f" and {len(keys) - 1} more" if len(keys) > 1 else ""))


# ----------------------------------------------------------------------------------------------------------------------- the check


@dataclass(frozen=True, slots=True)
class Compared:
    """How far a module's result is from the golden one: the largest difference over the largest golden number.

    ``logits`` says that the module's scores before its final softmax were compared, since they are what the golden output is.
    """

    difference: float
    logits: bool = False


def compare(module: nn.Module, inputs: Path, golden: Path, checked: Checked) -> Compared:
    """Run a module in evaluation mode on a golden input and compare its result with the golden output. Raises WeightsError."""
    given = _given(read_tensors(inputs), checked, inputs)
    found = read_tensors(golden)
    wanted = list(found.values()) if isinstance(found, dict) else found
    was = module.training
    module.eval()
    try:
        with torch.no_grad():
            best = Compared(_difference(_flat(module(*given)), wanted, golden))
            logits = getattr(module, "logits", None)
            if callable(logits):
                other = Compared(_difference(_flat(logits(*given)), wanted, golden), True)
                best = min(best, other, key=lambda c: c.difference)
    finally:
        module.train(was)
    return best


def _given(found: list[Tensor] | dict[str, Tensor], checked: Checked, path: Path) -> list[Tensor]:
    """The inputs in the network's order, with a batch axis."""
    wanted = {n.name or n.path: tuple(n.shapes[0]) for n in checked.graph.inputs if n.shapes is not None}
    if isinstance(found, dict) and set(found) == set(wanted):
        found = [found[name] for name in wanted]
    tensors = list(found.values()) if isinstance(found, dict) else found
    if len(tensors) != len(wanted):
        raise WeightsError(f"{path} holds {len(tensors)} tensors, but the network has {len(wanted)} inputs ({', '.join(wanted)})")
    given = []
    for tensor, (name, shape) in zip(tensors, wanted.items(), strict=True):
        batch = tensor.unsqueeze(0) if tuple(tensor.shape) == shape else tensor
        if tuple(batch.shape[1:]) != shape:
            raise WeightsError(f"{path} holds {text(tuple(tensor.shape))}, but input {name} is {text(shape)} (with a batch before it)")
        given.append(batch.float())
    return given


def _flat(value: Any) -> Iterator[Tensor]:
    """The tensors of whatever a module returns, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _flat(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _flat(inner)


def _difference(returned: Iterator[Tensor], golden: Sequence[Tensor], path: Path) -> float:
    results = list(returned)
    if len(results) != len(golden):
        raise WeightsError(f"{path} holds {len(golden)} tensors, but the network gives {len(results)}")
    worst = 0.0
    for result, wanted in zip(results, golden, strict=True):
        if result.squeeze().shape != wanted.squeeze().shape:
            raise WeightsError(f"{path} holds {text(tuple(wanted.shape))}, but the network gives {text(tuple(result.shape))}")
        reference = wanted.double().reshape(result.shape)
        off = (result.double() - reference).abs().max().item()
        size = reference.abs().max().item()
        relative = off / size if size else off
        worst = max(worst, relative if math.isfinite(relative) else math.inf)
    return worst


# ------------------------------------------------------------------------------------------------------------------------ writing


def write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, whole or not at all. Raises OSError."""
    from safetensors.torch import save_file

    path = path.resolve()
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, name, metadata={"format": "pt"})
        with Path(name).open("rb+") as file:
            os.fsync(file.fileno())
        mask = os.umask(0o077)
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
