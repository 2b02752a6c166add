"""``bench compare``: whether a change made things slower, larger or worse.

:mod:`load` reads two sides, :mod:`match` pairs their cells, :mod:`decide` (repeated measurements)
and :mod:`quality` judge each metric, :mod:`comparison` puts it together into the
:class:`~bench.compare.result.Comparison` that :mod:`terminal`, :mod:`markdown` and :mod:`junit`
show. Nothing here measures.
"""
