"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# An example that is slow on a busy machine is no failure.
settings.register_profile("isorate", deadline=None)
settings.load_profile("isorate")
