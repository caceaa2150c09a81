"""Lines of at most 88 columns, as ``ruff format`` leaves them. Knows brackets and strings, nothing else of Python."""

from __future__ import annotations

#: The width that ruff and black format to.
WIDTH = 88


def pieces(text: str) -> list[str]:
    """What stands between the commas of an argument list."""
    found: list[str] = []
    depth, start, quote = 0, 0, ""
    for i, ch in enumerate(text):
        if quote:
            if ch == quote and text[i - 1] != "\\":
                quote = ""
        elif ch in "\"'":
            quote = ch
        elif ch in "([{":
            depth += 1
        elif ch in ")]}":
            depth -= 1
        elif ch == "," and depth == 0:
            found.append(text[start:i].strip())
            start = i + 1
    last = text[start:].strip()
    return [*found, last] if last else found


def opener(text: str) -> int:
    """Where the bracket opens that closes the text, -1 when the text does not end in one."""
    if not text or text[-1] not in ")]}":
        return -1
    depth, quote = 0, ""
    places: list[int] = []
    for i, ch in enumerate(text):
        if quote:
            if ch == quote and text[i - 1] != "\\":
                quote = ""
        elif ch in "\"'":
            quote = ch
        elif ch in "([{":
            places.append(i)
            depth += 1
        elif ch in ")]}":
            start = places.pop()
            depth -= 1
            if i == len(text) - 1:
                return start
    return -1


def lay_out(text: str, indent: int, tail: str = "") -> list[str]:
    """A statement (with ``tail`` behind its last bracket: ``-> None:``) as lines of ``indent`` columns and more."""
    pad = " " * indent
    if indent + len(text) + len(tail) <= WIDTH:
        return [pad + text + tail]
    start = opener(text)
    if start < 0:
        return [pad + text + tail]
    inner = text[start + 1 : -1].strip()
    if not inner:
        return [pad + text + tail]
    head, close = text[: start + 1], text[-1] + tail
    parts = pieces(inner)
    joined = ", ".join(parts)
    if indent + 4 + len(joined) <= WIDTH:
        return [pad + head, " " * (indent + 4) + joined, pad + close]
    if len(parts) == 1 and opener(parts[0]) >= 0:
        return [pad + head, *lay_out(parts[0], indent + 4), pad + close]
    lines = [pad + head]
    for part in parts:
        lines += lay_out(part, indent + 4, ",")
    return [*lines, pad + close]


def wrapped(text: str, indent: int, width: int = WIDTH) -> list[str]:
    """Prose in lines."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        if line and indent + len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line] if line else lines


def docstring(paragraphs: list[str], indent: int) -> list[str]:
    """A docstring; the first paragraph is its summary. The text may come from a spec: nothing of it can end the string."""
    cleaned = []
    for paragraph in paragraphs:
        text = "".join(ch if ch.isprintable() else " " for ch in paragraph)
        cleaned.append(" ".join(text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"').split()))
    cleaned = [c for c in cleaned if c]
    pad = " " * indent
    if not cleaned:
        return []
    if len(cleaned) == 1 and indent + len(cleaned[0]) + 6 <= WIDTH:
        text = cleaned[0] + (" " if cleaned[0].endswith(('"', "\\")) else "")
        return [f'{pad}"""{text}"""']
    lines: list[str] = []
    for i, paragraph in enumerate(cleaned):
        if i:
            lines.append("")
        body = wrapped(paragraph, indent + (3 if i == 0 else 0))
        if len(cleaned) == len(body) == 1:  # a single line keeps its closing quotes beside it, so it must not be too long for them
            body = wrapped(paragraph, indent + 3, WIDTH - 3)
        lines += body
    lines[0] = '"""' + lines[0]
    return [pad + line if line else "" for line in lines] + [pad + '"""']
