"""Problems as values, and their renderings."""

from cnnc.diagnostics.model import CnncError, Diagnostic, Edit, Fix, Label, Severity

__all__ = ["CnncError", "Diagnostic", "Edit", "Fix", "Label", "Severity"]
