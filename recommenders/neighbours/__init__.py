"""Methods that learn from negative feedback in other ways, each in a readable file that names its source."""
