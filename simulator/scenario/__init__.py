"""Scenarios: the schema of the YAML file and a loader whose errors name file, line and column."""
