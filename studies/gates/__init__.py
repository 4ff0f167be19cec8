"""Other gates' rules beside this one's: the comparison in the README, and its plot."""
