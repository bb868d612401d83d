"""What Dagster is told: which assets there are, and when they are made. What they do is in `stages/`.

Modules here build definitions from a `Project`; none holds a definition at module level but the partition set, so that
`definitions.build_defs` is the one place where they come together.
"""
