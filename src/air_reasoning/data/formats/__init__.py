"""Other programs' data formats: a row to a record and back."""
