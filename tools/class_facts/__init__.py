"""What transformers' classes take and load, as data for the package: `python -m tools.class_facts`."""
