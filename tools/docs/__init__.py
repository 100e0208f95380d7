"""Writes the tables of the documents from what they describe: schemas, command line, action, families."""
