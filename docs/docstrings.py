"""Docstrings as griffe expects them: it knows a section `Examples`, where ours are called `Example`."""

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Renames the section, so that examples are shown as code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the section of one docstring."""
        if obj.docstring:
            obj.docstring.value = re.sub("^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
