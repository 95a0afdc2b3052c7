"""Looking at run folders and task folders."""
