"""The commands of the program: each module has `add_parser`, which describes it, and `run`, which does it."""
