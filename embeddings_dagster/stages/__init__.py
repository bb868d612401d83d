"""What the assets do, apart from when they do it: each stage plans (pure), does, and commits.

A stage reads one complete version upstream, compares the inputs it wants with the rows it has, works on the difference
and commits a version in which every input is a row or a failure. Run again, it does nothing.
"""
