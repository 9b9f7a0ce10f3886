"""Deep unfolding: networks whose layers are the iterations of a solver, with learned steps."""
