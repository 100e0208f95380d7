"""The output folder of a cell: shards, configuration and side files."""
