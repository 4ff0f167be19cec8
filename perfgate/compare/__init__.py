"""Pure numbers and verdicts: estimators, the rule, the comparisons, the suite, drift. No input or output."""
