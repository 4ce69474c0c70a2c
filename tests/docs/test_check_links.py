"""The check of the manual's links finds what it is for."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "docs" / "check_links.py"
spec = importlib.util.spec_from_file_location("check_links", FILE)
check_links = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check_links)


@pytest.mark.parametrize(
    ("link", "found"),
    [
        ("other.html", []),
        ("other.html#there", []),
        ("#here", []),
        ("a%20picture.png", []),
        ("https://example.org/nowhere", []),
        ("gone.html", ["index.html: gone.html"]),
        ("other.html#gone", ["index.html: other.html#gone"]),
        ("#gone", ["index.html: #gone"]),
    ],
)
def test_a_link_leads_somewhere_or_is_named(tmp_path, link, found):
    (tmp_path / "index.html").write_text(f'<h1 id="here">x</h1><a href="{link}">y</a>')
    (tmp_path / "other.html").write_text('<p id="there">z</p>')
    (tmp_path / "a picture.png").write_bytes(b"")
    assert list(check_links.broken(tmp_path)) == found
