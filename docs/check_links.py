"""Checks every link inside of a built site: the file is there, and so is the anchor; no network.

python docs/check_links.py SITE
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit


class Page(HTMLParser):
    """What a page offers (`anchors`) and what it points to (`links`)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One element."""
        for name, value in attrs:
            if name == "id" or (name == "name" and tag == "a"):
                self.anchors.add(value or "")
            elif name in ("href", "src") and value:
                self.links.append(value)


def broken(site: Path) -> Iterator[str]:
    """'page: link' of every link that leads nowhere."""
    pages = {
        path.resolve(): Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")
    }
    for path, page in sorted(pages.items()):
        for link in page.links:
            if urlsplit(link).scheme or link.startswith("//"):
                continue
            where, anchor = urldefrag(link)
            target = (path.parent / unquote(urlsplit(where).path)).resolve() if where else path
            known = target in pages
            lost = not target.exists()
            if lost or (anchor and known and unquote(anchor) not in pages[target].anchors):
                yield f"{path.relative_to(site.resolve())}: {link}"


def main() -> None:
    """Print what is broken; status 1 if anything is."""
    site = Path(sys.argv[1])
    if not (site / "index.html").is_file():
        sys.exit(f"{site} has no index.html: `make site` builds it.")
    found = list(broken(site))
    print("\n".join(found) or "every internal link and anchor leads somewhere")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
