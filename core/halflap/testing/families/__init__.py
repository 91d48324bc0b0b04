"""The families of conformance cases: each module has `cases(info, seed)`, which makes them, and `check(case, device)`.

`check` returns the measured error (None where nothing is measured) and raises Failed or NotOffered.
"""
