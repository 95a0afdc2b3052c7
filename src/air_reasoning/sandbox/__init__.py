"""Where model-written code runs: never in this process."""
