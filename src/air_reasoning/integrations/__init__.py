"""Other frameworks' ways in: one file for each, for one pinned version."""
