"""What every layer kind is: its fields are the language's signature, its methods the rules.

A kind lives in one class in one file of this folder; defining the class registers it. The fields, in their order, are the arguments
that a spec may write (by position or by name). The methods take shapes (channels first, no batch) and return facts. A kind knows
nothing of places or of the graph: it blames a field by raising :class:`~cnnc.shapes.ShapeError`.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from cnnc.layers.form import Form
from cnnc.shapes import Axis, Shape, ShapeError

Role = Literal["convolution", "dense", "pooling", "normalisation", "activation", "regularisation", "shape", "merge", "input"]

#: keyword of the language -> class. Filled by defining classes.
KINDS: "dict[str, type[Layer]]" = {}

# ---------------------------------------------------------------------------------------------------------------- field types


#: The largest size, stride or padding: enough for any signal, and small enough that checking stays quick.
LARGEST = 1_000_000


def _whole(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"a whole number is needed, not {describe(value)}")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"a number is needed, not {describe(value)}")
    if not abs(value) <= 1e30:
        raise ValueError(f"a finite number of ordinary size is needed, not {describe(value)}")
    return value


def _size(value: Any) -> Any:
    if isinstance(value, tuple):
        if not value or any(isinstance(v, bool) or not isinstance(v, int) for v in value):
            raise ValueError(f"a size is a whole number or a literal such as 1x7, not {describe(value)}")
        low = min(value)
    else:
        low = _whole(value)
    if low < 1:
        raise ValueError(f"must be at least 1, but is {describe(value)}")
    _check_large(max(value) if isinstance(value, tuple) else value)
    return value if isinstance(value, int) else tuple(value)


def _check_large(value: int) -> None:
    if value > LARGEST:
        raise ValueError(f"must be at most {LARGEST:_}, but is {describe(value)}")


def _pad(value: Any) -> Any:
    if value in ("same", "valid"):
        return value
    if isinstance(value, str):
        raise ValueError(f"a padding is a size, `same`, `valid` or a list of (before, after) pairs, not {describe(value)}")
    if isinstance(value, list) or (isinstance(value, tuple) and any(isinstance(v, list | tuple) for v in value)):
        pairs = []
        for item in value:
            if isinstance(item, int) and not isinstance(item, bool):
                item = (item, item)
            if not isinstance(item, list | tuple) or len(item) != 2 or any(isinstance(v, bool) or not isinstance(v, int) for v in item):
                raise ValueError(f"each entry of a padding list is a (before, after) pair of whole numbers, not {describe(item)}")
            pairs.append((item[0], item[1]))
        if any(v < 0 for pair in pairs for v in pair):
            raise ValueError("a padding cannot be negative: use `crop` to cut")
        _check_large(max((v for pair in pairs for v in pair), default=0))
        return tuple(pairs)
    numbers = value if isinstance(value, tuple) else (value,)
    if not numbers or any(isinstance(v, bool) or not isinstance(v, int) for v in numbers):
        raise ValueError(f"a padding is a size, `same`, `valid` or a list of (before, after) pairs, not {describe(value)}")
    if min(numbers) < 0:
        raise ValueError("a padding cannot be negative: use `crop` to cut")
    _check_large(max(numbers))
    return tuple(value) if isinstance(value, tuple) else value


def _flag(value: Any) -> Any:
    if not isinstance(value, bool):
        raise ValueError(f"true or false is needed, not {describe(value)}")
    return value


def describe(value: Any) -> str:
    """A value of the language as its author would write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 40 else f'"{value[:37]}…"'
    if isinstance(value, Shape) or (isinstance(value, tuple) and value and all(isinstance(v, int) for v in value)):
        return "x".join(map(str, value))
    if isinstance(value, list | tuple):
        shown = ", ".join(describe(v) for v in value[:8])
        return f"[{shown}{', …' if len(value) > 8 else ''}]"
    if isinstance(value, int | float):
        return str(value) if abs(value) < 1e30 or isinstance(value, float) else "a very large number"
    return str(value)


