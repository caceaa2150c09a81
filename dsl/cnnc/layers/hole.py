"""The place of a layer that could not be made."""

from cnnc.layers.base import Map


class Hole(Map):
    """Stands where a stage was refused, so that what follows has something to follow. Not part of the language."""


Hole.keyword = "?"
