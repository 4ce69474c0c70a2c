"""From combinations of the grid to a plan: cells, stages, cost."""
