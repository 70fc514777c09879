"""Settings from a YAML file: read with positions, overridden, checked as a whole. Knows no particular setting."""

from burnish.config.document import Document, Keys, load_yaml, override
from burnish.config.settings import Strict, absences, resolved, schema, validate

__all__ = ["Document", "Keys", "Strict", "absences", "load_yaml", "override", "resolved", "schema", "validate"]
