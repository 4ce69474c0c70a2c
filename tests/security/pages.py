"""What an HTML page shows, runs, and would load from elsewhere."""

from __future__ import annotations

from html.parser import HTMLParser

_LOADING = {"script", "link", "img", "iframe", "object", "embed", "video", "audio", "source"}


class Page(HTMLParser):
    """A page as a browser would take it apart.

    Attributes:
        loaded: tags that load something from the network, and handlers in attributes.
        shown: its text.
        scripts: the text of its scripts.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.shown = ""
        self.scripts: list[str] = []
        self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what it would load or run."""
        self._tag = tag
        for name, value in attrs:
            outside = (value or "").startswith(("http:", "https:", "//"))
            loads = outside and tag in _LOADING and name in ("src", "href", "data")
            if loads or name.startswith("on"):
                self.loaded.append(f"{tag} {name}={value}")

    def handle_data(self, data: str) -> None:
        """Text is shown, or is a script."""
        if self._tag == "script":
            self.scripts.append(data)
        else:
            self.shown += data
