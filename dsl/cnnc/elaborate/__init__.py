"""Names and imports resolved, arguments typed, blocks and loops applied: tree to graph.

Shapes are worked out as nodes are made, because what a spec builds may depend on them (``if in.channels != 4*width``).
"""
