"""``cnnc new``."""

from __future__ import annotations

import re
from pathlib import Path

import click

from cnnc.cli.common import Unable, refuse

STARTER = """\
cnn 1

# {name}: say here what it is and where it comes from.

# A block is a piece of network with a name. `in` is what flows into it.
block Stage(width) {{
  conv(width, 3x3, pad=1, bias=false) -> batchnorm -> relu
  maxpool(2)
}}

# Each statement takes the flow and leaves its own result. Shapes are channels first and without the batch.
network {name}(classes = 10) {{
  input image: 3x32x32

  stem: 32x32x32 = conv(32, 3x3, pad=1) -> relu      # the shape before the = is optional, and always checked
  for i, width in [64, 128] {{
    stage[i] = Stage(width)
  }}
  features: 128 = global_avgpool -> flatten
  output scores: classes = linear(classes)

  expect params < 100K                               # a fact that must hold
}}
"""


@click.command()
@click.argument("name", metavar="NAME|FILE")
def command(name: str) -> None:
    """Write a small spec to start from.

    `cnnc new tiny` writes tiny.cnn in the current folder. A file that is there is never overwritten.
    """
    path = Path(name if name.endswith(".cnn") else f"{name}.cnn")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(STARTER.format(name=network_name(path.stem)))
    except FileExistsError:
        refuse(f"{path} exists.")
    except OSError as error:
        raise Unable(f"{path} cannot be written: {error.strerror or error}.") from None
    except ValueError:
        refuse(f"{name!r} is no file name.")
    click.echo(f"{path}: a network to start from; look at it with `cnnc shapes {path}`")


def network_name(stem: str) -> str:
    """A network's name from a file's: ``my-tiny_net`` gives ``MyTinyNet``."""
    words = [w[:1].upper() + w[1:] for w in re.split(r"[^A-Za-z0-9]+", stem) if w]
    name = "".join(words) or "Network"
    return f"Net{name}" if name[0].isdigit() else name
