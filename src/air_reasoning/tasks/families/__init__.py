"""Sixteen families of drawn tasks for models that see more than 128 pixels; each with a program."""
