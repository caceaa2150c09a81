"""Text to tree; `parser` is the only module that knows lark."""
