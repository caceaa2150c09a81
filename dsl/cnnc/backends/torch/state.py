"""What the writer of a class knows, and the names that it gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cnnc.backends.torch.names import argument, split_path, variable
from cnnc.backends.torch.values import Context, Family, Line, Occurrence, Parameter, Unsupported, Value, equal
from cnnc.graph import Node, Ref, Scope
from cnnc.shapes import Shape
from cnnc.syntax import ast

if TYPE_CHECKING:
    from cnnc.backends.torch.file import File


class State:
    """The state of one class that is being written, and its names."""

    def __init__(self, file: File, name: str, kind: str, instances: list[Occurrence], skip: frozenset[int] = frozenset()) -> None:
        self.file = file
        self.name = name
        self.kind = kind
        self.instances = instances
        self.boundaries = [o.scope for o in instances]
        self.index = {id(o.scope): k for k, o in enumerate(instances)}
        self.skip = skip
        self.params: dict[str, Parameter] = {}
        self.used: set[str] = set()
        self.stored: set[str] = set()
        self.init: list[Line] = []
        self.lines: list[Line] = []
        self.depth = 0
        self.init_depth = 0
        self.families: dict[str, Family] = {}
        self.registered: set[str] = set()
        self.values: dict[tuple[int, Ref], Value] = {}
        self.live: dict[str, Value] = {}
        self.taken: set[str] = {"self", "x"}
        self.inlet: Value | None = None
        self.captured: list[Value] = []
        self.capture_refs: list[list[Ref]] = []
        self.flags: dict[str, str] = {}
        self.lets: dict[str, tuple[ast.Expr, list[Any]]] = {}
        self.result: Value | None = None
        self.chain = False
        self.shown: Shape | None = None
        self.last_statement: tuple[int, int] | None = None
        #: values that are expressions without a line yet
        self.pending: dict[int, Value] = {}
        #: where the value of the branch goes that is being written
        self.branch: str | None = None
        #: variables of the constructor that loops carry from turn to turn
        self.carried: set[str] = set()
        #: the loop that is being rolled
        self._rolled: dict[str, Any] | None = None
        self.loop_names: dict[str, str] = {}
        self.heads: list[tuple[Scope, str]] = []
        #: what is borrowed from around: shared modules, passed to ``forward``; name -> the use in each instance
        self.borrowed: dict[str, dict[int, Node | Scope]] = {}
        self.attributes = self._attributes()
        #: names of the spec -> arguments and variables of the constructor
        self.pythonic: dict[str, str] = {}

    def _attributes(self) -> set[str]:
        """The attributes that layers of this class have, or would have."""
        found: set[str] = set()

        def visit(occurrence: Occurrence, scope: Scope) -> None:
            prefix = self.boundaries[occurrence.owner].path
            for item in scope.items:
                path = occurrence.graph.nodes[item].path if isinstance(item, int) else item.path
                relative = path[len(prefix) + 1 :] if prefix else path
                if relative:
                    found.add(split_path(relative)[0])
                if isinstance(item, Scope) and item.kind not in ("block",):
                    visit(occurrence, item)

        for occurrence in self.instances:
            visit(occurrence, occurrence.scope)
        return found

    @property
    def takes_input(self) -> bool:
        """Whether ``forward`` has an argument for what flows in."""
        return bool(self.instances[0].scope.inputs) and (self.chain or self.file.takes_input(self.instances[0].scope))

    def python_name(self, spec: str, key: str | None = None) -> str:
        """The constructor's name for a name of the spec, different from all others."""
        key = key or spec
        known = self.pythonic.get(key)
        if known is None:
            known = argument(spec)
            while known in self.file.reserved or known in self.pythonic.values() or known == "in_channels":
                known += "_"
            self.pythonic[key] = known
        return known

    def local(self, spec: str) -> str:
        """A name of the spec as a variable of ``forward``, which hides no function or class of the file."""
        name = variable(spec)
        while name in self.file.reserved:
            name += "_"
        return name

    def relative(self, path: str, context: Context) -> str:
        """A path without the path of the class's instance."""
        prefix = self.boundaries[context.owners[0]].path
        if path == prefix:
            return ""
        if prefix and not path.startswith(prefix + "."):
            raise Unsupported(f"`{path}` is used inside `{prefix}`, but belongs outside of it", self.boundaries[0])
        return path[len(prefix) + 1 :] if prefix else path

    def relative_of(self, node: Node | Scope, occurrence: Occurrence) -> str:
        """The path of a node or scope inside its instance of the class."""
        prefix = self.boundaries[occurrence.owner].path
        return node.path[len(prefix) + 1 :] if prefix else node.path

    def _unregistered(self, name: str) -> str:
        """An attribute that no layer has."""
        while name in self.registered or name in self.attributes:
            name += "_"
        return name

    def init_line(self, text: str) -> None:
        """A line of the constructor."""
        self.init.append(Line(self.init_depth, text, text))

    def emit(self, text: str, probed: str | None = None, comment: str = "") -> None:
        """A line of the forward pass."""
        self.lines.append(Line(self.depth, text, text if probed is None else probed, comment))

    @staticmethod
    def _at(scopes: list[Scope], context: Context) -> Context:
        moved = [o.at(s) for o, s in zip(context.occurrences, scopes, strict=True)]
        return Context(moved, context.variables, context.loops)

    def reads(self, ref: Ref, context: Context) -> int:
        """How often this class reads a value."""
        return self.file.reads(context.occurrences[0].graph, self.boundaries[context.owners[0]]).get(ref, 0)

    def most_reads(self, refs: list[Ref], context: Context) -> int:
        """How often a value is read in the occurrence that reads it most."""
        file, owners = self.file, context.owners
        return max(file.reads(o.graph, self.boundaries[w]).get(r, 0) for o, w, r in zip(context.occurrences, owners, refs, strict=True))

    def _per_instance(self, values: list[Any], context: Context) -> list[Any] | None:
        kept: list[Any] = [None] * len(self.instances)
        seen = [False] * len(self.instances)
        for value, owner in zip(values, context.owners, strict=True):
            if seen[owner] and not equal(kept[owner], value):
                return None
            kept[owner], seen[owner] = value, True
        return kept

    def items(self, context: Context) -> None:
        """Write the items of aligned scopes."""
        raise NotImplementedError
