"""Engines that turn token ids and pictures into more token ids."""
