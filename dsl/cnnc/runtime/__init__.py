"""Running emitted modules. The only package that imports torch."""
