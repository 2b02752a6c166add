"""``bench ab``: two versions of the code measured in turn, process by process.

:mod:`checkouts` lays both out as git worktrees, :mod:`interpreters` finds what runs them, and
:mod:`session` keeps the measurement in a folder. Each version measures itself: :mod:`driver`, run
in its environment, does a plain ``bench run`` that waits before each process for its turn, which
:mod:`turns` gives to one of the two at a time.
"""
