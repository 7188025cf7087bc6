"""Sequential recommenders that learn from negative feedback, and the interface through which yours joins them."""
