"""What readers see: verdicts in a terminal and in files, the page of a run, the brief of a case. Decides nothing."""
