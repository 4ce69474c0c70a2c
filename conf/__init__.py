"""The configuration that ships with Isorate (a package so that a wheel carries it)."""
