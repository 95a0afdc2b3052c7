"""``air doctor``: what this machine and its engine can do, and how to mend the rest."""
