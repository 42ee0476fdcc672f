"""Training with quantised nets: the solver's files, the loop, its snapshots and curves, and how it is resumed."""
