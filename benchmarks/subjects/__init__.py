"""A second small world: things and pets, what draws them, what is trained on them, and what is asked of it.

`demo/` and `benchmarks/` have to be on `sys.path`, where the scripts put them.
"""
