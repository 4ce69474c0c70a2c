"""What a sound checkpoint measures."""

from tests.stubs.kinds.measure import run as run
