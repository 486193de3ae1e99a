"""From a path to the folder or bucket it names."""

import re
from pathlib import Path

from jepa_sweep.checks import check_path
from jepa_sweep.errors import SpecError
from jepa_sweep.store.folder import Folder
from jepa_sweep.store.location import Location


def at(path: str | Path) -> Location:
    """The location of a path: `s3://...`, `gs://...` and `memory://...` are buckets, all else is a folder.

    Raises:
        SpecError: the kind of bucket is unknown, its name was made a `Path`, or the extra for buckets is not installed.
    """
    check_path(path)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", str(path)):
        from jepa_sweep.store.bucket import Bucket  # not at the top: it needs an extra

        return Bucket(str(path))
    if isinstance(path, Path) and (match := re.match(r"(s3|gs|memory):/", path.as_posix())):
        raise SpecError(
            f"A place in a bucket must be given as text, as a Path halves its slashes, but it is {path!r}; try "
            f"'{match[1]}://{path.as_posix().removeprefix(match[0])}'."
        )
    return Folder(Path(path))
