"""From a path to the folder or bucket it names."""

import re
from pathlib import Path

from jepa_sweep.store.files import Folder
from jepa_sweep.store.location import Location


def at(path: str | Path) -> Location:
    """The location of a path: `s3://...`, `gs://...` and `memory://...` are buckets, all else is a folder.

    Raises:
        SpecError: the kind of bucket is unknown, or the extra for buckets is not installed.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", str(path)):
        from jepa_sweep.store.objects import Bucket  # not at the top: it needs an extra

        return Bucket(str(path))
    return Folder(Path(path))
