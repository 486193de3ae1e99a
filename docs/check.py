"""What may be wrong with a built site: links and anchors that lead nowhere, and requests to hosts."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = dict.fromkeys(("script", "img", "iframe", "source", "video", "audio"), "src") | {"link": "href"}
ASKS = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""")  # in styles


class Page(HTMLParser):
    """What one page links to and loads, and the names of its places."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.places: set[str] = set()
        self.without_words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the addresses and the name of an element."""
        given = dict(attrs)
        self.places |= {name for name in (given.get("id"), given.get("name")) if name}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"] or "")
        if tag in LOADS and given.get(LOADS[tag]):
            self.loads.append(given[LOADS[tag]] or "")
        if tag == "img" and not given.get("alt"):
            self.without_words.append((given.get("src") or "")[:80])


def problems(site: Path) -> list[str]:
    """Every link that leads nowhere, picture without words, and address that would be asked of a host."""
    pages = {path: Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        where = path.relative_to(site)
        if where.name == "404.html":  # it is shown at any address, and links from the root of the site
            continue
        for address in page.links + page.loads:
            found += [f"{where}: {address}: {wrong}" for wrong in _dead(address, path, pages)]
        found += [f"{where}: asks {one}" for one in page.loads if urlsplit(one).netloc]
        found += [f"{where}: a picture without words: {one}" for one in page.without_words]
    for path in sorted(site.rglob("*.css")):
        found += [f"{path.relative_to(site)}: asks {one}" for one in ASKS.findall(path.read_text("utf-8"))]
    return found


def _dead(address: str, page: Path, pages: dict[Path, Page]) -> list[str]:
    """What is wrong with an address on a page, if anything is; other hosts are not asked."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return []
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.is_file():
        return ["there is no such file"]
    place = unquote(parts.fragment)
    if place and target in pages and place not in pages[target].places:
        return ["there is no such place"]
    return []
