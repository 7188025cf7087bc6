"""The world: catalogue, population and behaviour, built from a scenario and keyed draws."""
