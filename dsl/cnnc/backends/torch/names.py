"""Names of the language as names of Python and of ``state_dict``."""

from __future__ import annotations

import keyword
import re

#: Attributes of ``nn.Module`` and of its base, which a layer's attribute must not replace (torch is not imported to ask it).
MODULE_ATTRIBUTES = frozenset(
    """
    T_destination add_module append apply bfloat16 bias buffers call_super_init children compile cpu cuda double dump_patches eval
    extend extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half insert ipu items keys load_state_dict
    logits modules mtia named_buffers named_children named_modules named_parameters parameters pop register_backward_hook
    register_buffer register_forward_hook register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook
    register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module register_parameter
    register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ self set_extra_state set_submodule share_memory
    state_dict to to_empty train training type values xpu zero_grad
    """.split()
) - {"bias"}

_STEMS = frozenset(name.rstrip("_") for name in MODULE_ATTRIBUTES)

#: Names with a meaning at the top of an emitted file.
GLOBALS = frozenset(
    """
    Callable F OrderedDict Sequence Tensor abs annotations bool enumerate float int len list math max min nn partial range round str sum
    super torch tuple
    """.split()
)


def attribute(name: str) -> str:
    """A layer's name as an attribute: itself, unless Python or ``nn.Module`` has it; then with a ``_`` behind.

    Different names give different attributes, and what begins with ``_`` is PyTorch's own.
    """
    stem = name.rstrip("_")
    taken = keyword.iskeyword(stem) or keyword.issoftkeyword(stem) or stem in _STEMS or name.startswith("_")
    return name + "_" if taken else name


def variable(name: str) -> str:
    """A name as a local variable or an argument."""
    cleaned = re.sub(r"\W+", "_", name).strip("_") or "value"
    if cleaned[0].isdigit():
        cleaned = "v" + cleaned
    taken = keyword.iskeyword(cleaned) or keyword.issoftkeyword(cleaned) or cleaned in GLOBALS or cleaned == "self"
    return cleaned + "_" if taken else cleaned


def argument(name: str) -> str:
    """A parameter of the spec as a constructor argument; ``classes`` is PyTorch's ``num_classes``."""
    return "num_classes" if name == "classes" else variable(name)


def class_name(name: str) -> str:
    """A network's, block's or body's name as a class: ``stage`` gives ``Stage``."""
    cleaned = re.sub(r"[^A-Za-z0-9]+", " ", name).split()
    joined = "".join(w[:1].upper() + w[1:] for w in cleaned) or "Net"
    if joined[0].isdigit():
        joined = "Net" + joined
    return joined + "_" if joined in GLOBALS or keyword.iskeyword(joined) else joined


def split_path(path: str) -> list[str]:
    """A layer path as module names, from the outside in: ``stage[2].bottleneck3`` gives ``stage``, ``2``, ``bottleneck3``."""
    parts: list[str] = []
    for piece in path.split("."):
        name, *indices = re.split(r"\[|\]\[|\]", piece)
        parts.append(attribute(name.partition("@")[0]))
        parts += [i for i in indices if i]
    return parts


def key_path(path: str) -> str:
    """The prefix of a layer's keys in ``state_dict``: ``stage[2].bottleneck3.conv2`` is ``stage.2.bottleneck3.conv2``."""
    return ".".join(split_path(path))
