"""One HTML file of a run, self-contained: files → a frozen view → charts → HTML.

Puts verdicts and numbers before a reader in the words of ``report`` and ``wording``; decides nothing, judges nothing anew.
"""
