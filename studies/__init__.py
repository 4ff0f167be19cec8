"""Evidence that the docs quote, each study a package and a name of ``python -m studies``; outside the gate, which needs none."""
