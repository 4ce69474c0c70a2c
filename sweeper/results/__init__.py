"""From the store to rows: what became of every cell, and where else results come from and go to."""
