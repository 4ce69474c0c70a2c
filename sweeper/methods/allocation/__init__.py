"""How much of each matrix goes: layer errors, and the allocations that rest on them."""