#: A whole number, no bound.
Int = Annotated[int, BeforeValidator(_whole)]
#: A whole number of at least one: channels, groups, factors.
Count = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=2**31 - 1)]
#: A real number.
Real = Annotated[float, BeforeValidator(_number)]
#: A real number between 0 and 1, 1 excluded: what a dropout drops.
Probability = Annotated[float, BeforeValidator(_number), Field(ge=0, lt=1)]
#: true or false.
Flag = Annotated[bool, BeforeValidator(_flag)]
#: An int for all axes, or one for each: a kernel, a stride.
Size = Annotated[int | tuple[int, ...], BeforeValidator(_size)]
#: A size, ``same``, ``valid``, or (before, after) pairs.
Pad = Annotated[int | tuple[int, ...] | tuple[tuple[int, int], ...] | Literal["same", "valid"], BeforeValidator(_pad)]
#: How a window that does not tile is meant; None: rounded down, with a warning when input is lost.
Round = Literal["floor", "ceil", "exact"] | None


# ------------------------------------------------------------------------------------------------------------------ receptive field


@dataclass(frozen=True, slots=True)
class Reach:
    """What one output cell reads of one spatial axis of the input.

    Output cell ``i`` reads the input cells from ``i * step + first`` to ``i * step + last``. ``step`` is a fraction for layers that
    enlarge the map. A pointwise layer is ``Reach(1, 0, 0)``.
    """

    step: Fraction | int = 1
    first: Fraction | int = 0
    last: Fraction | int = 0


#: Every output cell reads the whole input (dense layers, global pooling).
EVERYTHING: Literal["everything"] = "everything"


def reach_of(axes: tuple[Axis, ...]) -> tuple[Reach, ...]:
    """The reach of a plain window."""
    return tuple(Reach(a.stride, -a.before, a.extent - 1 - a.before) for a in axes)


# ----------------------------------------------------------------------------------------------------------------------- layers


_SHAPE: Role = "shape"


class Kind:
    """The facts of a layer kind as a whole.

    A class gives them as keywords: ``class Flatten(Map, keyword="flatten", role="shape", channels_from=None)``. They stand outside of
    the model and without annotations, which pydantic would evaluate again for each of its subclasses.
    """

    #: the op's name in the language
    keyword = ""
    #: the family: what tables group by and diagrams colour by
    role = _SHAPE
    #: names of values that the op takes beside the flow, before its fields: ``crop_like(name)``
    references = cast("tuple[str, ...]", ())
    #: where the output's channels come from, for the backend's symbolic arguments: a field's name, "in" (unchanged), "sum" (of a
    #: merge's inputs) or None (worked out, with no name)
    channels_from = cast("str | None", "in")
    #: whether the output is the input seen differently, without memory of its own
    view = False


