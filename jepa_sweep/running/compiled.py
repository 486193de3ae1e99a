"""Whether the programs of a sweep were compiled here before: noted beside them, for those who plan without JAX."""

import contextlib
import hashlib
import importlib.metadata
import json
import os
from pathlib import Path
from typing import NamedTuple

from jepa_sweep.engine.settings import usual_programs_folder
from jepa_sweep.spec.models import Sweep


class Kept(NamedTuple):
    """What is known of programs that a run has left."""

    seconds: float | None  # that a later run took to load them; None if there was none yet


def known(sweep: Sweep, size: int) -> Kept | None:
    """What runs like this one, in chunks of so many points, have left where commands keep programs; None if nothing."""
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR") or usual_programs_folder()
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Kept(**json.loads((Path(folder) / _name(sweep, size)).read_text()))
    return None


def remember(sweep: Sweep, size: int, seconds: float) -> None:
    """Note that a run had its programs after so many seconds, if JAX keeps them in a folder."""
    from jepa_sweep.engine import devices  # not at the top: it brings JAX

    folder = devices.programs_folder()
    if folder is None or not folder.is_dir():
        return
    note = folder / _name(sweep, size)
    loaded = Kept(seconds if note.exists() else None)
    own = note.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):  # it is a hint, no more
        own.write_text(json.dumps(loaded._asdict()))
        own.replace(note)


def _name(sweep: Sweep, size: int) -> str:
    """A name for all that decides which programs a run needs, as far as that is known without JAX."""
    jax = [importlib.metadata.version(name) for name in ("jax", "jaxlib")]
    system = sweep.system.name, sweep.system.version, sweep.system.digest, sweep.objective
    made_of = [*jax, os.environ.get("XLA_FLAGS", ""), *system, repr(sweep.measurement), size]
    return f"jepa_sweep-sweep-{hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:32]}.json"
