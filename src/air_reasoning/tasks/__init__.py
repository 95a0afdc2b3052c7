"""Procedural tasks over real tables: pictures, questions, answers computed and not annotated."""
