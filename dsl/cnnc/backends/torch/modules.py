"""Modules as attributes: layers by name, indexed names, and shared modules that come from around."""

from __future__ import annotations

import re

from cnnc.backends.torch.calls import Calls
from cnnc.backends.torch.names import split_path
from cnnc.backends.torch.values import Context, Family, Line, Mismatch, Unsupported, Value
from cnnc.graph import Node, Scope
from cnnc.layers.form import Form, InitCall, literal, write


class Modules(Calls):
    """Makes modules attributes."""

    def _register(self, nodes: list[Node], forms: list[Form], inputs: list[Value], context: Context) -> str:
        """Construct a layer's module; how ``forward`` reaches it."""
        if nodes[0].shared and self._is_outside(nodes[0], context):
            return self._borrow(list(nodes), context)
        relative = self.relative(nodes[0].path, context).partition("@")[0]
        if nodes[0].shares is not None and self._is_there(relative):
            return self._access(relative)
        if any(f.module is None for f in forms):
            raise Unsupported(f"`{nodes[0].op}` has no module in PyTorch", nodes[0].scope)
        calls = [f.module for f in forms if f.module is not None]
        merged, show = self._merge_calls(calls, nodes, inputs, context, False)
        text = write(merged, (), show)
        text = self._initialised(text, [f.inits for f in forms], merged.name)
        relatives = [self.relative_of(n, o).partition("@")[0] for n, o in zip(nodes, context.occurrences, strict=True)]
        return self.attach(relative, text, relatives, context)

    def _is_outside(self, item: Node | Scope, context: Context) -> bool:
        """Whether a shared module belongs to what is around this class."""
        prefix = self.boundaries[context.owners[0]].path
        return bool(prefix) and not item.path.startswith(prefix + ".")

    def _is_there(self, relative: str) -> bool:
        """Whether a shared module was constructed already."""
        return ".".join(split_path(relative)) in self.registered

    def _borrow(self, items: list[Node | Scope], context: Context) -> str:
        """A shared module from around: an argument of ``forward``."""
        if self._rolled:
            raise Mismatch("a shared module in a loop is written out")
        wanted = self.local(split_path(items[0].path.partition("@")[0])[-1])
        paths = {items[k].path.partition("@")[0]: owner for k, owner in enumerate(context.owners)}
        for name, uses in self.borrowed.items():
            known = [uses.get(o) for o in context.owners]
            if all(k is not None and k.path.partition("@")[0] == i.path.partition("@")[0] for k, i in zip(known, items, strict=True)):
                return name
        name = self.unique(wanted)
        self.borrowed[name] = dict(zip(context.owners, items, strict=True))
        return name if paths else wanted

    def _initialised(self, text: str, inits: list[tuple[InitCall, ...]], module: str) -> str:
        if any(i != inits[0] for i in inits):
            raise Mismatch("the initialisers differ")
        return self.file.initialised(text, inits[0], module)

    def attach(self, relative: str, text: str, relatives: list[str], context: Context) -> str:
        """Make a module an attribute, in a loop by a computed name; how ``forward`` reaches it."""
        if self._rolled is not None:
            name = self._loop_name(relatives, context)
            if name not in self._rolled["made"]:
                self._rolled["made"].add(name)
                self.init_line(f"self.add_module({name}, {text})")
            self.loop_names[relative] = name
            return f"self.get_submodule({name})"
        if any(r != relative for r in relatives):
            raise Mismatch("the instances name a layer differently")
        parts = split_path(relative)
        if "." in relative:  # beside a named layer: it owns no parameters, so its key is free to choose
            parts = [self._unregistered("_".join(parts))]
        if len(parts) == 1:
            if parts[0] not in self.registered:
                self.registered.add(parts[0])
                self.init_line(f"self.{parts[0]} = {text}")
            return f"self.{parts[0]}"
        if len(parts) > 2 or not parts[1].isdigit():
            return self._odd_index(parts, text)
        family = self.families.get(parts[0])
        if self.init_depth:
            raise Mismatch("an indexed name inside of a condition")
        if any(re.search(rf"\b{name}\b", text) for name in self.carried):
            raise Mismatch("the members of an indexed name stand together, before the loop that one of them follows")
        if family is None:
            family = self.families[parts[0]] = Family(parts[0], len(self.init))
            self.init_line("")
        family.rows[int(parts[1])] = text
        self.registered.add(".".join(parts))
        return f"self.{parts[0]}[{parts[1]}]"

    def _odd_index(self, parts: list[str], text: str) -> str:
        """A module with several indices, or a negative one: its keys are joined in one dictionary of modules."""
        at = f"self.{parts[0]}"
        for k, part in enumerate(parts[1:-1], 1):
            key = ".".join(parts[: k + 1])
            if key not in self.registered:
                if k == 1 and parts[0] not in self.registered:
                    self.registered.add(parts[0])
                    self.init_line(f"self.{parts[0]} = nn.Module()")
                self.registered.add(key)
                self.init_line(f"{at}.add_module({literal(part)}, nn.Module())")
            at = f"{at}.get_submodule({literal(part)})"
        if len(parts) == 2 and parts[0] not in self.registered:
            self.registered.add(parts[0])
            self.init_line(f"self.{parts[0]} = nn.Module()")
        if ".".join(parts) not in self.registered:
            self.registered.add(".".join(parts))
            self.init_line(f"{at}.add_module({literal(parts[-1])}, {text})")
        return f"{at}.get_submodule({literal(parts[-1])})"

    def _access(self, relative: str) -> str:
        parts = split_path(relative)
        if len(parts) == 1:
            return f"self.{parts[0]}"
        if len(parts) == 2 and parts[1].isdigit():
            return f"self.{parts[0]}[{parts[1]}]"
        return "".join([f"self.{parts[0]}", *(f".get_submodule({literal(p)})" for p in parts[1:])])

    def _loop_name(self, relatives: list[str], context: Context) -> str:
        """The name of a layer as text of the turn: ``f"conv{i}"``."""
        assert self._rolled is not None
        parsed = [re.fullmatch(r"(\D*?)(\d+)", r) for r in relatives]
        if any(p is None for p in parsed):
            raise Mismatch("a named layer in a loop is written out")
        bases = {p.group(1) for p in parsed if p is not None}
        if len(bases) != 1:
            raise Mismatch("the layers of a loop have different names")
        numbers = [int(p.group(2)) for p in parsed if p is not None]
        turn = [o.scope.index if o.scope.kind == "turn" else _turn(o.scope) for o in context.occurrences]
        steps = [(n, t) for n, t in zip(numbers, turn, strict=True)]
        zero = [n for n, t in steps if t == 0] or [numbers[0]]
        offset = zero[0]
        later = [(n - offset) // t for n, t in steps if t]
        step = later[0] if later else 1
        if any(n != offset + step * t for n, t in steps):
            raise Mismatch("the layers of a loop are not numbered evenly")
        base = bases.pop()
        start = self._rolled["start"]
        fixed = len(self._rolled["statement"].targets) == 2
        if start is None:
            start = self._rolled["start"] = 0 if fixed or step != 1 else offset
        index = self._rolled["index"]
        self._rolled["used"] = True
        shift = offset - step * start
        inside = index if step == 1 else f"{step} * {index}"
        if shift:
            inside += f" + {shift}" if shift > 0 else f" - {-shift}"
        return f'f"{base}{{{inside}}}"'

    def constructor(self) -> list[Line]:
        """The lines of ``__init__`` behind ``super().__init__()``, indexed names filled in."""
        lines: list[Line] = []
        families = {f.at: f for f in self.families.values()}
        context = Context(list(self.instances))
        for name, (expr, _) in self.lets.items():
            if name in self.used:
                text = f"{name} = {self.print(expr, context)}"
                lines.append(Line(0, text, text))
        stored = [n for n in [*(p.name for p in self.signature()), *self.lets] if n in self.stored]
        lines += [Line(0, f"{self.stored_name(n)} = {n}", f"{self.stored_name(n)} = {n}") for n in stored]
        for k, line in enumerate(self.init):
            family = families.get(k)
            if family is None:
                lines.append(line)
                continue
            text = self._family_text(family)
            lines.append(Line(line.depth, text, text))
        return lines

    @staticmethod
    def _family_text(family: Family) -> str:
        keys = sorted(family.rows)
        if keys == list(range(len(keys))):
            return f"self.{family.name} = nn.ModuleList([{', '.join(family.rows[i] for i in keys)}])"
        pairs = ", ".join(f'"{i}": {family.rows[i]}' for i in keys)
        return f"self.{family.name} = nn.ModuleDict({{{pairs}}})"

    def fix_indices(self, text: str) -> str:
        """Members of an indexed name that is no list are reached by key."""
        for family in self.families.values():
            keys = sorted(family.rows)
            if keys != list(range(len(keys))):
                text = re.sub(rf"\bself\.{family.name}\[(\d+)\]", rf'self.{family.name}["\1"]', text)
        return text

    def probe_owner(self, nodes: list[Node], context: Context) -> str:
        """Whose layer is probed, and under which name: ``self, "conv1"``, or a module that was borrowed."""
        if nodes[0].shared and self._is_outside(nodes[0], context):
            return f'{self._borrow(list(nodes), context)}, ""'
        return f"self, {self.probe_name(nodes, context)}"

    def probe_name(self, nodes: list[Node], context: Context) -> str:
        """The name under which a layer is probed, as text of the line that runs it."""
        if self._rolled is None:
            return literal(self.relative(nodes[0].path, context).partition("@")[0])
        return self._loop_name([self.relative_of(n, o) for n, o in zip(nodes, context.occurrences, strict=True)], context)


def _turn(scope: Scope | None) -> int:
    while scope is not None and scope.kind != "turn":
        scope = scope.parent
    return scope.index if scope is not None else 0
