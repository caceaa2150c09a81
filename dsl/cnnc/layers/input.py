"""Where values enter a network."""

from typing import Annotated

from pydantic import Field

from cnnc.layers.base import Count, Layer, Reach
from cnnc.layers.form import Form
from cnnc.shapes import Shape


class Input(Layer, keyword="input", role="input", channels_from=None):
    """An input of the network: one image (or signal, or volume) of shape ``dims``, channels first and without the batch."""

    dims: Annotated[tuple[Count, ...], Field(min_length=1)]

    def infer(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        return (Shape(self.dims),)

    def reach_into(self, inputs: tuple[Shape, ...]) -> tuple[Reach, ...]:
        return ()

    def form(self, inputs: tuple[Shape, ...]) -> Form:
        return Form()
