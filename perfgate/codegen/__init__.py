"""Machine code of a case: compile it, read it, keep it, compare it, and the rules on what it may become."""
