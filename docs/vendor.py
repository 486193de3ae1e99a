"""What the site ships of others: KaTeX, which sets formulas, and a shim that lets the search work from disk.

Both are packages that npm fetches, once for each environment of Python; they are checked against their SHA-256.
"""

import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

KEPT = Path(sys.prefix) / "share" / "jepa_sweep"  # beside the packages of this environment


class Package(NamedTuple):
    """A package of the npm registry, and the files of it that are shipped."""

    name: str
    version: str
    sha256: str
    patterns: tuple[str, ...]
    folder: str  # that the files are relative to


PACKAGES = (
    Package(
        "katex",
        "0.19.1",
        "24da5a599eb2fcede2e270b99a6ff48bca816beecc95feeb84e8cccbd1bb34fd",
        ("package/LICENSE", "package/dist/katex.min.*", "package/dist/fonts/*.woff2"),
        "package/dist",
    ),
    Package(
        "iframe-worker",
        "1.0.4",
        "e8c5d12d87829c503afba01d67772ea9f4aba5b7ae57a0c98e1917711030efbb",
        ("package/LICENSE", "package/shim/index.js"),
        "package/shim",
    ),
)


def files(package: Package) -> dict[str, bytes]:
    """Path below the folder of the package -> content of each file that is shipped.

    Raises:
        OSError: there is no npm, it cannot fetch the package, or that is not the one that was meant.
    """
    found = {}
    with tarfile.open(fileobj=io.BytesIO(_tarball(package)), mode="r:gz") as archive:
        for member in archive.getmembers():
            path = PurePosixPath(member.name)
            content = archive.extractfile(member)
            if content and any(path.match(pattern) for pattern in package.patterns):
                inside = path.is_relative_to(package.folder)
                found[str(path.relative_to(package.folder)) if inside else path.name] = content.read()
    return found


def _tarball(package: Package) -> bytes:
    kept = KEPT / f"{package.name}-{package.version}.tgz"
    if kept.exists() and _is_right(package, content := kept.read_bytes()):
        return content
    content = _fetched(package)
    if not _is_right(package, content):
        raise OSError(f"{kept.name} must have the SHA-256 {package.sha256}, but npm fetched another.")
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(content)
    return content


def _fetched(package: Package) -> bytes:
    """The package as npm fetches it."""
    if shutil.which("npm") is None:
        raise OSError("The site needs KaTeX, which npm fetches, but there is no npm; install Node.js.")
    with tempfile.TemporaryDirectory() as folder:
        line = ["npm", "pack", "--silent", f"{package.name}@{package.version}", "--pack-destination", folder]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        packed = [path.read_bytes() for path in Path(folder).glob("*.tgz")]
    if done.returncode or not packed:
        raise OSError(f"npm must fetch {package.name} {package.version}, but it says: {done.stderr.strip()}")
    return packed[0]


def _is_right(package: Package, content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == package.sha256
