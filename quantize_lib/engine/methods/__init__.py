"""The rounding of each method; `methods/` says where it is."""