class Layer(Kind, BaseModel):
    """A layer kind. Subclass :class:`Map`, :class:`Merge` or :class:`Split`, not this."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, populate_by_name=True)

    def __init_subclass__(
        cls,
        keyword: str = "",
        role: Role | None = None,
        references: tuple[str, ...] = (),
        channels_from: str | None = "inherited",
        view: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(**kwargs)
        if keyword:
            cls.keyword = keyword
            KINDS[keyword] = cls
        if role is not None:
            cls.role = role
        if references:
            cls.references = references
        if channels_from != "inherited":
            cls.channels_from = channels_from
        if view:
            cls.view = view

    # The graph speaks to a layer of any arity through these; Map, Merge and Split turn them into friendlier ones.

    def infer(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        """Output shapes. Raises ShapeError."""
        raise NotImplementedError

    def count_params(self, inputs: tuple[Shape, ...]) -> int:
        """Numbers that an optimiser updates."""
        return 0

    def count_buffers(self, inputs: tuple[Shape, ...]) -> int:
        """Numbers that are kept but not trained (running statistics, fixed codes; the batch counter is not counted)."""
        return 0

    def count_macs(self, inputs: tuple[Shape, ...]) -> int:
        """Multiply-accumulates of convolutions and dense layers for one image, bias not counted."""
        return 0

    def count_ops(self, inputs: tuple[Shape, ...]) -> int:
        """Other arithmetic for one image: one for each addition, multiplication, comparison or function value, bias included."""
        return 0

    def reach_into(self, inputs: tuple[Shape, ...]) -> tuple[Reach, ...] | Literal["everything"]:
        """What one output cell reads, an entry for each spatial axis."""
        return tuple(Reach() for _ in inputs[0].spatial)

    def axes_of(self, inputs: tuple[Shape, ...]) -> tuple[Axis, ...]:
        """The window arithmetic of each axis, for formulas and for the cells that are never read; empty without a window."""
        return ()

    def form(self, inputs: tuple[Shape, ...]) -> Form:
        """The layer in PyTorch."""
        raise NotImplementedError

    @classmethod
    def has_params(cls) -> bool:
        """Whether layers of this kind can own parameters."""
        return cls.count_params is not Layer.count_params and getattr(cls, "params", None) is not Map.params


class Map(Layer):
    """A layer with one input and one output."""

    def shape(self, x: Shape) -> Shape:
        """Output shape. Raises ShapeError."""
        return x

    def params(self, x: Shape) -> int:
        """See :meth:`Layer.count_params`."""
        return 0

    def buffers(self, x: Shape) -> int:
        """See :meth:`Layer.count_buffers`."""
        return 0

    def macs(self, x: Shape) -> int:
        """See :meth:`Layer.count_macs`."""
        return 0

    def ops(self, x: Shape) -> int:
        """See :meth:`Layer.count_ops`."""
        return 0

    def reach(self, x: Shape) -> tuple[Reach, ...] | Literal["everything"]:
        """See :meth:`Layer.reach_into`."""
        axes = self.axes(x)
        return reach_of(axes) if axes else tuple(Reach() for _ in x.spatial)

    def axes(self, x: Shape) -> tuple[Axis, ...]:
        """See :meth:`Layer.axes_of`."""
        return ()

    def torch(self, x: Shape) -> Form:
        """See :meth:`Layer.form`."""
        raise NotImplementedError

    def infer(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        return (self.shape(inputs[0]),)

    def count_params(self, inputs: tuple[Shape, ...]) -> int:
        return self.params(inputs[0])

    def count_buffers(self, inputs: tuple[Shape, ...]) -> int:
        return self.buffers(inputs[0])

    def count_macs(self, inputs: tuple[Shape, ...]) -> int:
        return self.macs(inputs[0])

    def count_ops(self, inputs: tuple[Shape, ...]) -> int:
        return self.ops(inputs[0])

    def reach_into(self, inputs: tuple[Shape, ...]) -> tuple[Reach, ...] | Literal["everything"]:
        return self.reach(inputs[0])

    def axes_of(self, inputs: tuple[Shape, ...]) -> tuple[Axis, ...]:
        return self.axes(inputs[0])

    def form(self, inputs: tuple[Shape, ...]) -> Form:
        return self.torch(inputs[0])


class Merge(Layer):
    """A layer that joins several values into one: ``concat { … }``. Its inputs are the branches, in source order."""

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """Output shape. Raises ShapeError."""
        raise NotImplementedError

    def infer(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        return (self.shape(inputs),)


class Split(Layer):
    """A layer with one input and several outputs: ``a, b = split([64, 64])``."""

    def shapes(self, x: Shape) -> tuple[Shape, ...]:
        """Output shapes, in order. Raises ShapeError."""
        raise NotImplementedError

    def infer(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        return self.shapes(inputs[0])


def needs_map(x: Shape, keyword: str, most: int = 3) -> int:
    """The number of spatial dimensions of a map with 1 to ``most`` of them; ShapeError for a vector or a map of more."""
    if x.rank < 1:
        raise ShapeError(
            f"`{keyword}` needs a map, but a vector of {x} arrives",
            code="E304",
            label=f"{x} has no height and width",
            help="put it before `flatten`, or use `reshape` to make a map again",
        )
    if x.rank > most:
        raise ShapeError(f"`{keyword}` works on maps of up to {most} spatial dimensions, but {x} has {x.rank}", code="E304")
    return x.rank


def needs_vector(x: Shape, keyword: str) -> int:
    """The features of a vector; ShapeError (fix: ``flatten ->``) for a map."""
    if x.rank != 0:
        raise ShapeError(
            f"`{keyword}` takes a vector, but a map of {x} arrives",
            code="E305",
            label=f"{x} is a map of {x.numel} numbers",
            notes=(f"{' * '.join(map(str, x))} = {x.numel}",),
            help=f"write `flatten -> {keyword}(…)`: it then reads {x.numel} features",
        )
    return x.channels


__all__ = [
    "EVERYTHING",
    "KINDS",
    "AfterValidator",
    "Count",
    "Flag",
    "Int",
    "Layer",
    "Map",
    "Merge",
    "Pad",
    "Probability",
    "Reach",
    "Real",
    "Role",
    "Round",
    "Size",
    "Split",
    "describe",
    "needs_map",
    "needs_vector",
    "reach_of",
]
