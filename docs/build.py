"""Builds the site: `python -m docs.build` writes it to site/, and fails with whatever is wrong with it.

Links, anchors, references and examples are checked twice, as they are written by Zensical, and as they are read by
`docs.check`, since much of a page is generated.
"""

import logging
import shutil
import sys
from pathlib import Path

import zensical

from docs import ROOT, check, vendor


class _Warnings(logging.Handler):
    """Notes what is said while the site is built: a failing example is only a warning to those who build it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note a warning."""
        self.told.append(record.getMessage())


def build(root: Path = ROOT) -> list[str]:
    """Build the site of the folder that holds `mkdocs.yml` and `docs/`; what is wrong with it."""
    shutil.rmtree(root / "site", ignore_errors=True)  # pages that are no more
    put_assets(root / "docs/assets")
    warnings = _Warnings()
    logging.getLogger().addHandler(warnings)
    try:
        zensical.build(str(root / "mkdocs.yml"), {"strict": True, "clean": True})
    except RuntimeError as error:  # it has said what is wrong
        warnings.told.append(str(error))
    finally:
        logging.getLogger().removeHandler(warnings)
    return warnings.told or check.problems(root / "site")


def put_assets(folder: Path) -> None:
    """What pages show that is kept elsewhere: pictures, and what others have written."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "sweeps/gallery", folder / "gallery", ignore=shutil.ignore_patterns("*.json"))
    for package in vendor.PACKAGES:
        for path, content in vendor.files(package).items():
            file = folder / package.name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


def main() -> None:
    """Build, and say what is wrong."""
    root = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT
    try:
        problems = build(root)
    except OSError as error:
        problems = [str(error)]
    done = f"The site is in {root / 'site'}; open index.html in a browser."
    print(*problems or [done], sep="\n", file=sys.stderr if problems else sys.stdout)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
