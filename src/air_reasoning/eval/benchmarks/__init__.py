"""One adapter for each benchmark: its files in, its official scoring."""
