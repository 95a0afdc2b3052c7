"""Multimodal models that reason and compute by turns: train, run, evaluate and look at them."""

__version__ = "0.1.0"
