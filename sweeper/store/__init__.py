"""The store: stage outputs on disk by content hash; writing, reading, checking, collecting."""
