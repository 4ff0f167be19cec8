"""``nox -s doctor``: is this machine a good runner. Facts are collected, then checked; nothing is set."""
