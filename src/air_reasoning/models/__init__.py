"""Loading real vision-language models, and building a tiny one of the same class."""
