"""Isorate: what to run - grid, cells, plan, store, worker, tracking and the command line."""
