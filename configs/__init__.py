"""Typed run configs: the schema, the YAML groups, and the checks that turn a mistake into one line."""
