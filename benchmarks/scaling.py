"""Layers per second against the number of layers: is the cost linear, and is it small?

Three families of networks are made, from 1e2 to 1e5 layers: a chain that `repeat` writes, the same chain written out (so that the
parser has as much to do as the elaborator), and a ResNet of blocks. Parsing is timed apart from elaborating and checking.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from cnnc.compiler import Built, check, elaborate, parse
from cnnc.source import Source

LAYERS_PER_SECOND = 20_000


def repeated_chain(layers: int) -> str:
    """Convolutions and ReLUs from one `repeat`."""
    return f"""cnn 1
network Chain {{
  input x: 8x16x16
  repeat {layers // 2} {{ conv(8, 3x3, pad=1) -> relu }}
}}
"""


def written_chain(layers: int) -> str:
    """The same, a line for each pair."""
    lines = "  conv(8, 3x3, pad=1) -> relu\n" * (layers // 2)
    return f"cnn 1\nnetwork Chain {{\n  input x: 8x16x16\n{lines}}}\n"


def resnet(layers: int) -> str:
    """Basic blocks in four stages: 7 layers a block, and a projection where a stage begins."""
    blocks = max(1, layers // 28)
    return f"""cnn 1
block Basic(width, stride=1) {{
  default conv(bias=false)
  add {{
    {{ conv(width, 3x3, stride=stride, pad=1) -> batchnorm -> relu
      conv(width, 3x3, pad=1) -> batchnorm }}
    if stride != 1 or in.channels != width {{ conv(width, 1x1, stride=stride) -> batchnorm }} else {{ identity }}
  }}
  relu
}}
network ResNet(classes = 1000) {{
  input image: 3x224x224
  conv(64, 7x7, stride=2, pad=3, bias=false) -> batchnorm -> relu -> maxpool(3x3, stride=2, pad=1)
  for i in 0..4 {{
    stage[i] = {{
      Basic(64 * 2**i, stride = 1 if i == 0 else 2)
      repeat {blocks - 1} {{ Basic(64 * 2**i) }}
    }}
  }}
  global_avgpool -> flatten -> linear(classes)
}}
"""


FAMILIES: dict[str, Callable[[int], str]] = {"repeat": repeated_chain, "written out": written_chain, "resnet": resnet}


def measure(text: str) -> tuple[int, float, float]:
    """Layers, seconds to parse, seconds to elaborate and check."""
    source = Source("benchmark.cnn", text)
    gc.collect()
    start = time.perf_counter()
    parsed = parse(source)
    middle = time.perf_counter()
    built = elaborate(parsed)
    assert isinstance(built, Built), built
    checked = check(built)
    end = time.perf_counter()
    assert not checked.errors, checked.errors[0]
    return len(checked.graph.layers), middle - start, end - middle


def main() -> None:
    """Measures every family at every size and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=lambda s: [int(float(n)) for n in s.split(",")], default=[100, 1_000, 10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=3, help="how often each is measured; the median counts (default: 3)")
    given = parser.parse_args()

    measure(resnet(100))  # imports, the grammar's tables and pydantic's validators are start-up, not cost for each layer
    table = Table("network", "layers", "parse s", "check s", "parse layers/s", "check layers/s")
    for column in table.columns[1:]:
        column.justify = "right"
    slowest = float("inf")
    for name, write in FAMILIES.items():
        for size in given.sizes:
            measured = [measure(write(size)) for _ in range(given.repeats)]
            layers = measured[0][0]
            parsing, checking = (statistics.median(m[i] for m in measured) for i in (1, 2))
            slowest = min(slowest, layers / checking)
            rates = (f"{layers / parsing:,.0f}", f"{layers / checking:,.0f}")
            table.add_row(name, f"{layers:,}", f"{parsing:.4f}", f"{checking:.4f}", *rates)
        table.add_section()
    console = Console()
    console.print(table)
    console.print("check: elaborate and check, after parsing")
    console.print(f"slowest: {slowest:,.0f} layers per second (target: at least {LAYERS_PER_SECOND:,}, at every size)")


if __name__ == "__main__":
    main()
