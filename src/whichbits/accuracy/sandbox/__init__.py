"""Generated programs run confined, and are judged by a process that they cannot reach.

`run.py` is what the rest of whichbits calls. `child.py` runs in the confined processes, in two roles: the *candidate* holds the
generated program, the *judge* holds the tests and calls the candidate's functions over a socket. `confine.py` gives up rights,
`seccomp.py` and `landlock.py` are its means. The child's modules import the standard library alone.
"""
