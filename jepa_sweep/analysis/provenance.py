"""What made the numbers of a run, fact by fact in words: what files that leave the store carry with them."""

import contextlib
import json
import shlex
from collections.abc import Callable
from typing import Any

from jepa_sweep.errors import escaped
from jepa_sweep.store.reader import Reader


def facts(store: Reader) -> dict[str, str]:
    """Facts about the committed rows, by name; several environments, specs and the like are all told."""
    frozen, commits = store.frozen, store.log.commits()
    noted = store.environments()
    used = [note for name in dict.fromkeys(commit.environment for commit in commits) if (note := noted.get(name))]

    def each(tell: Callable[[dict[str, Any]], str]) -> str:
        said = list[str]()
        for note in used:
            with contextlib.suppress(KeyError):  # a note may tell less
                said.append(tell(note))
        return "; ".join(dict.fromkeys(filter(None, said)))

    dates = sorted({commit.created for commit in commits})
    told = {
        "title": escaped(store.title),
        "system": f"{frozen['system']}, version {frozen['version']}",
        "software": each(lambda note: f"jepa_sweep {note['versions']['jepa_sweep']}"),
        "solver": json.dumps(frozen["solver"]),
        "trajectories": json.dumps(frozen["trajectories"]) if frozen.get("trajectories") else "",
        "time": (store.schema("points").metadata or {}).get(b"time", b"").decode(),
        "created": " to ".join(dict.fromkeys([*dates[:1], *dates[-1:]])),
        "versions": each(lambda note: ", ".join(f"{name} {version}" for name, version in note["versions"].items())),
        "device": each(lambda note: f"{note['devices']} x {note['device']} ({note['backend']})"),
        "platform": each(lambda note: f"Python {note['python']} on {note['platform']}, {note['cores']} cores"),
        "git_revision": each(_revision),
        "command": each(lambda note: shlex.join(note["argv"])),
        **{f"spec_{number}" if number > 1 else "spec": text for number, text in enumerate(store.specs().values(), 1)},
        "system_file": store.source() or "",
    }
    return {name: text for name, text in told.items() if text}


def _revision(note: dict[str, Any]) -> str:
    git = note["git"]
    return f"{git['revision']}{' with changes' if git['dirty'] else ''}" if git else ""
