"""Evaluation: benchmarks, roll-outs under fixed rules, tables and the report."""
