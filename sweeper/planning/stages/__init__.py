"""Which stages a cell needs, and what each one means."""
