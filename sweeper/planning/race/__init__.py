"""A race as a plan: which documents each cell is asked at a look, and what no race can be."""
