"""A long mixed use of one server: does it stay up, do its bytes stay the same, does anything grow?"""
